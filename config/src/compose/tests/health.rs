//! What is read of health checks.

use super::{service, service_errors};
use crate::workload::HealthCheck;

fn check(lines: &str) -> HealthCheck {
    service(&format!("    healthcheck: {lines}\n")).healthcheck.unwrap()
}

#[test]
fn a_test_is_a_program_a_line_for_a_shell_or_none() {
    for (text, expected) in [
        (r#"{ test: ["CMD", "/probe", "-q"] }"#, vec!["CMD", "/probe", "-q"]),
        (r#"{ test: ["CMD-SHELL", "probe || exit 1"] }"#, vec!["CMD-SHELL", "probe || exit 1"]),
        ("{ test: probe || exit 1 }", vec!["CMD-SHELL", "probe || exit 1"]),
        (r#"{ test: ["NONE"] }"#, vec!["NONE"]),
        ("{ disable: true }", vec!["NONE"]),
        ("{ disable: false, interval: 5s }", vec![]),
    ] {
        let check = check(text);
        assert_eq!(check.test, expected, "{text}");
        assert_eq!(check.is_none(), expected == ["NONE"]);
    }
}

#[test]
fn times_and_retries_are_as_they_are_written_and_else_the_images() {
    let all = check("{ interval: 1m30s, timeout: 500ms, retries: 4, start_period: 40s, start_interval: 1s }");
    let expected = HealthCheck {
        test: vec![],
        interval_ms: Some(90_000),
        timeout_ms: Some(500),
        retries: Some(4),
        start_period_ms: Some(40_000),
        start_interval_ms: Some(1000),
    };
    assert_eq!(all, expected);
    assert_eq!(check("{ test: probe }").interval_ms, None);
}

#[test]
fn wrong_ones_are_refused_with_what_is_right() {
    for (text, expected) in [
        ("{ test: [] }", "5:26 `test` is no health check | write text for the shell"),
        (r#"{ test: ["/probe"] }"#, "5:26 `test` is no health check"),
        (r#"{ test: ["CMD"] }"#, "5:26 `test` is no health check"),
        (r#"{ test: ["NONE", "x"] }"#, "5:26 `test` is no health check"),
        ("{ test: ' ' }", "5:26 ` ` is not a valid `test`"),
        ("{ interval: 0s }", "5:30 `0s` is not a valid `interval` | write a duration from 1s to 24h"),
        ("{ retries: 0 }", "5:29 `0` is not a valid `retries` | write a number from 1 to 1000"),
        ("{ disable: true, test: probe }", "5:20 `disable` is set, and so is what it disables"),
        ("{ tests: probe }", "5:20 unknown key `tests` in `healthcheck` | did you mean `test`?"),
        ("probe", "5:18 `healthcheck` must be a mapping, not text"),
    ] {
        let errors = service_errors(&format!("    healthcheck: {text}\n"));
        assert!(errors[0].starts_with(expected), "{text}: {errors:?}");
    }
}
