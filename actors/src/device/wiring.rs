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
            | Self::Health(_) => false,
        }
    }
}
