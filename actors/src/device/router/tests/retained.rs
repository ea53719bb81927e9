//! Retained messages.

use super::*;
use wayside_config::topic::TWIN_REPORTED;

use crate::{device::router::RETAINED_MESSAGE_BYTES, message::property};

#[test]
fn who_subscribes_later_gets_what_is_retained_of_what_routes_bring_to_it() {
    let retained = |ticket, topic: &str, body: &'static str| {
        let mut event = publish(ticket, topic);
        let Event::Published { properties, payload, .. } = &mut event else { unreachable!() };
        properties.insert(property::RETAIN.into(), String::new());
        *payload = Bytes::from_static(body.as_bytes());
        event
    };
    let told = |router: &mut Router, name: &str, wall_ms| {
        let effects = done(router, 0, Event::Subscribed { module: module(name), wall_ms });
        let [Effect::Retained { module: to, messages }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(*to, module(name));
        messages.iter().map(|message| (message.origin, message.payload.clone())).collect::<Vec<_>>()
    };
    let mut router = router(1 << 20, WhenFull::PushBack);
    let mut kept = BTreeMap::new();
    let mut keep = |steps: Vec<Step<Effect>>| {
        for step in steps {
            if let Step::Persist(Effect::Store(StoreOp::Mark { key, value })) = step {
                kept.insert(key, value);
            }
        }
    };
    keep(at(&mut router, 0, retained(1, "data", "old")));
    keep(at(&mut router, 0, retained(2, "data", "new")));
    keep(at(&mut router, 0, publish(3, "data")));
    let Event::Arrived { from, mut batch } = arrived(OTHER, 8, 0, 1, 1) else { unreachable!() };
    batch.messages[0].properties.insert(property::RETAIN.into(), String::new());
    keep(at(&mut router, 0, Event::Arrived { from, batch }));
    let expected = vec![(ME, Bytes::from_static(b"new")), (OTHER, Bytes::from_static(b"1"))];
    assert_eq!(told(&mut router, "detector", 10), expected);
    assert_eq!(told(&mut router, "sensor", 10), [], "no route leads to it");

    let mut router = Router::new(ME, BTreeMap::new(), &kept);
    at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    assert_eq!(told(&mut router, "detector", 10), expected);
    at(&mut router, 0, retained(4, "data", ""));
    assert_eq!(told(&mut router, "detector", 10), expected[1..]);
    let mut expiring = retained(5, "data", "x");
    let Event::Published { properties, .. } = &mut expiring else { unreachable!() };
    properties.insert(property::EXPIRY.into(), "1".into());
    at(&mut router, 0, expiring);
    assert_eq!(told(&mut router, "detector", 1004).len(), 2);
    assert_eq!(told(&mut router, "detector", 1005), expected[1..]);
    at(&mut router, 0, Event::Routes(Box::default()));
    at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    assert_eq!(told(&mut router, "detector", 10), [], "its workload was gone");
}

#[test]
fn what_cannot_be_retained_is_routed_and_counted() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let mut event = publish(1, "data");
    let Event::Published { properties, payload, .. } = &mut event else { unreachable!() };
    properties.insert(property::RETAIN.into(), String::new());
    *payload = vec![0; RETAINED_MESSAGE_BYTES].into();
    assert_eq!(accepted(&at(&mut router, 0, event)), [1]);
    assert!(done(&mut router, STATUS_MS, Event::Woken).contains(&Effect::NotRetained(1)));
}

#[test]
fn what_a_module_reports_is_accepted_without_a_route_and_retained_with_one() {
    let reported = |ticket, body: &'static str| {
        let mut event = publish(ticket, TWIN_REPORTED);
        let Event::Published { properties, payload, .. } = &mut event else { unreachable!() };
        properties.insert(property::RETAIN.into(), String::new());
        *payload = Bytes::from_static(body.as_bytes());
        event
    };
    let retained = |router: &mut Router| {
        let effects = done(router, 0, Event::Subscribed { module: module("detector"), wall_ms: 10 });
        let [Effect::Retained { messages, .. }] = &effects[..] else { panic!("{effects:?}") };
        messages.iter().map(|message| message.payload.clone()).collect::<Vec<_>>()
    };
    let table = |filter: &str| {
        let Event::Routes(mut table) = routes(1 << 20, WhenFull::PushBack) else { unreachable!() };
        table
            .workloads
            .values_mut()
            .flat_map(|one| &mut one.routes)
            .for_each(|route| route.filter = filter.into());
        Event::Routes(table)
    };
    let mut router = router(1 << 20, WhenFull::PushBack);
    at(&mut router, 0, table("#"));
    assert_eq!(done(&mut router, 0, reported(1, "a")), [Effect::Accept { ticket: 1 }]);
    let told = done(&mut router, STATUS_MS, Event::Woken);
    assert!(!told.iter().any(|effect| matches!(effect, Effect::Unrouted(_))), "{told:?}");
    at(&mut router, 0, table(TWIN_REPORTED));
    assert_eq!(retained(&mut router), [""; 0], "nothing was kept for nobody");
    let steps = at(&mut router, 0, reported(2, "b"));
    let is_stored =
        |step: &Step<Effect>| matches!(step, Step::Persist(Effect::Store(StoreOp::Append { .. })));
    assert!(steps.iter().any(is_stored), "{steps:?}");
    assert_eq!(retained(&mut router), ["b"]);
    at(&mut router, 0, table("data"));
    at(&mut router, 0, reported(3, "c"));
    at(&mut router, 0, table(TWIN_REPORTED));
    assert_eq!(retained(&mut router), [""; 0], "what was reported in between is newer");
}

#[test]
fn a_device_that_joins_gets_what_is_retained_once() {
    let members = |members: &[DeviceId]| {
        let mut table = table(1 << 20, WhenFull::PushBack);
        let routes = table.workloads.get_mut("plant").unwrap();
        routes.members.retain(|member| members.contains(&member.device));
        Event::Routes(Box::new(table))
    };
    let sent = |steps: &[Step<Effect>]| {
        let bodies = steps.iter().filter_map(|step| match step {
            Step::Persist(Effect::Store(StoreOp::Append { queue, message, .. })) => {
                assert_eq!(queue.to, Endpoint::Device(OTHER));
                Some(message.payload.clone())
            }
            Step::Persist(_) | Step::Do(_) | Step::WakeAt(_) => None,
        });
        bodies.collect::<Vec<_>>()
    };
    let mut router = fresh();
    at(&mut router, 0, members(&[ME]));
    let mut event = publish(1, "data");
    let Event::Published { properties, .. } = &mut event else { unreachable!() };
    properties.insert(property::RETAIN.into(), String::new());
    at(&mut router, 0, event);
    at(&mut router, 0, publish(2, "other"));
    assert_eq!(sent(&at(&mut router, 0, members(&[ME, OTHER]))), ["1"]);
    assert_eq!(sent(&at(&mut router, 0, members(&[ME, OTHER]))), [""; 0]);
}
