//! What routes say of their messages: conditions, samples, destinations, and what follows their removal.

use std::collections::BTreeMap;

use wayside_config::{
    condition::{self, Condition},
    document::Member,
    identity::DeviceId,
    workload::{BatchRule, Delivery, Destination, ModuleId, Route, Sample, WhenRemoved},
};

use crate::{
    device::{
        delivery::Terms,
        router::{Effect, Event, RouteTable, Router, STATUS_MS, WorkloadRoutes},
    },
    machine::Step,
    message::Message,
    queue::{Endpoint, Queue, StoreOp},
    report::RouteStatus,
    testing::{at, done},
};

const ME: DeviceId = DeviceId::from_bytes([1; 32]);
const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

fn module(name: &str) -> ModuleId {
    ModuleId::new("plant", name)
}

fn queue(to: Endpoint) -> Queue {
    Queue::new("plant/r", to)
}

fn route(to: Destination) -> Route {
    Route::new("r", "sensor", "#", to)
}

fn routes(routes: Vec<Route>) -> Event {
    let member = |device, name: &str, plant: &str| Member {
        device,
        name: name.into(),
        labels: BTreeMap::from([("plant".into(), plant.into())]),
    };
    let members = vec![member(ME, "ewr", "p7"), member(OTHER, "jfk", "p8")];
    let workload =
        WorkloadRoutes { routes, members, clients: ["sensor".into()].into(), ..WorkloadRoutes::default() };
    Event::Routes(Box::new(RouteTable { workloads: BTreeMap::from([("plant".into(), workload)]) }))
}

fn router(route: Route) -> Router {
    let mut router = Router::new(ME, BTreeMap::new(), &BTreeMap::new());
    at(&mut router, 0, routes(vec![route]));
    router
}

fn publish(body: &str) -> Event {
    Event::Published {
        ticket: 1,
        module: module("sensor"),
        topic: "t".into(),
        properties: BTreeMap::from([("unit".into(), "C".into())]),
        payload: body.to_owned().into(),
        wall_ms: 5,
        packet_id: None,
    }
}

/// The queues that a publish at this time goes to.
fn queues(router: &mut Router, ms: u64, body: &str) -> Vec<Queue> {
    let steps = at(router, ms, publish(body));
    assert!(steps.contains(&Step::Do(Effect::Accept { ticket: 1 })));
    let stored = steps.into_iter().filter_map(|step| match step {
        Step::Persist(Effect::Store(StoreOp::Append { queue, .. })) => Some(queue),
        Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
    });
    stored.collect()
}

