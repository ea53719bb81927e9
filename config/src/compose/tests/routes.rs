//! What is read of routes, and what people are told of wrong ones.

use super::{parse, service_errors};
use crate::{
    cbor,
    condition::{self, Condition},
    workload::{BatchRule, Delivery, Destination, Route, Sample, WhenRemoved, Workload},
};

#[test]
fn a_route_says_which_messages_go_where_and_how() {
    let text = r#"
name: grid
services: { sensor: { image: s }, detector: { image: d } }
x-wayside:
  target: all
  routes:
    hot:
      from: sensor/#
      to: { module: detector, where: "labels.plant == 'p7'" }
      where: body.celsius > 30.0 && properties.unit == 'C'
      priority: 9
      ttl: 1h30m
      batch: { messages: 100, within: 5s }
      sample: { every: 10 }
      when_removed: drain
    live: { from: sensor/live, to: device/ewr/detector, delivery: best-effort, sample: { interval: 500ms } }
"#;
    let (workload, _) = parse("compose.yaml", text).unwrap_or_else(|report| panic!("{report}"));
    let condition = |source, names| Condition::new(source, names).unwrap();
    let to = Destination::Where {
        condition: condition("labels.plant == 'p7'", condition::DEVICE),
        module: "detector".into(),
    };
    let hot = Route {
        condition: Some(condition("body.celsius > 30.0 && properties.unit == 'C'", condition::MESSAGE)),
        priority: 9,
        ttl_ms: Some(5_400_000),
        batch: Some(BatchRule { messages: 100, within_ms: 5_000 }),
        sample: Some(Sample::Every(10)),
        when_removed: WhenRemoved::Drain,
        ..Route::new("hot", "sensor", "#", to)
    };
    let to = Destination::Device { device: "ewr".into(), module: "detector".into() };
    let live = Route {
        delivery: Delivery::BestEffort,
        sample: Some(Sample::IntervalMs(500)),
        ..Route::new("live", "sensor", "live", to)
    };
    assert_eq!(workload.routes, [hot, live]);
    assert_eq!(cbor::decode::<Workload>(&cbor::encode(&workload)).unwrap(), workload);
}

#[test]
fn wrong_routes_are_refused_with_what_is_right() {
    for (block, expected) in [
        ("  routes: { A: { from: sensor/#, to: cloud } }\n", "6:13 `A` cannot name a route"),
        ("  routes: { a: { from: sensor, to: cloud } }\n", "6:24 `sensor` is not the beginning of a route"),
        ("  routes: { a: { from: sensor/a#, to: cloud } }\n", "6:24 `a#` is not an MQTT topic filter"),
        (
            "  routes: { a: { from: sensor/#, to: sensr } }\n",
            "6:38 no service or leaf is named `sensr` | did you mean `sensor`?",
        ),
        ("  routes: { a: { from: sensor/#, to: site/x } }\n", "6:38 no service or leaf is named `x`"),
        ("  routes: { a: { from: sensor/# } }\n", "6:13 the route `a` has no `to`"),
        ("  routes: { a: { from: sensor/#, to: cloud, buffer: 1k } }\n", "6:53 `1k` is not a valid `buffer`"),
        (
            "  routes: { a: { from: sensor/#, to: cloud, when_full: x } }\n",
            "6:56 `x` is not a valid `when_full`",
        ),
        (
            "  routes: { a: { from: sensor/#, to: cloud, tll: 5s } }\n",
            "6:45 unknown key `tll` in a route | did you mean `ttl`?",
        ),
        ("  routes: { a: { from: sensor/#, to: cloud, ttl: 5 } }\n", "6:50 `5` is not a valid `ttl`"),
        (
            "  routes: { a: { from: sensor/#, to: cloud, priority: 10 } }\n",
            "6:55 `10` is not a valid `priority`",
        ),
        ("  routes: { a: { from: sensor/#, to: cloud, where: body. } }\n", "6:52 the condition is refused: "),
        (
            "  routes: { a: { from: sensor/#, to: cloud, where: bdy.t > 1 } }\n",
            "6:52 the condition is refused: nothing is called `bdy` here",
        ),
        (
            "  routes: { a: { from: sensor/#, to: elsewhere/sensor } }\n",
            "6:38 `elsewhere/sensor` is not the end of a route",
        ),
        ("  routes: { a: { from: sensor/#, to: device/sensor } }\n", "6:38 `device/sensor` names no device"),
        (
            "  routes: { a: { from: sensor/#, to: { module: sensor } } }\n",
            "6:38 `to` needs `module` and `where`",
        ),
        ("  routes: { a: { from: sensor/#, to: cloud, batch: { messages: 5 } } }\n", "6:52 `batch` needs"),
        (
            "  routes: { a: { from: sensor/#, to: cloud, sample: { every: 1 } } }\n",
            "6:62 `1` is not a valid `every`",
        ),
        (
            "  routes: { a: { from: sensor/#, to: cloud, sample: { every: 2, interval: 5s } } }\n",
            "6:53 `sample` needs one of",
        ),
        (
            "  routes: { a: { from: sensor/#, to: cloud, delivery: best-effort } }\n",
            "6:34 `delivery: best-effort` does not lead to the cloud",
        ),
        (
            "  routes: { a: { from: sensor/#, to: sensor, delivery: best-effort, buffer: 4MiB } }\n",
            "6:69 `buffer` has no meaning with `delivery: best-effort`",
        ),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
}
