mod neighbours;
mod retained;
mod rules;

use std::collections::BTreeMap;

use bytes::Bytes;
use wayside_config::{
    document::Member,
    identity::DeviceId,
    workload::{Destination, ModuleId, Route, WhenFull},
};

use super::{
    Effect, Event, RouteTable, Router, STATUS_MS, WAITING_BYTES, WAITING_PUBLISHES, WorkloadRoutes,
    session_mark,
};
use crate::{
    device::delivery::Terms,
    machine::{Machine, Step},
    message::{Batch, Message},
    queue::{Endpoint, Queue, QueueState, StoreOp},
    testing::{assert_replays, at, done},
};

const ME: DeviceId = DeviceId::from_bytes([1; 32]);
const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);
const STRANGER: DeviceId = DeviceId::from_bytes([3; 32]);

fn module(name: &str) -> ModuleId {
    ModuleId::new("plant", name)
}

fn queue(route: &str, to: Endpoint) -> Queue {
    Queue::new(format!("plant/{route}"), to)
}

fn up() -> Queue {
    queue("up", Endpoint::Cloud)
}

fn to_detector() -> Queue {
    queue("site", Endpoint::Module(module("detector")))
}

/// `sensor/data` to the cloud, `sensor/#` to every detector.
fn table(buffer_bytes: u64, when_full: WhenFull) -> RouteTable {
    let route = |name: &str, filter: &str, to| Route {
        buffer_bytes,
        when_full,
        ..Route::new(name, "sensor", filter, to)
    };
    let member = |device| Member { device, name: "ewr".into(), labels: BTreeMap::new() };
    let routes = WorkloadRoutes {
        routes: vec![
            route("up", "data", Destination::Cloud),
            route("site", "#", Destination::Site("detector".into())),
        ],
        members: vec![member(ME), member(OTHER)],
        clients: ["sensor", "detector", "meter"].map(Into::into).into(),
        granted: BTreeMap::from([("meter".into(), vec!["state/#".into()])]),
    };
    RouteTable { workloads: BTreeMap::from([("plant".into(), routes)]) }
}

fn routes(buffer_bytes: u64, when_full: WhenFull) -> Event {
    Event::Routes(Box::new(table(buffer_bytes, when_full)))
}

fn fresh() -> Router {
    Router::new(ME, BTreeMap::new(), &BTreeMap::new())
}

/// A router with routes whose queues hold `buffer_bytes`.
fn router(buffer_bytes: u64, when_full: WhenFull) -> Router {
    let mut router = fresh();
    at(&mut router, 0, routes(buffer_bytes, when_full));
    router
}

fn publish(ticket: u64, topic: &str) -> Event {
    Event::Published {
        ticket,
        module: module("sensor"),
        topic: topic.into(),
        properties: Default::default(),
        payload: Bytes::from_static(b"1"),
        wall_ms: 5,
        packet_id: None,
    }
}

fn exactly_once(ticket: u64, id: u16) -> Event {
    let Event::Published { module, topic, properties, payload, wall_ms, .. } = publish(ticket, "data") else {
        unreachable!()
    };
    Event::Published { ticket, module, topic, properties, payload, wall_ms, packet_id: Some(id) }
}

fn cost() -> u64 {
    message(ME).cost_bytes() as u64
}

fn message(origin: DeviceId) -> Message {
    Message {
        origin,
        source: "sensor".into(),
        topic: "data".into(),
        properties: Default::default(),
        payload: Bytes::from_static(b"1"),
        accepted_ms: 5,
    }
}

fn arrived(from: DeviceId, epoch: u64, after: u64, first_seq: u64, count: usize) -> Event {
    let messages = vec![message(from); count];
    Event::Arrived { from, batch: Batch { route: "plant/site".into(), epoch, after, first_seq, messages } }
}

/// The numbers appended, by queue, in the order of the list.
fn appends(steps: &[Step<Effect>]) -> Vec<(Queue, u64)> {
    let appends = steps.iter().filter_map(|step| match step {
        Step::Persist(Effect::Store(StoreOp::Append { queue, seq, .. })) => Some((queue.clone(), *seq)),
        Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
    });
    appends.collect()
}

fn accepted(steps: &[Step<Effect>]) -> Vec<u64> {
    let accepted = steps.iter().filter_map(|step| match step {
        Step::Do(Effect::Accept { ticket }) => Some(*ticket),
        Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
    });
    accepted.collect()
}

