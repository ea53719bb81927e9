//! Starts actors: how each machine is made from what is persisted, and where its effects lead.

use std::{collections::BTreeMap, rc::Rc};

use futures_util::{FutureExt, future::LocalBoxFuture};
use wayside_actors::{
    device::{
        calls::Calls,
        delivery::Delivery,
        health::Health,
        membership::Membership,
        module::Module,
        reconciler::Reconciler,
        router::Router,
        uplink::Uplink,
        wiring::{self, Actor, Event, Outs},
    },
    frame::Hello,
    machine::Machine,
    queue::Queue,
};
use wayside_config::workload::ModuleId;
use wayside_host::Address;

use super::{Device, actor::ActorShell};
use crate::clock::wall_ms;

impl Device {
    /// Starts the actors that are always there, except the router. `hello` is for the cloud, when there is one.
    pub fn begin(self: &Rc<Self>, hello: Option<Hello>) {
        let id = self.adapters.device;
        let clock = self.host.clock();
        let begun = move || Health::begun_at(wall_ms().saturating_sub(clock.now().as_millis()));
        let health = self.spawn(Actor::Health, move || Ok(begun()), wiring::health);
        let calls = self.spawn(Actor::Calls, || Ok(Calls::default()), wiring::calls);
        let twins = {
            let device = Rc::clone(self);
            let make = move || {
                let device = Rc::clone(&device);
                async move { device.load_twins().await }.boxed_local()
            };
            self.spawn_with(Actor::Twins, make, wiring::twins)
        };
        let membership = self.spawn(Actor::Membership, move || Ok(Membership::new(id)), wiring::membership);
        let reconciler = {
            let device = Rc::clone(self);
            let make = move || {
                let policy = device.adapters.engine.policy().clone();
                let labels = device.adapters.trust.labels();
                let reconciler = Reconciler::new(id, device.load_floors(), device.load_lives()?);
                let windows = device.adapters.windows.clone();
                let reconciler =
                    reconciler.allowing(policy).labelled(labels).holding(windows, device.load_locks());
                Ok(reconciler.sweeping(device.load_pulled(), device.adapters.keep_unused_ms))
            };
            self.spawn(Actor::Reconciler, make, wiring::reconciler)
        };
        let uplink = hello.map(|hello| {
            let seed = self.adapters.seed;
            self.spawn(Actor::Uplink, move || Ok(Uplink::new(hello.clone(), seed)), wiring::uplink)
        });
        let has_uplink = uplink.is_some();
        {
            let mut actors = self.actors.borrow_mut();
            actors.health = Some(health);
            actors.calls = Some(calls);
            actors.twins = Some(twins);
            actors.membership = Some(membership);
            actors.reconciler = Some(reconciler);
            actors.uplink = uplink;
        }
        self.restore(&Actor::Reconciler);
        if has_uplink {
            self.restore(&Actor::Uplink);
        }
    }

    /// Starts the router over the open store.
    pub(super) fn begin_router(self: &Rc<Self>) {
        let router = self.router();
        self.actors.borrow_mut().router = Some(router);
        // What the reconciler told before is told again.
        self.restore(&Actor::Router);
    }

    /// Starts the actor that `event` is for, where there is none.
    pub(super) fn start_for(self: &Rc<Self>, event: &Event) {
        match event {
            Event::Module(module, _) if !self.actors.borrow().modules.contains_key(module) => {
                let address = self.module(module.clone());
                self.actors.borrow_mut().modules.insert(module.clone(), address);
            }
            Event::Delivery(queue, _) if !self.actors.borrow().deliveries.contains_key(queue) => {
                let address = self.delivery(queue.clone());
                self.actors.borrow_mut().deliveries.insert(queue.clone(), address);
            }
            Event::Module(..)
            | Event::Delivery(..)
            | Event::Reconciler(_)
            | Event::Router(_)
            | Event::Deliveries(..)
            | Event::Membership(_)
            | Event::Uplink(_)
            | Event::Health(_)
            | Event::Calls(_)
            | Event::Twins(_) => {}
        }
    }

    fn module(self: &Rc<Self>, module: ModuleId) -> Address<<Module as Machine>::Event> {
        let actor = Actor::Module(module.clone());
        self.spawn(actor, || Ok(Module::default()), move |effect| wiring::module(&module, effect))
    }

    fn delivery(self: &Rc<Self>, queue: Queue) -> Address<<Delivery as Machine>::Event> {
        let actor = Actor::Delivery(queue.clone());
        let (of_make, epoch, seed) = (queue.clone(), self.epoch(), self.adapters.seed);
        let make = move || Ok(Delivery::new(of_make.clone(), epoch, seed));
        self.spawn(actor, make, move |effect| wiring::delivery(&queue, effect))
    }

    fn router(self: &Rc<Self>) -> Address<<Router as Machine>::Event> {
        let device = Rc::clone(self);
        let make = move || {
            let (store, id) = (device.store(), device.adapters.device);
            let blocking = device.adapters.blocking.clone();
            async move {
                let store = store.ok_or("the queues are not open")?;
                let reading = blocking.spawn_blocking(move || store.restored());
                let held = reading.await.map_err(|error| error.to_string())?;
                let held = held.map_err(|error| error.to_string())?;
                let marks: BTreeMap<_, _> = held.marks.into_iter().collect();
                Ok(Router::new(id, held.queues.into_iter().collect(), &marks))
            }
            .boxed_local()
        };
        self.spawn_with(Actor::Router, make, wiring::router)
    }

    /// For a machine that is made of nothing that is stored.
    fn spawn<M: Machine + 'static>(
        self: &Rc<Self>,
        actor: Actor,
        make: impl Fn() -> Result<M, String> + 'static,
        wire: impl Fn(M::Effect) -> Outs + 'static,
    ) -> Address<M::Event> {
        self.spawn_with(actor, move || std::future::ready(make()).boxed_local(), wire)
    }

    fn spawn_with<M: Machine + 'static>(
        self: &Rc<Self>,
        actor: Actor,
        make: impl Fn() -> LocalBoxFuture<'static, Result<M, String>> + 'static,
        wire: impl Fn(M::Effect) -> Outs + 'static,
    ) -> Address<M::Event> {
        let name = name(&actor);
        let shell = ActorShell { device: Rc::clone(self), actor, make: Box::new(make), wire: Box::new(wire) };
        self.host.spawn(name, shell)
    }
}

/// For logs and recordings.
fn name(actor: &Actor) -> String {
    match actor {
        Actor::Reconciler => "reconciler".into(),
        Actor::Module(module) => format!("module {module}"),
        Actor::Router => "router".into(),
        Actor::Delivery(queue) => format!("delivery {queue}"),
        Actor::Membership => "membership".into(),
        Actor::Uplink => "uplink".into(),
        Actor::Health => "health".into(),
        Actor::Calls => "calls".into(),
        Actor::Twins => "twins".into(),
    }
}
