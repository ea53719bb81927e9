//! A service's `healthcheck`, as in Compose: the engine runs it in the container.

use super::{
    keys,
    yaml::{Entry, Node, Value},
};
use crate::{diagnostic::Problems, limits::HEALTH_INTERVAL_MS, units, workload::HealthCheck};

/// The longest of the times of a health check.
const LONGEST_MS: u64 = 24 * 60 * 60 * 1000;
/// Failures in a row that may be asked for.
const RETRIES: u32 = 1000;

/// What a test says that there is none.
const NONE: &str = "NONE";

/// Reads it. What is not written is the image's, else the engine's.
pub(super) fn read(node: &Node, problems: &mut Problems) -> HealthCheck {
    let mut check = HealthCheck::default();
    let mut disabled = None;
    for Entry { key, key_span, value } in node.map("healthcheck", problems).unwrap_or_default() {
        let what = key.as_str();
        match what {
            "test" => check.test = test(value, problems),
            "interval" => check.interval_ms = interval(value, what, problems),
            "timeout" => check.timeout_ms = time(value, what, problems),
            "start_period" => check.start_period_ms = time(value, what, problems),
            "start_interval" => check.start_interval_ms = interval(value, what, problems),
            "retries" => {
                let bounded = |text: &str| text.parse().ok().filter(|n| (1..=RETRIES).contains(n));
                check.retries = value.parsed(what, "a number from 1 to 1000", problems, bounded);
            }
            "disable" => {
                if value.boolean(what, problems) == Some(true) {
                    disabled = Some(key_span);
                }
            }
            other => keys::HEALTH.refuse(other, key_span, problems),
        }
    }
    if let Some(span) = disabled {
        if check != HealthCheck::default() {
            let message = "`disable` is set, and so is what it disables";
            problems.error(span, message, "keep `disable: true` alone, or remove it");
        }
        check = HealthCheck { test: vec![NONE.into()], ..HealthCheck::default() };
    }
    check
}

/// Text is for a shell; a list says by its first word what it is.
fn test(node: &Node, problems: &mut Problems) -> Vec<String> {
    const EXPECTED: &str =
        r#"text for the shell, `["CMD", "program", ...]`, `["CMD-SHELL", "text"]` or `["NONE"]`"#;
    if !matches!(node.value, Value::List(_)) {
        let text = node.text_that("test", EXPECTED, problems, |text| !text.trim().is_empty());
        return text.map(|text| vec!["CMD-SHELL".into(), text]).unwrap_or_default();
    }
    let words = node.texts("test", problems).unwrap_or_default();
    let (first, count) = (words.first().map(String::as_str), words.len());
    match (first, count) {
        (Some(NONE), 1) | (Some("CMD-SHELL"), 2) | (Some("CMD"), 2..) => words,
        _ => {
            problems.error(&node.span, "`test` is no health check", format!("write {EXPECTED}"));
            Vec::new()
        }
    }
}

fn time(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let bounded = |text: &str| units::duration_ms(text).filter(|ms| (1..=LONGEST_MS).contains(ms));
    node.parsed(what, "a duration from 1ms to 24h such as `30s`", problems, bounded)
}

/// Each run costs the engine more than the module.
fn interval(node: &Node, what: &str, problems: &mut Problems) -> Option<u64> {
    let bounded =
        |text: &str| units::duration_ms(text).filter(|ms| (HEALTH_INTERVAL_MS..=LONGEST_MS).contains(ms));
    node.parsed(what, "a duration from 1s to 24h such as `30s`", problems, bounded)
}
