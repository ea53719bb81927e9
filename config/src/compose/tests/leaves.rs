//! What is read of leaf devices, and what people are told of wrong ones.

use super::{parse, service_errors};
use crate::{
    cbor,
    leaf::Fingerprint,
    workload::{Destination, Route, Workload},
};

const HASH: &str =
    "$$argon2id$$v=19$$m=19456,t=2,p=1$$c29tZXNhbHQ$$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

#[test]
fn a_workload_may_have_leaves_and_no_service() {
    let text = format!(
        "name: a\nservices: {{}}\nx-wayside:\n  leaves: {{ t: {{ certificate: 'sha256:{}' }} }}\n  routes:\n    r: {{ from: t/x, to: cloud }}\n",
        "7f".repeat(32)
    );
    let (workload, _) = parse("compose.yaml", &text).unwrap_or_else(|report| panic!("{report}"));
    assert!(workload.modules.is_empty() && workload.leaves.contains_key("t"));
}

#[test]
fn a_leaf_is_a_source_and_a_destination_of_routes() {
    let certificate = Fingerprint::of(b"a certificate");
    let text = format!(
        "
name: plant
services: {{ controller: {{ image: c }} }}
x-wayside:
  target: all
  routes:
    heat: {{ from: thermometer/temperature/+, to: cloud }}
    set: {{ from: controller/setpoint/#, to: thermometer }}
  leaves:
    thermometer:
      password: {HASH}
      publish: [state]
      subscribe: [time/#]
    meter: {{ certificate: \"{certificate}\" }}
"
    );
    let (workload, _) = parse("compose.yaml", &text).unwrap_or_else(|report| panic!("{report}"));
    let thermometer = &workload.leaves["thermometer"];
    assert_eq!(thermometer.password.as_ref().unwrap().to_string(), HASH.replace("$$", "$"));
    assert_eq!(
        (&thermometer.publish[..], &thermometer.subscribe[..]),
        (&["state".into()][..], &["time/#".into()][..])
    );
    assert_eq!(workload.leaves["meter"].certificate, Some(certificate));
    let to_leaf = Destination::Module("thermometer".into());
    assert_eq!(workload.routes[1], Route::new("set", "controller", "setpoint/#", to_leaf));
    assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
}

#[test]
fn wrong_leaves_are_refused_with_what_is_right() {
    for (block, expected) in [
        ("  leaves: { A: { certificate: x } }\n", "6:13 `A` cannot name a leaf"),
        ("  leaves: { sensor: { certificate: x } }\n", "6:13 `sensor` is a service already"),
        ("  leaves: { cloud: { certificate: x } }\n", "6:13 a leaf cannot be named `cloud`"),
        ("  leaves: { a: { publish: [t] } }\n", "6:16 the leaf `a` has neither `password` nor `certificate`"),
        ("  leaves: { a: { password: geheim } }\n", "6:28 `geheim` is not a valid `password`"),
        ("  leaves: { a: { password: $argon2id$v } }\n", "6:28 the variable `argon2id` cannot be filled in"),
        (
            "  leaves: { a: { certificate: \"sha256:00\" } }\n",
            "6:31 `sha256:00` is not a valid `certificate`",
        ),
        (
            "  leaves: { a: { publsh: [t], certificate: x } }\n",
            "6:18 unknown key `publsh` in a leaf | did you mean `publish`?",
        ),
        ("  routes: { a: { from: sensr/#, to: cloud } }\n", "6:24 no service or leaf is named `sensr`"),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
    let filter = format!("x-wayside:\n  leaves: {{ a: {{ password: \"{HASH}\", subscribe: [$$SYS/#] }} }}\n");
    assert!(service_errors(&filter)[0].contains("`$SYS/#` is not a valid `subscribe`"));
}
