//! What is read of `depends_on`.

use super::{errors, parse};
use crate::{
    cbor,
    workload::{Condition, Dependency, Workload},
};

fn services(lines: &str) -> String {
    format!("name: a\nservices:\n{lines}x-wayside: {{ target: all }}\n")
}

#[test]
fn both_forms_are_read() {
    let text = services(
        "  web: { image: w, depends_on: [db, init] }
  db: { image: d }
  init:
    image: i
    restart: 'no'
  last:
    image: l
    depends_on:
      db: { condition: service_healthy, restart: true }
      init: { condition: service_completed_successfully }
      web: { condition: service_started, required: false }
      absent: { condition: service_started, required: false }
",
    );
    let (workload, _) = parse("compose.yaml", &text).unwrap_or_else(|report| panic!("{report}"));
    let of = |name: &str| workload.modules[name].depends_on.clone();
    let usual = Dependency::default();
    assert_eq!(of("web"), [("db".into(), usual), ("init".into(), usual)].into());
    let expected = [
        ("db", Dependency { condition: Condition::Healthy, restart: true, ..usual }),
        ("init", Dependency { condition: Condition::Completed, ..usual }),
        ("web", Dependency { required: false, ..usual }),
    ];
    assert_eq!(of("last"), expected.map(|(name, dependency)| (name.into(), dependency)).into());
    assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
}

#[test]
fn what_could_never_start_is_refused_with_the_line() {
    for (lines, expected) in [
        (
            "  a: { image: x, depends_on: [b] }\n",
            "3:18 `a` depends on `b`, and no service is named so | write one of: a",
        ),
        ("  a: { image: x, depends_on: [a] }\n", "3:18 `a` depends on itself: a -> a"),
        (
            "  a: { image: x, depends_on: [b] }\n  b: { image: x, depends_on: [c] }\n  c: { image: x, depends_on: [a] }\n",
            "3:18 `a` depends on itself: a -> b -> c -> a",
        ),
        ("  a: { image: x, depends_on: [b, b] }\n  b: { image: x }\n", "3:34 `b` comes twice"),
        (
            "  a: { image: x, depends_on: { b: { condition: service_completed_successfully } } }\n  b: { image: x }\n",
            "3:18 `b` never ends: it is started again whenever it does | write `restart: \"no\"`",
        ),
        (
            "  a: { image: x, depends_on: { b: { condition: service_healthy } } }\n  b: { image: x, healthcheck: { disable: true } }\n",
            "3:18 `b` is never healthy: its health check is disabled",
        ),
        (
            "  a: { image: x, depends_on: { b: { condition: up } } }\n  b: { image: x }\n",
            "3:48 `up` is not a valid `condition`",
        ),
        ("  a: { image: x, depends_on: { b: {} } }\n  b: { image: x }\n", "3:35 `b` has no `condition`"),
        (
            "  a: { image: x, depends_on: { b: { condition: service_started, restrat: true } } }\n  b: { image: x }\n",
            "3:65 unknown key `restrat`",
        ),
    ] {
        let found = errors(&services(lines));
        assert!(found[0].starts_with(expected), "{lines}: {found:?}");
    }
}
