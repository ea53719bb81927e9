//! Who hears what: the one place where effects of one machine become events of another, or I/O.
//!
//! The device (on actix) and the simulator (on a virtual clock) both go through here, so what
//! they host is wired alike.
//!
//! | from | what | heard by |
//! |---|---|---|
//! | reconciler | `Want`, `Unwant`, `Restart`, `Found`, `Missing` | that module |
//! | reconciler | `Routes`; `Twins` | router; twins |
//! | reconciler | `Assigned`, `Problems`, `Workload`, `WorkloadGone`, `Drift` | health |
//! | reconciler | `SaveFloors`, `Save`, `SaveLife`, `DropLife`, `SaveLocks`, `SavePulled`, `List`, `Look`, `Pull`, `Space`, `RemoveImage`, `RemoveOrphan`, `Names`, `Clients`, `LockTaken`, `LockRefused` | state files, engine, MQTT |
//! | reconciler | `AskTime`; `TakenBack`; `NotTaken` | the clock; the audit log; whoever offered it |
//! | module | `Report` | health, calls, reconciler |
//! | module | `Gone` | reconciler, health, calls; the actor ends |
//! | module | the rest | engine |
//! | router | `Appended` (starts it), `Skipped` | that queue's delivery |
//! | router | `Closed` | the delivery ends; MQTT, for a module's queue |
//! | router | `Status`, `StatusGone`, `RouteStatus`, `RouteGone`, `Unrouted`, `NotRetained`, `Refused` | health |
//! | router | `Store`, `Accept`, `Deny`, `Refuse`, `Retained`, `Confirm` | store, MQTT, mesh |
//! | delivery | `Trimmed` | router |
//! | delivery | `AskUp` | membership, uplink or MQTT, by its endpoint |
//! | delivery | `Send` | mesh, uplink or MQTT, by its endpoint |
//! | delivery | `Load`, `Store` | store |
//! | membership | `Up`, `Down` | all deliveries to that device |
//! | membership | `Peers` | health |
//! | uplink | `Up`, `Down`, `Confirm` | all deliveries to the cloud, or the one confirmed; twins |
//! | uplink | `Twin` | verification, then twins |
//! | uplink | `FullWanted`, `Problem` | health |
//! | uplink | `Connect`, `Close`, `Send`, `Desired`, `Ask`, `Clock` | uplink adapter, verification, answers, the wall clock |
//! | health | `Report` | uplink, and whoever asks on this device |
//! | calls | `Restart` | that module |
//! | twins | `Publish` | router |
//! | twins | `Save`, `Drop`, `Deliver`, `Refuse`, `Shown` | state files, MQTT, the operator who waits |
//! | twins | `Tell`, `Problems` | uplink adapter, health |
//! | calls | `Deliver`, `Withdraw`, `Settled` | MQTT, the operator who waits |
//!
//! What adapters bring is an [`Event`] as it is: a confirmation from a neighbour is `Acked` for the
//! delivery of (its route, that device); a session that comes is `Up` for all deliveries to its module.

mod condensed;
mod reconciled;
mod restart;
mod twins_out;
mod untold;

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};
use wayside_config::workload::ModuleId;

use crate::{
    device::{
        calls, delivery, health,
        io::{self, Io},
        membership, module, reconciler, router, twins, uplink,
    },
    frame::ToCloud,
    message::Batch,
    queue::{Endpoint, Queue},
};

pub use self::{
    condensed::condensed, reconciled::reconciler, restart::after_restart, twins_out::twins, untold::untold,
};

/// An actor of the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// See [`mod@reconciler`].
    Reconciler,
    /// See [`mod@module`].
    Module(ModuleId),
    /// See [`mod@router`].
    Router,
    /// See [`mod@delivery`].
    Delivery(Queue),
    /// See [`mod@membership`].
    Membership,
    /// See [`mod@uplink`].
    Uplink,
    /// See [`mod@health`].
    Health,
    /// See [`mod@calls`].
    Calls,
    /// See [`mod@twins`].
    Twins,
}

/// An event and the actor that it is for. For a module or a queue that has no actor, one is started
/// when [`Event::starts`] says so; other events are dropped then, for they are late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// For the reconciler.
    Reconciler(reconciler::Event),
    /// For a module.
    Module(ModuleId, module::Event),
    /// For the router.
    Router(router::Event),
    /// For a queue's delivery.
    Delivery(Queue, delivery::Event),
    /// For every delivery whose queue leads to this endpoint.
    Deliveries(Endpoint, delivery::Event),
    /// For the membership.
    Membership(membership::Event),
    /// For the uplink.
    Uplink(uplink::Event),
    /// For health.
    Health(health::Event),
    /// For the calls under way.
    Calls(calls::Event),
    /// For the twins.
    Twins(twins::Event),
}

/// What one effect leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Out {
    /// Another actor hears of it.
    Tell(Event),
    /// Something is done outside.
    Io(Io),
    /// The actor is no longer needed.
    End(Actor),
}

/// All that one effect leads to: nearly always one thing, for which nothing is allocated.
pub type Outs = SmallVec<[Out; 1]>;