#[test]
fn a_condition_chooses_messages_and_what_it_cannot_answer_is_counted() {
    let condition = Condition::new("body.celsius > 30 && properties.unit == 'C'", condition::MESSAGE);
    let mut router = router(Route { condition: Some(condition.unwrap()), ..route(Destination::Cloud) });
    assert_eq!(queues(&mut router, 0, r#"{"celsius": 31}"#), [queue(Endpoint::Cloud)]);
    assert_eq!(queues(&mut router, 0, r#"{"celsius": 30}"#), []);
    assert_eq!(queues(&mut router, 0, "neither JSON nor CBOR"), []);
    let status = RouteStatus { refused: 1, failed: 1, ..RouteStatus::default() };
    let told = done(&mut router, STATUS_MS, Event::Woken);
    assert!(told.contains(&Effect::RouteStatus("plant/r".into(), status)), "{told:?}");
    assert!(!told.iter().any(|effect| matches!(effect, Effect::Unrouted(_))), "it has a route");
    let told = done(&mut router, STATUS_MS, routes(vec![]));
    assert!(told.contains(&Effect::RouteGone("plant/r".into())));
}

#[test]
fn what_a_route_lost_is_counted_unless_nobody_knows_the_route() {
    let to = Destination::Module("detector".into());
    let mut router = router(Route { delivery: Delivery::BestEffort, ..route(to) });
    let lost = |route: &str, messages| Event::Lost { route: route.into(), messages };
    at(&mut router, 0, lost("plant/r", 2));
    at(&mut router, 0, lost("plant/r", 3));
    at(&mut router, 0, lost("plant/none", 1));
    let status = RouteStatus { lost: 5, ..RouteStatus::default() };
    assert_eq!(done(&mut router, STATUS_MS, Event::Woken), [Effect::RouteStatus("plant/r".into(), status)]);
}

#[test]
fn a_sample_takes_every_nth_or_one_in_a_while() {
    let sampled = |sample| router(Route { sample: Some(sample), ..route(Destination::Cloud) });
    let mut every_third = sampled(Sample::Every(3));
    let taken: Vec<bool> = (0..7).map(|_| !queues(&mut every_third, 0, "x").is_empty()).collect();
    assert_eq!(taken, [true, false, false, true, false, false, true]);
    let mut one_in_a_second = sampled(Sample::IntervalMs(1000));
    let times = [0, 500, 999, 1000, 1500, 2500];
    let taken: Vec<bool> =
        times.iter().map(|ms| !queues(&mut one_in_a_second, *ms, "x").is_empty()).collect();
    assert_eq!(taken, [true, false, false, true, false, true]);
}

#[test]
fn a_message_that_waits_for_room_is_sampled_once() {
    let sample = Some(Sample::Every(2));
    let full = Route { sample, buffer_bytes: 1, ..route(Destination::Cloud) };
    let mut router = router(full);
    assert_eq!(queues(&mut router, 0, "1").len(), 1);
    assert_eq!(queues(&mut router, 0, "2"), []);
    // The queue holds one message and takes no more.
    assert!(!at(&mut router, 0, publish("3")).contains(&Step::Do(Effect::Accept { ticket: 1 })));
    let trimmed = Event::Trimmed { queue: queue(Endpoint::Cloud), upto: 1, expired: 0 };
    let accepted = |steps: &[Step<Effect>]| steps.contains(&Step::Do(Effect::Accept { ticket: 1 }));
    assert!(accepted(&at(&mut router, 0, trimmed)));
    assert_eq!(queues(&mut router, 0, "4"), [], "the fourth is the second of its pair");
}

#[test]
fn devices_are_chosen_by_name_or_by_their_labels() {
    let here = queue(Endpoint::Module(module("detector")));
    let there = queue(Endpoint::Device(OTHER));
    let by_name = |device: &str| Destination::Device { device: device.into(), module: "detector".into() };
    let by_label = |source: &str| Destination::Where {
        condition: Condition::new(source, condition::DEVICE).unwrap(),
        module: "detector".into(),
    };
    for (to, expected) in [
        (by_name("ewr"), vec![here.clone()]),
        (by_name("jfk"), vec![there.clone()]),
        (by_name("lga"), vec![]),
        (by_label("labels.plant == 'p8'"), vec![there.clone()]),
        (by_label("labels.plant.startsWith('p')"), vec![here, there]),
        (by_label("labels.nothing == ''"), vec![]),
    ] {
        assert_eq!(queues(&mut router(route(to.clone())), 0, "x"), expected, "{to:?}");
    }
}

#[test]
fn a_best_effort_route_stores_nothing_on_either_end() {
    let best_effort = Route { delivery: Delivery::BestEffort, ..route(Destination::Site("detector".into())) };
    let mut router = router(best_effort);
    let steps = at(&mut router, 0, publish("x"));
    assert!(!steps.iter().any(|step| matches!(step, Step::Persist(_))), "{steps:?}");
    let forwarded = |steps: &[Step<Effect>]| -> Vec<Queue> {
        let queues = steps.iter().filter_map(|step| match step {
            Step::Do(Effect::Forward { queue, .. }) => Some(queue.clone()),
            Step::Do(_) | Step::Persist(_) | Step::WakeAt(_) => None,
        });
        queues.collect()
    };
    let here = queue(Endpoint::Module(module("detector")));
    assert_eq!(forwarded(&steps), [here.clone(), queue(Endpoint::Device(OTHER))]);
    let message = |origin| Message {
        origin,
        source: "sensor".into(),
        topic: "t".into(),
        properties: BTreeMap::new(),
        payload: "x".into(),
        accepted_ms: 5,
    };
    let from = |from, origin| Event::Forwarded { from, route: "plant/r".into(), message: message(origin) };
    assert_eq!(forwarded(&at(&mut router, 0, from(OTHER, OTHER))), [here]);
    assert_eq!(forwarded(&at(&mut router, 0, from(OTHER, ME))), []);
    let stranger = DeviceId::from_bytes([9; 32]);
    assert_eq!(forwarded(&at(&mut router, 0, from(stranger, stranger))), []);
}

#[test]
fn deliveries_hear_when_the_terms_of_their_queue_change() {
    let mut router = router(route(Destination::Cloud));
    at(&mut router, 0, publish("x"));
    let batch = Some(BatchRule { messages: 10, within_ms: 500 });
    let changed = Route { priority: 9, ttl_ms: Some(60_000), batch, ..route(Destination::Cloud) };
    let terms = Terms { priority: 9, ttl_ms: Some(60_000), has_come: false, batch };
    let told = Effect::Appended { queue: queue(Endpoint::Cloud), acked: 0, last: 1, terms };
    assert!(done(&mut router, 0, routes(vec![changed.clone()])).contains(&told));
    assert!(!done(&mut router, 0, routes(vec![changed])).contains(&told), "nothing changed");
}

#[test]
fn what_waits_on_a_removed_route_is_dropped_or_drained_as_it_says() {
    let closed = Effect::Closed(queue(Endpoint::Cloud));
    let mut dropped = router(route(Destination::Cloud));
    at(&mut dropped, 0, publish("x"));
    assert!(done(&mut dropped, 0, routes(vec![])).contains(&closed));

    let drain = Route { when_removed: WhenRemoved::Drain, ..route(Destination::Cloud) };
    let mut drained = router(drain.clone());
    let steps = at(&mut drained, 0, publish("x"));
    let marks: BTreeMap<String, Vec<u8>> = steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Persist(Effect::Store(StoreOp::Mark { key, value })) => Some((key, value)),
            Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
        })
        .collect();
    assert!(!done(&mut drained, 0, routes(vec![])).contains(&closed));
    // No clock of this device judges what may be another one's.
    let told = done(&mut drained, 0, Event::DeliveryRestarted(queue(Endpoint::Cloud)));
    let is_kept = |effect: &Effect| matches!(effect, Effect::Appended { terms, .. } if terms.has_come);
    assert!(told.iter().any(is_kept), "{told:?}");
    let trimmed = |upto| Event::Trimmed { queue: queue(Endpoint::Cloud), upto, expired: 0 };
    assert!(done(&mut drained, 0, trimmed(1)).contains(&closed));

    // The same after a restart in between; and what comes back before it is drained goes on where it was.
    let states =
        BTreeMap::from([(queue(Endpoint::Cloud), crate::queue::QueueState { acked: 0, last: 2, bytes: 9 })]);
    let mut restarted = Router::new(ME, states, &marks);
    assert!(!done(&mut restarted, 0, routes(vec![])).contains(&closed));
    assert!(!done(&mut restarted, 0, trimmed(1)).contains(&closed));
    at(&mut restarted, 0, routes(vec![drain]));
    assert!(!done(&mut restarted, 0, trimmed(2)).contains(&closed), "it has its route again");
    let steps = at(&mut restarted, 0, publish("y"));
    assert!(
        steps.iter().any(|step| matches!(step, Step::Persist(Effect::Store(StoreOp::Append { seq: 3, .. }))))
    );
}

#[test]
fn what_expired_on_the_way_is_counted() {
    let mut router = router(route(Destination::Cloud));
    at(&mut router, 0, publish("x"));
    at(&mut router, 0, Event::Trimmed { queue: queue(Endpoint::Cloud), upto: 1, expired: 1 });
    let told = done(&mut router, STATUS_MS, Event::Woken);
    assert!(told.iter().any(|effect| matches!(effect, Effect::Status(_, status) if status.expired == 1)));
}

#[test]
fn what_a_route_stored_before_it_became_best_effort_still_goes_its_way() {
    let site = || route(Destination::Site("detector".into()));
    let mut router = router(site());
    at(&mut router, 0, publish("x"));
    let told = done(&mut router, 0, routes(vec![Route { delivery: Delivery::BestEffort, ..site() }]));
    assert!(!told.iter().any(|effect| matches!(effect, Effect::Closed(_))), "{told:?}");
    let there = queue(Endpoint::Device(OTHER));
    let trimmed = Event::Trimmed { queue: there.clone(), upto: 1, expired: 0 };
    assert!(done(&mut router, 0, trimmed).contains(&Effect::Closed(there)));
}

#[test]
fn whether_a_queue_is_drained_follows_the_route_without_a_new_message() {
    let mut router = router(route(Destination::Cloud));
    at(&mut router, 0, publish("x"));
    let drain = Route { when_removed: WhenRemoved::Drain, ..route(Destination::Cloud) };
    at(&mut router, 0, routes(vec![drain]));
    let closed = Effect::Closed(queue(Endpoint::Cloud));
    assert!(!done(&mut router, 0, routes(vec![])).contains(&closed));
}
