//! The shell of every machine of the device: what is different between them is two functions.

use std::rc::Rc;

use futures_util::{FutureExt, future::LocalBoxFuture};
use wayside_actors::{
    device::wiring::{self, Actor, Outs},
    machine::Machine,
};
use wayside_host::{CommitError, Shell};

use super::{
    Device,
    keep::{self, ToKeep},
};

/// Makes a machine from what is persisted.
type Make<M> = Box<dyn Fn() -> LocalBoxFuture<'static, Result<M, String>>>;

/// Where an effect leads.
type Wire<M> = Box<dyn Fn(<M as Machine>::Effect) -> Outs>;

/// Surrounds one machine.
pub(super) struct ActorShell<M: Machine> {
    pub(super) device: Rc<Device>,
    pub(super) actor: Actor,
    pub(super) make: Make<M>,
    pub(super) wire: Wire<M>,
}

impl<M: Machine + 'static> Shell<M> for ActorShell<M> {
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<M, String>> {
        (self.make)()
    }

    fn commit(&self, group: Vec<M::Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>> {
        let sorted = ToKeep::sorted(group.into_iter().flat_map(&self.wire));
        async move { keep::commit(&self.device, sorted?).await }.boxed_local()
    }

    fn perform(&self, effects: Vec<M::Effect>) -> LocalBoxFuture<'_, ()> {
        let outs = wiring::condensed(effects.into_iter().flat_map(&self.wire));
        async move {
            for out in outs {
                self.device.out(out).await;
            }
        }
        .boxed_local()
    }

    fn restarted(&self) {
        self.device.restore(&self.actor);
    }

    fn escalate(&self, reason: String) {
        self.device.escalate(&self.actor, reason);
    }
}
