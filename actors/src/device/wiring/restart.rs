//! What an actor is told that begins anew.

use super::{Actor, Event, Out, mqtt, to_router};
use crate::device::{
    io::{self, Io},
    membership, reconciler, router, twins, uplink,
};

/// What makes an actor whole again that was rebuilt after a failure and has forgotten what it was
/// told. For the reconciler and the uplink it is also what begins their first life; an uplink
/// is there only when there is a cloud to talk to. Problems that adapters told health are told
/// again by whoever hosts them.
#[must_use]
pub fn after_restart(actor: &Actor) -> Vec<Out> {
    match actor {
        Actor::Reconciler => vec![Out::Io(Io::LoadDesired)],
        Actor::Module(module) => {
            let event = reconciler::Event::ModuleRestarted(module.clone());
            vec![Out::Tell(Event::Reconciler(event))]
        }
        // The tickets of waiting publishes are forgotten: clients come again and send anew.
        Actor::Router => {
            vec![mqtt(io::Mqtt::Pause), Out::Tell(Event::Reconciler(reconciler::Event::RouterRestarted))]
        }
        Actor::Delivery(queue) => vec![to_router(router::Event::DeliveryRestarted(queue.clone()))],
        Actor::Membership => vec![Out::Io(Io::Mesh(io::Mesh::Tokens))],
        Actor::Uplink => {
            vec![Out::Io(Io::Uplink(io::Uplink::Close)), Out::Tell(Event::Uplink(uplink::Event::Start))]
        }
        Actor::Health => vec![
            Out::Tell(Event::Reconciler(reconciler::Event::HealthRestarted)),
            to_router(router::Event::HealthRestarted),
            Out::Tell(Event::Membership(membership::Event::HealthRestarted)),
            Out::Tell(Event::Uplink(uplink::Event::HealthRestarted)),
            Out::Tell(Event::Twins(twins::Event::HealthRestarted)),
        ],
        // Whoever waits is told by the adapter, when the time is up; each module reports again.
        Actor::Calls => vec![Out::Tell(Event::Reconciler(reconciler::Event::HealthRestarted))],
        // Tickets of what modules reported are forgotten here too.
        Actor::Twins => vec![
            mqtt(io::Mqtt::Pause),
            Out::Tell(Event::Reconciler(reconciler::Event::RouterRestarted)),
            Out::Tell(Event::Uplink(uplink::Event::Asked)),
        ],
    }
}
