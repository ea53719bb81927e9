//! What is read of how a device goes from version to version.

use super::{parse, service_errors};
use crate::{cbor, workload::Workload};

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
        ("  update: 60s\n", "6:11 `update` must be a mapping"),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
}