impl Event {
    /// Whether this event starts the actor that it is for, where there is none: a module that is
    /// wanted, a queue that holds something.
    #[must_use]
    pub const fn starts(&self) -> bool {
        match self {
            Self::Module(_, event) => matches!(event, module::Event::Wanted { .. }),
            Self::Delivery(_, event) => matches!(event, delivery::Event::Appended { .. }),
            Self::Reconciler(_)
            | Self::Router(_)
            | Self::Deliveries(..)
            | Self::Membership(_)
            | Self::Uplink(_)
            | Self::Health(_)
            | Self::Calls(_)
            | Self::Twins(_) => false,
        }
    }
}

/// What follows from an effect of the machine of `module`.
#[must_use]
pub fn module(module: &ModuleId, effect: module::Effect) -> Outs {
    use module::Effect as E;
    let module = module.clone();
    smallvec![match effect {
        E::Create { spec, spec_hash } => engine(io::Engine::Create { module, spec, spec_hash }),
        E::Prepare { spec, spec_hash, grace_ms } => {
            engine(io::Engine::Prepare { module, spec, spec_hash, grace_ms })
        }
        E::Start { container } => engine(io::Engine::Start { module, container }),
        E::Stop { container, grace_ms } => engine(io::Engine::Stop { module, container, grace_ms }),
        E::Remove { container } => engine(io::Engine::Remove { module, container }),
        E::Report(status, spec_hash) => {
            return smallvec![
                to_health(health::Event::Module(module.clone(), status.clone())),
                to_calls(calls::Event::Module(module.clone(), status.clone())),
                Out::Tell(Event::Reconciler(reconciler::Event::Module { module, spec_hash, status })),
            ];
        }
        E::Gone => {
            return smallvec![
                to_health(health::Event::ModuleGone(module.clone())),
                to_calls(calls::Event::ModuleGone(module.clone())),
                Out::Tell(Event::Reconciler(reconciler::Event::ModuleGone(module.clone()))),
                Out::End(Actor::Module(module)),
            ];
        }
    }]
}

/// What follows from an effect of the router.
#[must_use]
pub fn router(effect: router::Effect) -> Outs {
    use router::Effect as E;
    smallvec![match effect {
        E::Store(op) => Out::Io(Io::Store(io::Store::Commit(op))),
        E::Accept { ticket } => mqtt(io::Mqtt::Accept { tickets: vec![ticket] }),
        E::Deny { ticket } => mqtt(io::Mqtt::Deny { ticket }),
        E::Refuse { ticket, reason } => mqtt(io::Mqtt::Refuse { ticket, reason }),
        E::Retained { module, messages } => mqtt(io::Mqtt::Retained { module, messages }),
        E::Confirm { to, confirm } => Out::Io(Io::Mesh(io::Mesh::Confirm { to, confirm })),
        E::Appended { queue, acked, last, terms } => {
            Out::Tell(Event::Delivery(queue, delivery::Event::Appended { acked, last, terms }))
        }
        E::Skipped { queue, upto } => Out::Tell(Event::Delivery(queue, delivery::Event::Skipped { upto })),
        E::Closed(queue) => {
            let end = Out::End(Actor::Delivery(queue.clone()));
            return match &queue.to {
                Endpoint::Module(_) => smallvec![end, mqtt(io::Mqtt::Forget(queue))],
                Endpoint::Device(_) | Endpoint::Cloud => smallvec![end],
            };
        }
        E::Forward { queue, message } => match &queue.to {
            Endpoint::Module(_) => mqtt(io::Mqtt::Forward { queue, message }),
            Endpoint::Device(to) => Out::Io(Io::Mesh(io::Mesh::Forward { to: *to, queue, message })),
            // Compose files with such a route are refused: the cloud keeps what it gets.
            Endpoint::Cloud => return Outs::new(),
        },
        E::Status(queue, status) => to_health(health::Event::Queue(queue, status)),
        E::StatusGone(queue) => to_health(health::Event::QueueGone(queue)),
        E::RouteStatus(route, status) => to_health(health::Event::Route(route, status)),
        E::RouteGone(route) => to_health(health::Event::RouteGone(route)),
        E::Unrouted(count) => to_health(health::Event::Unrouted(count)),
        E::NotRetained(count) => to_health(health::Event::Problems {
            source: "retained".into(),
            problems: vec![format!(
                "{count} message(s) since the daemon started had no room to be retained, and were routed only: retain fewer or smaller ones"
            )],
        }),
        E::Refused(count) => to_health(health::Event::Refused(count)),
    }]
}