/// How far what arrived is confirmed.
fn confirmed(steps: &[Step<Effect>]) -> Option<(u64, u64)> {
    steps.iter().find_map(|step| match step {
        Step::Do(Effect::Confirm { to, confirm }) => {
            assert_eq!(*to, OTHER);
            Some((confirm.epoch, confirm.upto))
        }
        Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
    })
}

#[test]
fn a_publish_is_stored_in_every_queue_of_its_routes_before_it_is_accepted() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let steps = at(&mut router, 1, publish(7, "data"));
    let there = queue("site", Endpoint::Device(OTHER));
    assert_eq!(appends(&steps), [(up(), 1), (to_detector(), 1), (there.clone(), 1)]);
    let told = |queue, terms| Step::Do(Effect::Appended { queue, acked: 0, last: 1, terms });
    let expected = [
        Step::Do(Effect::Accept { ticket: 7 }),
        told(up(), Terms::USUAL),
        told(to_detector(), Terms { has_come: true, ..Terms::USUAL }),
        told(there.clone(), Terms::USUAL),
    ];
    assert_eq!(steps[3..7], expected);
    let steps = at(&mut router, 2, publish(8, "other"));
    assert_eq!(appends(&steps), [(to_detector(), 2), (there, 2)]);
}

#[test]
fn a_publish_without_a_route_needs_a_grant_and_is_counted_then() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let publish = |ticket, name, topic| {
        let mut event = publish(ticket, topic);
        let Event::Published { module: publisher, .. } = &mut event else { unreachable!() };
        *publisher = module(name);
        event
    };
    for (ticket, name, topic) in [(7, "detector", "data"), (8, "meter", "data"), (9, "stranger", "state")] {
        let steps = at(&mut router, 0, publish(ticket, name, topic));
        assert_eq!(steps, [Step::Do(Effect::Deny { ticket })]);
    }
    assert_eq!(accepted(&at(&mut router, 0, publish(10, "meter", "state/on"))), [10]);
    assert_eq!(done(&mut router, STATUS_MS, Event::Woken), [Effect::Unrouted(1)]);
}

#[test]
fn what_is_under_way_at_qos_2_is_kept_for_as_long_as_the_session() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let detector = || module("detector");
    let flights = || Event::Flights { ticket: 3, module: detector(), kept: vec![1] };
    let key = super::flights_mark(&detector());
    let mark = StoreOp::Mark { key: key.clone(), value: vec![1] };
    let expected = [Step::Persist(Effect::Store(mark)), Step::Do(Effect::Accept { ticket: 3 })];
    assert_eq!(at(&mut router, 0, flights()), expected);
    let gone = Step::Persist(Effect::Store(StoreOp::Unmark { key }));
    assert!(at(&mut router, 0, Event::SessionCleared { module: detector() }).contains(&gone));
    at(&mut router, 0, flights());
    let ended = Event::Session { ticket: 4, module: detector(), kept: None };
    assert!(at(&mut router, 0, ended).contains(&gone));
    at(&mut router, 0, flights());
    assert!(at(&mut router, 0, Event::Routes(Box::default())).contains(&gone));
}

#[test]
fn before_routes_are_known_a_publish_waits() {
    let mut router = fresh();
    assert_eq!(at(&mut router, 0, publish(7, "data")), []);
    let steps = at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    assert_eq!((accepted(&steps), appends(&steps).len()), (vec![7], 3));
}

#[test]
fn a_full_queue_pushes_back_all_or_nothing_and_in_order() {
    let mut router = router(2 * cost(), WhenFull::PushBack);
    for ticket in 1..=2 {
        assert_eq!(accepted(&at(&mut router, 0, publish(ticket, "data"))), [ticket]);
    }
    for ticket in 3..=4 {
        assert_eq!(at(&mut router, 0, publish(ticket, "data")), []);
    }
    // Room in one of three queues is not enough.
    assert!(accepted(&at(&mut router, 0, Event::Trimmed { queue: up(), upto: 2, expired: 0 })).is_empty());
    let there = queue("site", Endpoint::Device(OTHER));
    at(&mut router, 0, Event::Trimmed { queue: there, upto: 2, expired: 0 });
    let steps = at(&mut router, 0, Event::Trimmed { queue: to_detector(), upto: 1, expired: 0 });
    assert_eq!((accepted(&steps), appends(&steps).len()), (vec![3], 3));
    // Who is gone sends again, and is not stored twice.
    at(&mut router, 0, Event::Disconnected { module: module("sensor") });
    assert_eq!(
        appends(&at(&mut router, 0, Event::Trimmed { queue: to_detector(), upto: 3, expired: 0 })),
        []
    );
}

