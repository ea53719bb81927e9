//! What comes from neighbours.

use wayside_config::workload::Delivery;

use super::*;

#[test]
fn arrivals_are_stored_once_with_how_far_they_are_and_then_confirmed() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let steps = at(&mut router, 0, arrived(OTHER, 8, 0, 11, 2));
    assert_eq!(appends(&steps), [(to_detector(), 1), (to_detector(), 2)]);
    let value = [8u64.to_be_bytes(), 12u64.to_be_bytes()].concat();
    let mark = StoreOp::Mark { key: format!("in/{OTHER}/plant/site"), value: value.clone() };
    assert_eq!(steps[2], Step::Persist(Effect::Store(mark)));
    assert_eq!(confirmed(&steps), Some((8, 12)));

    let kept = BTreeMap::from([(format!("in/{OTHER}/plant/site"), value)]);
    let states = BTreeMap::from([(to_detector(), QueueState { acked: 0, last: 2, bytes: 10 })]);
    let mut router = Router::new(ME, states, &kept);
    at(&mut router, 0, routes(1 << 20, WhenFull::PushBack));
    // Again, with one more.
    let steps = at(&mut router, 0, arrived(OTHER, 8, 0, 11, 3));
    assert_eq!((appends(&steps), confirmed(&steps)), (vec![(to_detector(), 3)], Some((8, 13))));
    // A batch before it is missing.
    let steps = at(&mut router, 0, arrived(OTHER, 8, 14, 15, 1));
    assert_eq!((appends(&steps).len(), confirmed(&steps)), (0, Some((8, 13))));
    // Of a new store: only from its beginning.
    let steps = at(&mut router, 0, arrived(OTHER, 9, 1, 2, 1));
    assert_eq!((appends(&steps).len(), confirmed(&steps)), (0, Some((9, 0))));
    let steps = at(&mut router, 0, arrived(OTHER, 9, 0, 1, 1));
    assert_eq!((appends(&steps).len(), confirmed(&steps)), (1, Some((9, 1))));
}

#[test]
fn arrivals_that_find_no_room_are_confirmed_as_far_as_there_was() {
    let mut router = router(2 * cost(), WhenFull::PushBack);
    let steps = at(&mut router, 0, arrived(OTHER, 8, 0, 1, 5));
    assert_eq!((appends(&steps).len(), confirmed(&steps)), (2, Some((8, 2))));
    at(&mut router, 0, Event::Trimmed { queue: to_detector(), upto: 1, expired: 0 });
    let steps = at(&mut router, 0, arrived(OTHER, 8, 0, 1, 5));
    assert_eq!((appends(&steps).len(), confirmed(&steps)), (1, Some((8, 3))));
}

#[test]
fn what_no_member_may_send_is_not_answered() {
    let mut router = router(1 << 20, WhenFull::PushBack);
    let mut forged = arrived(OTHER, 8, 0, 1, 1);
    let Event::Arrived { batch, .. } = &mut forged else { unreachable!() };
    batch.messages[0].origin = ME;
    let mut of_cloud_route = arrived(OTHER, 8, 0, 1, 1);
    let Event::Arrived { batch, .. } = &mut of_cloud_route else { unreachable!() };
    batch.route = "plant/up".into();
    let overflow = arrived(OTHER, 8, 0, u64::MAX, 1);
    let unknown = with_batch(|batch| batch.route = "plant/none".into());
    let of_another_module = with_batch(|batch| batch.messages[0].source = "detector".into());
    let bad_topic = with_batch(|batch| batch.messages[0].topic = "data/#".into());
    let events = [
        arrived(STRANGER, 8, 0, 1, 1),
        forged,
        of_cloud_route,
        overflow,
        unknown,
        of_another_module,
        bad_topic,
    ];
    for (refused, event) in (1..).zip(events) {
        let now = refused * STATUS_MS;
        assert!(done(&mut router, now, event).is_empty());
        assert_eq!(done(&mut router, now + STATUS_MS, Event::Woken), [Effect::Refused(refused)]);
    }
}

#[test]
fn what_no_member_may_send_goes_no_best_effort_way_either() {
    let mut best_effort = table(1 << 20, WhenFull::PushBack);
    for route in &mut best_effort.workloads.get_mut("plant").unwrap().routes {
        route.delivery = Delivery::BestEffort;
    }
    let mut router = fresh();
    at(&mut router, 0, Event::Routes(Box::new(best_effort)));
    let forwarded = |from, route: &str, change: fn(&mut Message)| {
        let mut message = message(OTHER);
        change(&mut message);
        Event::Forwarded { from, route: route.into(), message }
    };
    let good = done(&mut router, 0, forwarded(OTHER, "plant/site", |_| {}));
    assert!(matches!(good[..], [Effect::Forward { .. }]), "{good:?}");
    let events = [
        forwarded(STRANGER, "plant/site", |message| message.origin = STRANGER),
        forwarded(OTHER, "plant/site", |message| message.origin = ME),
        forwarded(OTHER, "plant/up", |_| {}),
        forwarded(OTHER, "plant/none", |_| {}),
        forwarded(OTHER, "plant/site", |message| message.source = "detector".into()),
        forwarded(OTHER, "plant/site", |message| message.topic = "data/#".into()),
    ];
    for (refused, event) in (1..).zip(events) {
        let now = refused * STATUS_MS;
        assert!(done(&mut router, now, event).is_empty());
        assert_eq!(done(&mut router, now + STATUS_MS, Event::Woken), [Effect::Refused(refused)]);
    }
}

fn with_batch(change: impl FnOnce(&mut Batch)) -> Event {
    let Event::Arrived { from, mut batch } = arrived(OTHER, 8, 0, 1, 1) else { unreachable!() };
    change(&mut batch);
    Event::Arrived { from, batch }
}

#[test]
fn what_a_route_took_before_its_module_was_renamed_still_arrives() {
    let mut renamed = table(1 << 20, WhenFull::PushBack);
    for route in &mut renamed.workloads.get_mut("plant").unwrap().routes {
        route.module = "probe".into();
    }
    let mut router = router(1 << 20, WhenFull::PushBack);
    let steps = at(&mut router, 0, Event::Routes(Box::new(renamed.clone())));
    let mark = StoreOp::Mark { key: "from/plant/site".into(), value: b"probe\nsensor".into() };
    assert!(steps.contains(&Step::Persist(Effect::Store(mark.clone()))));
    assert_eq!(appends(&at(&mut router, 0, arrived(OTHER, 8, 0, 1, 1))).len(), 1);
    // After a restart as well, for the neighbour may have been off meanwhile.
    let StoreOp::Mark { key, value } = mark else { unreachable!() };
    let mut router = Router::new(ME, BTreeMap::new(), &BTreeMap::from([(key.clone(), value)]));
    at(&mut router, 0, Event::Routes(Box::new(renamed)));
    assert_eq!(appends(&at(&mut router, 0, arrived(OTHER, 8, 0, 1, 1))).len(), 1);
    let steps = at(&mut router, 0, Event::Routes(Box::default()));
    assert!(steps.contains(&Step::Persist(Effect::Store(StoreOp::Unmark { key }))));
}