/// What follows from an effect of the delivery of `queue`.
#[must_use]
pub fn delivery(queue: &Queue, effect: delivery::Effect) -> Outs {
    use delivery::Effect as E;
    let queue = queue.clone();
    smallvec![match effect {
        E::Load { from, max_messages, max_bytes } => {
            Out::Io(Io::Store(io::Store::Load { queue, from, max_messages, max_bytes }))
        }
        E::AskUp => match &queue.to {
            Endpoint::Module(module) => mqtt(io::Mqtt::AskUp { module: module.clone() }),
            Endpoint::Device(device) => {
                Out::Tell(Event::Membership(membership::Event::Asked { device: *device }))
            }
            Endpoint::Cloud => Out::Tell(Event::Uplink(uplink::Event::Asked)),
        },
        E::Send { epoch, after, first_seq, messages } => {
            let batch = |messages| Batch { route: queue.route.clone(), epoch, after, first_seq, messages };
            match &queue.to {
                Endpoint::Module(_) => mqtt(io::Mqtt::Deliver { queue, first_seq, messages }),
                Endpoint::Device(to) => Out::Io(Io::Mesh(io::Mesh::Send { to: *to, batch: batch(messages) })),
                Endpoint::Cloud => {
                    let frame = ToCloud::Batch(batch(messages));
                    Out::Io(Io::Uplink(io::Uplink::Send(frame)))
                }
            }
        }
        E::Store(op) => Out::Io(Io::Store(io::Store::Commit(op))),
        E::Trimmed { upto, expired } => to_router(router::Event::Trimmed { queue, upto, expired }),
    }]
}

/// What follows from an effect of the membership.
#[must_use]
pub fn membership(effect: membership::Effect) -> Outs {
    use membership::Effect as E;
    let deliveries = |device, event| Out::Tell(Event::Deliveries(Endpoint::Device(device), event));
    smallvec![match effect {
        E::Up(device) => deliveries(device, delivery::Event::Up),
        E::Down(device) => deliveries(device, delivery::Event::Down),
        E::Peers(peers) => {
            to_health(health::Event::Peers(peers.into_iter().map(|peer| peer.device).collect()))
        }
        E::Role(role) => Out::Io(Io::Mesh(io::Mesh::Role(role))),
    }]
}

/// What follows from an effect of the uplink.
#[must_use]
pub fn uplink(effect: uplink::Effect) -> Outs {
    use uplink::Effect as E;
    let deliveries = |event| Out::Tell(Event::Deliveries(Endpoint::Cloud, event));
    smallvec![match effect {
        E::Connect => Out::Io(Io::Uplink(io::Uplink::Connect)),
        E::Close => Out::Io(Io::Uplink(io::Uplink::Close)),
        E::Send(frame) => Out::Io(Io::Uplink(io::Uplink::Send(frame))),
        E::Up => return smallvec![deliveries(delivery::Event::Up), to_twins(twins::Event::CloudUp)],
        E::Down => return smallvec![deliveries(delivery::Event::Down), to_twins(twins::Event::CloudDown)],
        E::Twin(sealed) => Out::Io(Io::VerifyTwin(sealed)),
        E::FullWanted => to_health(health::Event::FullWanted),
        E::Desired(desired) => Out::Io(Io::Verify(desired)),
        E::Confirm(confirm) => {
            let queue = Queue::new(confirm.route, Endpoint::Cloud);
            let acked = delivery::Event::Acked { epoch: Some(confirm.epoch), upto: confirm.upto };
            Out::Tell(Event::Delivery(queue, acked))
        }
        E::Ask(ask) => Out::Io(Io::Answer(ask)),
        E::Clock { cloud_ms, round_trip_ms } => Out::Io(Io::Clock { cloud_ms, round_trip_ms }),
        E::Problem(problem) => {
            let problems = Some(problem).filter(|problem| !problem.is_empty()).into_iter().collect();
            to_health(health::Event::Problems { source: "uplink".into(), problems })
        }
    }]
}

/// What follows from an effect of health.
#[must_use]
pub fn health(effect: health::Effect) -> Outs {
    match effect {
        health::Effect::Report(report) => smallvec![
            Out::Tell(Event::Uplink(uplink::Event::Report(report.clone()))),
            Out::Io(Io::Publish(report)),
        ],
    }
}

/// What follows from an effect of the calls.
#[must_use]
pub fn calls(effect: calls::Effect) -> Outs {
    use calls::Effect as E;
    smallvec![match effect {
        E::Deliver { call, module, method, body } => mqtt(io::Mqtt::Call { call, module, method, body }),
        E::Withdraw { call, module } => mqtt(io::Mqtt::Withdraw { call, module }),
        E::Restart(module) => to_module(module, module::Event::Restart),
        E::Settled { call, outcome } => Out::Io(Io::Called { call, outcome }),
    }]
}

fn engine(engine: io::Engine) -> Out {
    Out::Io(Io::Engine(engine))
}

fn mqtt(mqtt: io::Mqtt) -> Out {
    Out::Io(Io::Mqtt(mqtt))
}

fn to_module(module: ModuleId, event: module::Event) -> Out {
    Out::Tell(Event::Module(module, event))
}

fn to_router(event: router::Event) -> Out {
    Out::Tell(Event::Router(event))
}

fn to_calls(event: calls::Event) -> Out {
    Out::Tell(Event::Calls(event))
}

fn to_twins(event: twins::Event) -> Out {
    Out::Tell(Event::Twins(event))
}

fn to_health(event: health::Event) -> Out {
    Out::Tell(Event::Health(event))
}
