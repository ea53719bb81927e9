//! What a publish costs the router, by how many routes there are and how many of them take it. Every route has a filter and a
//! condition in CEL over the topic's and the body's parts; a message is 256 bytes of JSON.
//!
//! `cargo bench-all route_match_ns` runs it. Prints one JSON object: nanoseconds a message, the median of several rounds.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use wayside_actors::{
    device::router::{Effect, Event, RouteTable, Router, WorkloadRoutes},
    machine::{Effects, Machine, Step},
    queue::StoreOp,
    time::Time,
};
use wayside_config::{
    condition::{self, Condition},
    identity::DeviceId,
    workload::{Destination, ModuleId, Route},
};

const ROUNDS: usize = 7;
const MESSAGES: u64 = 2_000;
const ME: DeviceId = DeviceId::from_bytes([1; 32]);

/// A router with so many routes, of which so many take what is published to `machine/0/temperature`.
fn router(routes: usize, matching: usize) -> Router {
    let route = |number: usize| {
        let machine = if number < matching { 0 } else { number };
        let filter = format!("machine/{machine}/+");
        let mut route = Route::new(&format!("r{number}"), "sensor", &filter, Destination::Cloud);
        let source = "body.celsius > 20.0 && topic.endsWith('temperature')";
        route.condition = Some(Condition::new(source, condition::MESSAGE).expect("a condition"));
        route
    };
    let routes = WorkloadRoutes { routes: (0..routes).map(route).collect(), ..WorkloadRoutes::default() };
    let table = RouteTable { workloads: BTreeMap::from([("plant".into(), routes)]) };
    let mut router = Router::new(ME, BTreeMap::new(), &BTreeMap::new());
    router.handle(Time::from_millis(0), Event::Routes(Box::new(table)), &mut Effects::new());
    router
}

/// Nanoseconds a publish.
fn measure(routes: usize, matching: usize) -> f64 {
    let mut router = router(routes, matching);
    let mut body = br#"{"celsius": 21.5, "unit": "C", "pad": ""#.to_vec();
    body.resize(254, b'x');
    body.extend(b"\"}");
    let payload = Bytes::from(body);
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&mut router, &payload, matching)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn round(router: &mut Router, payload: &Bytes, matching: usize) -> f64 {
    let (mut spent, mut appended) = (std::time::Duration::ZERO, 0);
    for ticket in 0..MESSAGES {
        let event = Event::Published {
            ticket,
            module: ModuleId::new("plant", "sensor"),
            topic: "machine/0/temperature".into(),
            properties: Default::default(),
            payload: payload.clone(),
            wall_ms: 1,
            packet_id: None,
        };
        let mut out = Effects::new();
        let begun = Instant::now();
        router.handle(Time::from_millis(1), event, &mut out);
        spent += begun.elapsed();
        // Its queues stay empty: what is measured is finding the way, not a full buffer.
        for step in out.take() {
            if let Step::Persist(Effect::Store(StoreOp::Append { queue, seq, .. })) = step {
                appended += 1;
                let trimmed = Event::Trimmed { queue, upto: seq, expired: 0 };
                router.handle(Time::from_millis(1), trimmed, &mut Effects::new());
            }
        }
    }
    assert_eq!(appended, matching as u64 * MESSAGES, "not every route that matches took every message");
    spent.as_nanos() as f64 / MESSAGES as f64
}

fn main() {
    let lines = [(1, 1), (10, 1), (100, 1), (1000, 1), (1000, 10), (1000, 100)]
        .map(|(routes, matching)| format!("\"{routes}/{matching}\": {:.0}", measure(routes, matching)));
    println!("{{{}}}", lines.join(", "));
}
