//! Who hears what: the one place where effects of one machine become events of another, or I/O.
//!
//! The device (on actix) and the simulator (on a virtual clock) both go through here, so what
//! they host is wired alike.

use serde::{Deserialize, Serialize};
use wayside_config::workload::ModuleId;

use crate::{
    device::{delivery, health, io::Io, membership, module, reconciler, router, uplink},
    queue::Queue,
};

/// An actor of the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// See [`reconciler`].
    Reconciler,
    /// See [`module`].
    Module(ModuleId),
    /// See [`router`].
    Router,
    /// See [`delivery`].
    Delivery(Queue),
    /// See [`membership`].
    Membership,
    /// See [`uplink`].
    Uplink,
    /// See [`health`].
    Health,
}

/// An event and the actor that it is for. An event for a module or a queue that has no actor
/// yet starts one.
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
    Deliveries(crate::queue::Endpoint, delivery::Event),
    /// For the membership.
    Membership(membership::Event),
    /// For the uplink.
    Uplink(uplink::Event),
    /// For health.
    Health(health::Event),
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
