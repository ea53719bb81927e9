//! What is read of how a device goes from version to version.

use super::{parse, service_errors};
use crate::{cbor, limits::PULL_MAX_BYTES, workload::Workload};

fn workload(block: &str) -> Workload {
    let text = format!("name: a\nservices: {{ s: {{ image: s }} }}\nx-wayside:\n  target: all\n{block}");
    parse("compose.yaml", &text).unwrap_or_else(|report| panic!("{report}")).0
}

#[test]
fn the_probation_is_a_minute_unless_it_is_said() {
    for (block, expected_ms) in [
        ("", 60_000),
        ("  update: {}\n", 60_000),
        ("  update: { probation: 0s }\n", 0),
        ("  update: { probation: 1h }\n", 3_600_000),
    ] {
        let workload = workload(block);
        assert_eq!(workload.update.probation_ms, expected_ms, "{block}");
        assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
    }
    // What is usual is not written, so that a release is what it was before there was something to say.
    assert!(!cbor::encode(&workload("")).windows(6).any(|bytes| bytes == b"update"));
}

#[test]
fn what_may_be_downloaded_is_signed_where_it_is_said() {
    for (block, expected, max) in [
        ("", None, PULL_MAX_BYTES),
        ("  update: { pull_max: 300MiB }\n", Some(300 << 20), 300 << 20),
        ("  update: { pull_max: 64g }\n", Some(64 << 30), PULL_MAX_BYTES),
    ] {
        let workload = workload(block);
        assert_eq!((workload.update.pull_max_bytes, workload.update.pull_max()), (expected, max), "{block}");
        assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
    }
    for wrong in ["0", "65g", "much"] {
        let errors = service_errors(&format!("x-wayside:\n  update: {{ pull_max: {wrong} }}\n"));
        assert!(
            errors[0].contains("is not a valid `pull_max` | write a size of at most 64 GiB"),
            "{errors:?}"
        );
    }
}

#[test]
fn windows_are_read_and_stay_as_they_were_meant() {
    let workload = workload("  update: { windows: [\"sat-mon 22:00-04:00\", \"01:00-24:00\"] }\n");
    let windows: Vec<String> = workload.update.windows.iter().map(ToString::to_string).collect();
    assert_eq!(windows, ["mon,sat,sun 22:00-04:00", "01:00-24:00"]);
    assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
}

#[test]
fn the_priority_is_4_unless_it_is_said() {
    for (block, expected) in [("", 4), ("  priority: 0\n", 0), ("  priority: 9\n", 9)] {
        let workload = workload(block);
        assert_eq!(workload.priority, expected, "{block}");
        assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
    }
    assert!(!cbor::encode(&workload("")).windows(8).any(|bytes| bytes == b"priority"));
    let errors = service_errors("x-wayside:\n  priority: 10\n");
    assert!(errors[0].starts_with("6:13 `10` is not a valid `priority` | write 0 to 9"), "{errors:?}");
}

#[test]
fn wrong_ones_are_refused_with_what_is_right() {
    for (block, expected) in [
        (
            "  update: { probation: 61m }\n",
            "6:24 `61m` is not a valid `probation` | write a duration of at most 1h",
        ),
        ("  update: { probation: soon }\n", "6:24 `soon` is not a valid `probation`"),
        (
            "  update: { probatoin: 1m }\n",
            "6:13 unknown key `probatoin` in `update` | did you mean `probation`?",
        ),
        (
            "  update: { windows: [\"02:00\"] }\n",
            "6:23 `02:00` is not a valid `window` | write times in UTC such as `02:00-04:30`",
        ),
        ("  update: { windows: \"02:00-04:00\" }\n", "6:22 `windows` must be a list"),
        ("  update: 60s\n", "6:11 `update` must be a mapping"),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
}
