//! What is read of twins, and what people are told of wrong ones.

use super::{parse, service_errors};
use crate::{cbor, workload::Workload};

#[test]
fn what_is_desired_at_the_beginning_is_json_as_yaml_writes_it() {
    let text = r#"
name: plant
services: { sensor: { image: s }, pump: { image: p } }
x-wayside:
  target: all
  twins:
    sensor:
      interval_ms: 500
      factor: -1.0
      mode: fast
      version: "1.0"
      price: 5 $$
      on: true
      levels: [1, { high: 2 }]
    pump: {}
"#;
    let (workload, _) = parse("compose.yaml", text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(
        workload.twins["sensor"].as_str(),
        r#"{"factor":-1.0,"interval_ms":500,"levels":[1,{"high":2}],"mode":"fast","on":true,"price":"5 $","version":"1.0"}"#
    );
    assert_eq!(workload.twins["pump"].as_str(), "{}");
    assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
}

#[test]
fn wrong_twins_are_refused_with_what_is_right() {
    let large = format!("  twins: {{ sensor: {{ a: {} }} }}\n", "x".repeat(crate::limits::TWIN_BYTES));
    let deep = format!("  twins: {{ sensor: {{ a: {}{} }} }}\n", "[".repeat(16), "]".repeat(16));
    for (block, expected) in [
        ("  twins: { sensr: { a: 1 } }\n", "6:12 no service is named `sensr`"),
        ("  twins: { sensor: 7 }\n", "6:20 `sensor` must be a mapping, not text"),
        ("  twins: { sensor: { a: } }\n", "6:23 `a` has no value"),
        ("  twins: { sensor: { a: [~] } }\n", "6:26 `a` has no value"),
        ("  twins: { sensor: { a: 0x1f } }\n", "6:25 `0x1f` is a number or a boolean to YAML"),
        ("  twins: { sensor: { a: $HOME } }\n", "6:25 the variable `HOME` cannot be filled in"),
        (&large, "6:12 `sensor` is no twin: it has"),
        (&deep, "6:12 `sensor` is no twin: it is nested more than 16 deep"),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
}

#[test]
fn of_the_devices_own_topics_only_what_is_reported_is_routed_and_from_modules_to_modules() {
    let certificate = "7f".repeat(32);
    let errors = |routes: &str| {
        let leaves = format!("leaves: {{ l: {{ certificate: 'sha256:{certificate}' }} }}");
        let text = format!(
            "name: a\nservices: {{ s: {{ image: s }} }}\nx-wayside:\n  {leaves}\n  routes: {{ r: {routes} }}\n"
        );
        parse("compose.yaml", &text).map(drop).map_err(|report| report.to_string())
    };
    for right in [
        "{ from: s/$$wayside/twin/reported, to: site/s }",
        "{ from: s/$$wayside/twin/+, to: cloud }",
        "{ from: s/#, to: l }",
    ] {
        assert_eq!(errors(right), Ok(()), "{right}");
    }
    for (wrong, expected) in [
        ("{ from: s/$$wayside/twin/desired, to: s }", "no message has a topic"),
        ("{ from: s/$$wayside/call/+, to: s }", "no message has a topic"),
        ("{ from: l/$$wayside/twin/reported, to: s }", "leaves have no twins"),
        ("{ from: s/$$wayside/#, to: l }", "the leaf `l` cannot subscribe"),
        ("{ from: s/$$wayside/#, to: device/ewr/l }", "the leaf `l` cannot subscribe"),
    ] {
        let error = errors(wrong).unwrap_err();
        assert!(error.contains(expected), "{wrong}: {error}");
    }
}
