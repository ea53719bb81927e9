//! How a daemon starts: what its machines are made from, and what they hear first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wayside_actors::{
    device::{
        calls::Calls,
        delivery::Delivery,
        health::Health,
        membership::Membership,
        module::Module,
        reconciler,
        reconciler::Reconciler,
        router::Router,
        twins::Twins,
        uplink::Uplink,
        wiring::{self, Actor, Event},
    },
    frame::{Hello, PROTOCOL},
    queue::Queue,
};

use wayside_config::settings::KEEP_UNUSED_MS;

use super::{
    Host,
    broker::Broker,
    daemon::{Daemon, Machines},
};
use crate::{
    cloud::TOKEN,
    happening::{Happening, InDaemon, OnDevice},
    line::Hosted,
    links::device_id,
    world::Nature,
};

impl Daemon {
    /// A daemon whose machines know what the disk holds.
    pub(super) fn new(life: u32, host: &Host, nature: &mut Nature) -> Self {
        let id = device_id(host.index);
        let machines = Machines {
            reconciler: Hosted::new(
                Reconciler::new(id, host.disk.floors.clone(), host.disk.lives.clone())
                    .holding(Vec::new(), host.disk.locks.clone())
                    .sweeping(host.disk.pulled.clone(), KEEP_UNUSED_MS),
            ),
            router: Hosted::new(Router::new(id, host.disk.queues(), &host.disk.marks())),
            membership: Hosted::new(Membership::new(id)),
            uplink: Hosted::new(Uplink::new(hello(host.index, life), nature.random.number())),
            health: Hosted::new(Health::default()),
            calls: Hosted::new(Calls::default()),
            twins: Hosted::new(Twins::new(host.disk.twins.clone(), nature.twins.seed())),
            modules: BTreeMap::new(),
            deliveries: BTreeMap::new(),
        };
        Self {
            life,
            index: host.index,
            machines,
            neighbours: BTreeSet::new(),
            connection: None,
            broker: Broker::default(),
            ready: VecDeque::new(),
        }
    }

    /// Brings up the mesh, the engine and the uplink.
    pub(super) fn begin(&mut self, host: &mut Host, nature: &mut Nature) {
        let (index, devices) = (self.index, nature.scenario.devices);
        for other in (0..devices).filter(|other| *other != index) {
            for (who, at) in [(index, other), (other, index)] {
                let after_ms = nature.random.between(10, 360);
                nature.schedule.after(after_ms, Happening::Device(who, OnDevice::Look { at }));
            }
        }
        for actor in [Actor::Reconciler, Actor::Uplink] {
            for out in wiring::after_restart(&actor) {
                self.follow(out, host, nature);
            }
        }
        self.tell(Event::Reconciler(reconciler::Event::EngineBack), host, nature);
        self.plan_call(nature);
    }

    /// An operator calls a module of this device.
    pub(super) fn call(&mut self, host: &mut Host, nature: &mut Nature) {
        let event = nature.calls.make(self.index, self.life, nature.now());
        self.tell(Event::Calls(event), host, nature);
        let look = nature.twins.look(self.index);
        self.tell(Event::Twins(look), host, nature);
        self.plan_call(nature);
    }

    fn plan_call(&self, nature: &mut Nature) {
        if nature.is_busy() {
            let at = nature.now().plus_millis(nature.calls.pause_ms());
            self.plan(at, InDaemon::Call, nature);
        }
    }
}

/// A module's machine.
pub(super) fn module(_nature: &mut Nature) -> Module {
    Module::default()
}

/// A queue's machine.
pub(super) fn delivery(queue: &Queue, host: &Host, nature: &mut Nature) -> Delivery {
    Delivery::new(queue.clone(), host.disk.epoch, nature.random.number())
}

fn hello(index: u32, life: u32) -> Hello {
    Hello {
        protocol: PROTOCOL,
        name: name(index),
        version: env!("CARGO_PKG_VERSION").into(),
        labels: Vec::new(),
        token: Some(TOKEN.into()),
        run: u64::from(life) + 1,
        grant: None,
    }
}

/// A device's name.
pub(super) fn name(index: u32) -> String {
    format!("d{index}")
}
