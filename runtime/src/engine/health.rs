//! Health checks in the engine's words: what a container is made with, and what the engine says of it.

use bollard::models::HealthConfig;
use wayside_actors::report::{Health, MAX_OUTPUT_BYTES};
use wayside_config::{limits::HEALTH_INTERVAL_MS, workload::HealthCheck};

use super::Ready;

const NANOS_OF_MS: u64 = 1_000_000;

/// The engine's form of a check. What is not there is as the image says.
pub(super) fn config(check: &HealthCheck) -> HealthConfig {
    let nanos = |ms: Option<u64>| ms.and_then(|ms| i64::try_from(ms.saturating_mul(NANOS_OF_MS)).ok());
    // Starting it costs the engine more than the module, whoever signed it.
    let seldom = |ms: Option<u64>| nanos(ms.map(|ms| ms.max(HEALTH_INTERVAL_MS)));
    HealthConfig {
        test: Some(check.test.clone()),
        interval: seldom(check.interval_ms),
        timeout: nanos(check.timeout_ms),
        retries: check.retries.map(i64::from),
        start_period: nanos(check.start_period_ms),
        start_interval: seldom(check.start_interval_ms),
    }
}

/// From `Up 5 minutes (healthy)`, for the list has it nowhere else.
pub(super) fn of_status(status: &str) -> Option<Health> {
    let (_, last) = status.strip_suffix(')')?.rsplit_once('(')?;
    named(last.strip_prefix("health: ").unwrap_or(last))
}

/// From the action `health_status: healthy` of an event.
pub(super) fn of_action(action: &str) -> Option<Health> {
    named(action.strip_prefix("health_status: ")?)
}

/// The last that the container's check wrote, cut.
pub(super) async fn output(ready: &Ready, container: &str) -> String {
    let inspected = ready.docker.inspect_container(container, None).await.ok();
    let health = inspected.and_then(|container| container.state?.health);
    let last = health.and_then(|health| health.log?.pop()?.output).unwrap_or_default();
    cut(last)
}

fn cut(mut text: String) -> String {
    let end = (0..=MAX_OUTPUT_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

fn named(word: &str) -> Option<Health> {
    [Health::Starting, Health::Healthy, Health::Unhealthy].into_iter().find(|health| health.name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_are_understood() {
        for (status, expected) in [
            ("Up 5 minutes (healthy)", Some(Health::Healthy)),
            ("Up 2 seconds (health: starting)", Some(Health::Starting)),
            ("Up About an hour (unhealthy)", Some(Health::Unhealthy)),
            ("Up 5 minutes", None),
            ("Up 5 minutes (Paused)", None),
            ("Exited (137) 5 minutes ago", None),
        ] {
            assert_eq!(of_status(status), expected, "{status}");
        }
        assert_eq!(of_action("health_status: unhealthy"), Some(Health::Unhealthy));
        assert_eq!(of_action("health_status"), None);
    }

    #[test]
    fn what_is_not_written_is_left_to_the_image() {
        let check = HealthCheck { interval_ms: Some(1500), retries: Some(2), ..HealthCheck::default() };
        let config = config(&check);
        assert_eq!((config.test, config.interval, config.timeout), (Some(vec![]), Some(1_500_000_000), None));
        assert_eq!((config.retries, config.start_period), (Some(2), None));
    }

    #[test]
    fn what_a_check_wrote_is_cut_between_letters() {
        assert_eq!(cut("a\u{e4}".repeat(1000)).len(), MAX_OUTPUT_BYTES);
        assert_eq!(cut("fine".into()), "fine");
    }
}
