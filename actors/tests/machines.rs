//! What holds for every machine: it may be rebuilt, and who must tell it what is said in one place.
#![allow(clippy::unwrap_used, reason = "a test")]

use wayside_actors::{
    device::wiring::{Actor, Event, Out, after_restart},
    queue::{Endpoint, Queue},
};
use wayside_config::workload::ModuleId;

fn module() -> ModuleId {
    ModuleId::new("plant", "sensor")
}

#[test]
fn every_actor_can_be_made_whole_again() {
    let queue = Queue::new("plant/up", Endpoint::Cloud);
    for actor in [
        Actor::Reconciler,
        Actor::Module(module()),
        Actor::Router,
        Actor::Delivery(queue),
        Actor::Membership,
        Actor::Uplink,
        Actor::Health,
        Actor::Calls,
        Actor::Twins,
    ] {
        let outs = after_restart(&actor);
        assert!(!outs.is_empty(), "{actor:?}");
        for out in outs {
            // A restart ends nobody, and starts nobody who is not there.
            assert!(!matches!(out, Out::End(_)));
            assert!(!matches!(out, Out::Tell(event) if event.starts()));
        }
    }
}

#[test]
fn late_words_start_nobody() {
    use wayside_actors::device::{delivery, module};
    let queue = Queue::new("plant/up", Endpoint::Cloud);
    let late = [
        Event::Module(module(), module::Event::Exited { container: "c".into(), code: 0 }),
        Event::Module(module(), module::Event::Missing),
        Event::Delivery(queue.clone(), delivery::Event::Acked { epoch: Some(1), upto: 9 }),
        Event::Deliveries(Endpoint::Cloud, delivery::Event::Up),
    ];
    assert!(late.iter().all(|event| !event.starts()));
    assert!(
        Event::Delivery(
            queue,
            delivery::Event::Appended { acked: 0, last: 1, terms: delivery::Terms::USUAL }
        )
        .starts()
    );
}