#[test]
fn a_message_larger_than_its_queue_passes_when_the_queue_is_empty() {
    let mut router = router(1, WhenFull::PushBack);
    assert_eq!(accepted(&at(&mut router, 0, publish(1, "data"))), [1]);
    assert!(accepted(&at(&mut router, 0, publish(2, "data"))).is_empty());
}

#[test]
fn the_room_to_wait_is_bounded() {
    let mut router = router(1, WhenFull::PushBack);
    at(&mut router, 0, publish(0, "data"));
    for ticket in 1..=WAITING_PUBLISHES as u64 {
        assert_eq!(at(&mut router, 0, publish(ticket, "data")), []);
    }
    assert!(matches!(done(&mut router, 0, publish(9, "data"))[..], [Effect::Refuse { ticket: 9, .. }]));

    let mut router = self::router(1, WhenFull::PushBack);
    let large = |ticket| {
        let Event::Published { module, topic, properties, wall_ms, .. } = publish(ticket, "data") else {
            unreachable!()
        };
        let payload = Bytes::from(vec![0; WAITING_BYTES / 2]);
        Event::Published { ticket, module, topic, properties, payload, wall_ms, packet_id: None }
    };
    for ticket in 0..=2 {
        at(&mut router, 0, large(ticket));
    }
    assert!(matches!(done(&mut router, 0, large(3))[..], [Effect::Refuse { ticket: 3, .. }]));
}

#[test]
fn queues_that_drop_count_what_they_drop() {
    for (when_full, dropped_upto) in [(WhenFull::DropOldest, Some(1)), (WhenFull::DropNewest, None)] {
        let mut router = router(2 * cost(), when_full);
        for ticket in 1..=3 {
            let steps = at(&mut router, 0, publish(ticket, "data"));
            assert_eq!(accepted(&steps), [ticket]);
            let skipped = steps.iter().find_map(|step| match step {
                Step::Do(Effect::Skipped { upto, .. }) => Some(*upto),
                Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
            });
            assert_eq!(skipped, dropped_upto.filter(|_| ticket == 3));
        }
        let status = done(&mut router, STATUS_MS, Event::Woken);
        assert_eq!(status.len(), 3);
        for effect in status {
            let Effect::Status(_, status) = effect else { panic!("not a status: {effect:?}") };
            assert_eq!((status.depth, status.bytes, status.dropped), (2, 2 * cost(), 1));
        }
    }
}

#[test]
fn a_packet_identifier_is_stored_with_its_message_and_forgotten_before_its_release_is_accepted() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let steps = at(&mut router, 0, exactly_once(1, 9));
    let key = "qos2/plant/sensor/9".to_string();
    let mark = StoreOp::Mark { key: key.clone(), value: Vec::new() };
    assert_eq!(steps[3..5], [Step::Persist(Effect::Store(mark)), Step::Do(Effect::Accept { ticket: 1 })]);
    // The router begins anew, and the module does not know that its message is stored.
    let mut router = Router::new(ME, BTreeMap::new(), &BTreeMap::from([(key.clone(), Vec::new())]));
    at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    assert_eq!(at(&mut router, 0, exactly_once(2, 9)), [Step::Do(Effect::Accept { ticket: 2 })]);
    let released = Event::Released { ticket: 3, module: module("sensor"), packet_id: 9 };
    let unmark = Step::Persist(Effect::Store(StoreOp::Unmark { key }));
    assert_eq!(at(&mut router, 0, released), [unmark.clone(), Step::Do(Effect::Accept { ticket: 3 })]);
    assert_eq!(appends(&at(&mut router, 0, exactly_once(4, 9))).len(), 3);
    assert_eq!(at(&mut router, 0, Event::SessionCleared { module: module("sensor") }), [unmark]);
}

#[test]
fn a_session_is_kept_before_it_is_accepted() {
    let mut router = fresh();
    let session = |kept| Event::Session { ticket: 1, module: module("sensor"), kept };
    let (key, accept) = (session_mark(&module("sensor")), Step::Do(Effect::Accept { ticket: 1 }));
    let mark = Step::Persist(Effect::Store(StoreOp::Mark { key: key.clone(), value: vec![7] }));
    assert_eq!(at(&mut router, 0, session(Some(vec![7]))), [mark, accept.clone()]);
    let unmark = Step::Persist(Effect::Store(StoreOp::Unmark { key }));
    assert_eq!(at(&mut router, 0, session(None)), [unmark, accept]);
}

#[test]
fn a_later_client_of_a_name_finds_nothing_of_an_earlier_one_though_their_workload_was_there_all_the_time() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    at(&mut router, 0, Event::Session { ticket: 1, module: module("sensor"), kept: Some(vec![7]) });
    at(&mut router, 0, Event::Flights { ticket: 2, module: module("sensor"), kept: vec![1] });
    at(&mut router, 0, exactly_once(3, 9));
    assert_eq!(at(&mut router, 0, routes(1 << 20, WhenFull::PushBack)), []);
    let mut without = table(1 << 20, WhenFull::PushBack);
    without.workloads.get_mut("plant").unwrap().clients.remove("sensor");
    let gone = at(&mut router, 0, Event::Routes(Box::new(without)));
    for key in [
        session_mark(&module("sensor")),
        super::flights_mark(&module("sensor")),
        super::marks::packet_mark(&module("sensor"), 9),
    ] {
        let unmark = Step::Persist(Effect::Store(StoreOp::Unmark { key }));
        assert!(gone.contains(&unmark), "{unmark:?} in {gone:?}");
    }
    // Its identifier is a new message's.
    at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    assert_eq!(appends(&at(&mut router, 0, exactly_once(4, 9))).len(), 3);
}

#[test]
fn queues_without_a_route_are_dropped_and_those_that_stay_keep_what_they_hold() {
    let held = QueueState { acked: 3, last: 5, bytes: 100 };
    let gone = queue("old", Endpoint::Module(module("detector")));
    let states = BTreeMap::from([(up(), held), (gone.clone(), held)]);
    let mut router = Router::new(ME, states, &BTreeMap::new());
    let steps = at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    let floor = StoreOp::Mark { key: "floor".into(), value: 5u64.to_be_bytes().into() };
    assert_eq!(
        steps[..5],
        [
            Step::Persist(Effect::Store(floor)),
            Step::Persist(Effect::Store(StoreOp::Drop { queue: gone.clone() })),
            Step::Do(Effect::Closed(gone.clone())),
            Step::Do(Effect::StatusGone(gone)),
            Step::Do(Effect::Appended { queue: up(), acked: 3, last: 5, terms: Terms::USUAL }),
        ]
    );
    assert_eq!(appends(&at(&mut router, 0, publish(1, "data")))[..2], [(up(), 6), (to_detector(), 6)]);
}

#[test]
fn who_forgot_is_told_again() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    at(&mut router, 0, publish(1, "data"));
    let told = Effect::Appended { queue: up(), acked: 0, last: 1, terms: Terms::USUAL };
    assert_eq!(done(&mut router, 0, Event::DeliveryRestarted(up())), [told]);
    assert_eq!(done(&mut router, STATUS_MS, Event::Woken).len(), 3);
    assert_eq!(done(&mut router, STATUS_MS, Event::Woken), []);
    at(&mut router, STATUS_MS, Event::HealthRestarted);
    assert_eq!(done(&mut router, 2 * STATUS_MS, Event::Woken).len(), 3);
}

#[test]
fn a_recorded_run_replays() {
    let log = vec![
        (0, publish(1, "data")),
        (1, routes(2 * cost(), WhenFull::PushBack)),
        (2, exactly_once(2, 1)),
        (3, exactly_once(3, 2)),
        (4, arrived(OTHER, 3, 0, 1, 3)),
        (5, Event::Trimmed { queue: to_detector(), upto: 1, expired: 0 }),
        (6, Event::Released { ticket: 4, module: module("sensor"), packet_id: 1 }),
        (600, Router::woken()),
        (700, Event::Routes(Box::default())),
    ];
    assert_replays(fresh, &log);
}
