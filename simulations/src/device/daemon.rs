//! One life of a daemon: the machines of the real one, wired as there, with their lines of steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wayside_actors::{
    device::{
        calls::Calls,
        delivery::{self, Delivery},
        health::Health,
        io::Io,
        membership::Membership,
        module::{self, Module},
        reconciler::Reconciler,
        router::Router,
        twins::Twins,
        uplink::Uplink,
        wiring::{self, Actor, Event, Out},
    },
    machine::Machine,
    queue::{Endpoint, Queue},
    time::Time,
};
use wayside_config::workload::ModuleId;

use super::{Host, broker::Broker, disk::Disk};
use crate::{
    happening::{Happening, InDaemon, OnDevice},
    line::{Hosted, Line, Staged, Turn, commit_ms},
    world::Nature,
};

pub(super) struct Daemon {
    pub(super) life: u32,
    pub(super) index: u32,
    pub(super) machines: Machines,
    /// Neighbours whose liveliness this daemon's mesh has seen.
    pub(super) neighbours: BTreeSet<u32>,
    /// The connection to the cloud that is being made or stands.
    pub(super) connection: Option<u64>,
    pub(super) broker: Broker,
    pub(super) ready: VecDeque<Event>,
}

pub(super) struct Machines {
    pub(super) reconciler: Hosted<Reconciler, Out>,
    pub(super) router: Hosted<Router, Out>,
    pub(super) membership: Hosted<Membership, Out>,
    pub(super) uplink: Hosted<Uplink, Out>,
    pub(super) health: Hosted<Health, Out>,
    pub(super) calls: Hosted<Calls, Out>,
    pub(super) twins: Hosted<Twins, Out>,
    pub(super) modules: BTreeMap<ModuleId, Hosted<Module, Out>>,
    pub(super) deliveries: BTreeMap<Queue, Hosted<Delivery, Out>>,
}

impl Daemon {
    pub(super) const fn life(&self) -> u32 {
        self.life
    }

    pub(super) const fn is_committing(&self) -> bool {
        self.machines.router.line.is_committing()
    }

    pub(super) fn happen(&mut self, what: InDaemon, host: &mut Host, nature: &mut Nature) {
        match what {
            InDaemon::Committed(actor) => {
                let group = self.line(&actor).map(Line::committed).unwrap_or_default();
                self.finish(&actor, group, host, nature);
                self.settle(host, nature);
            }
            InDaemon::Wake(actor) => {
                let now = nature.now();
                if self.line(&actor).is_some_and(|line| line.is_due(now)) {
                    self.tell(woken(actor), host, nature);
                }
            }
            InDaemon::Tell(event) => self.tell(*event, host, nature),
            InDaemon::Call => self.call(host, nature),
            InDaemon::Packet { module, session, packet } => {
                self.packet(module, session, packet, host, nature);
            }
        }
    }

    /// What is being committed is on the disk afterwards, or not, by chance.
    pub(super) fn die(mut self, disk: &mut Disk, nature: &mut Nature) {
        nature.calls.died(self.index, self.life);
        let machines = &self.machines;
        let modules = machines.modules.keys().cloned().map(Actor::Module);
        let deliveries = machines.deliveries.keys().cloned().map(Actor::Delivery);
        let others = [Actor::Reconciler, Actor::Router, Actor::Twins];
        for actor in modules.chain(deliveries).chain(others).collect::<Vec<_>>() {
            let group = self.line(&actor).map(Line::committed).unwrap_or_default();
            if nature.random.chance(500) {
                group.into_iter().for_each(|step| {
                    if let Staged::Persist(Out::Io(io)) = step {
                        disk.take(io);
                    }
                });
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event, host: &mut Host, nature: &mut Nature) {
        self.ready.push_back(event);
        self.settle(host, nature);
    }

    /// Lets machines take events until none is ready.
    fn settle(&mut self, host: &mut Host, nature: &mut Nature) {
        while let Some(event) = self.ready.pop_front() {
            if let Event::Deliveries(to, event) = event {
                self.spread(&to, &event);
                continue;
            }
            nature.trace.line(nature.now(), self.index, &event);
            let Some((actor, wish)) = self.machines.take(nature.now(), event, host, nature) else { continue };
            if let Some(at) = wish {
                self.plan(at, InDaemon::Wake(actor.clone()), nature);
            }
            self.turn(&actor, host, nature);
        }
    }

    /// Tells every delivery that leads to the endpoint.
    fn spread(&mut self, to: &Endpoint, event: &delivery::Event) {
        for queue in self.machines.deliveries.keys().filter(|queue| queue.to == *to).rev() {
            self.ready.push_front(Event::Delivery(queue.clone(), event.clone()));
        }
    }

    fn turn(&mut self, actor: &Actor, host: &mut Host, nature: &mut Nature) {
        match self.line(actor).map_or(Turn::Wait, Line::turn) {
            Turn::Wait => {}
            Turn::Commit => {
                let at = nature.now().plus_millis(commit_ms(&mut nature.random));
                self.plan(at, InDaemon::Committed(actor.clone()), nature);
            }
            Turn::Do(group) => self.finish(actor, group, host, nature),
        }
    }

    /// A group is committed: it is on the disk now, the rest is done, and what waits has its turn.
    fn finish(&mut self, actor: &Actor, group: Vec<Staged<Out>>, host: &mut Host, nature: &mut Nature) {
        let mut rest = Vec::new();
        for step in group {
            match step {
                Staged::Persist(Out::Io(io)) => host.disk.take(io),
                Staged::Persist(out) | Staged::Do(out) => rest.push(out),
            }
        }
        for out in rest {
            self.follow(out, host, nature);
        }
        self.turn(actor, host, nature);
    }

    /// Does what an effect led to.
    pub(super) fn follow(&mut self, out: Out, host: &mut Host, nature: &mut Nature) {
        match out {
            Out::Tell(event) => self.ready.push_back(event),
            Out::Io(io) => self.io(io, host, nature),
            Out::End(Actor::Module(module)) => {
                self.machines.modules.remove(&module);
            }
            Out::End(Actor::Delivery(queue)) => {
                self.machines.deliveries.remove(&queue);
            }
            Out::End(
                Actor::Reconciler
                | Actor::Router
                | Actor::Membership
                | Actor::Uplink
                | Actor::Health
                | Actor::Calls
                | Actor::Twins,
            ) => unreachable!("these live as long as the daemon"),
        }
    }

    fn line(&mut self, actor: &Actor) -> Option<&mut Line<Out>> {
        let machines = &mut self.machines;
        match actor {
            Actor::Reconciler => Some(&mut machines.reconciler.line),
            Actor::Router => Some(&mut machines.router.line),
            Actor::Membership => Some(&mut machines.membership.line),
            Actor::Uplink => Some(&mut machines.uplink.line),
            Actor::Health => Some(&mut machines.health.line),
            Actor::Calls => Some(&mut machines.calls.line),
            Actor::Twins => Some(&mut machines.twins.line),
            Actor::Module(module) => machines.modules.get_mut(module).map(|hosted| &mut hosted.line),
            Actor::Delivery(queue) => machines.deliveries.get_mut(queue).map(|hosted| &mut hosted.line),
        }
    }

    pub(super) fn plan(&self, at: Time, what: InDaemon, nature: &mut Nature) {
        let what = OnDevice::Daemon { life: self.life, what };
        nature.schedule.at(at, Happening::Device(self.index, what));
    }
}

impl Machines {
    /// Gives an event to the machine that it is for, which starts now if that event starts one.
    fn take(
        &mut self,
        now: Time,
        event: Event,
        host: &Host,
        nature: &mut Nature,
    ) -> Option<(Actor, Option<Time>)> {
        let starts = event.starts();
        let (actor, wish) = match event {
            Event::Reconciler(event) => {
                (Actor::Reconciler, self.reconciler.handle(now, event, wiring::reconciler))
            }
            Event::Router(event) => (Actor::Router, self.router.handle(now, event, wiring::router)),
            Event::Membership(event) => {
                (Actor::Membership, self.membership.handle(now, event, wiring::membership))
            }
            Event::Uplink(event) => (Actor::Uplink, self.uplink.handle(now, event, wiring::uplink)),
            Event::Health(event) => (Actor::Health, self.health.handle(now, event, wiring::health)),
            Event::Calls(event) => (Actor::Calls, self.calls.handle(now, event, wiring::calls)),
            Event::Twins(event) => (Actor::Twins, self.twins.handle(now, event, wiring::twins)),
            Event::Module(id, event) => {
                if starts && !self.modules.contains_key(&id) {
                    let machine = super::boot::module(nature);
                    self.modules.insert(id.clone(), Hosted::new(machine));
                }
                let hosted = self.modules.get_mut(&id)?;
                let wish = hosted.handle(now, event, |effect| wiring::module(&id, effect));
                (Actor::Module(id), wish)
            }
            Event::Delivery(queue, event) => {
                if starts && !self.deliveries.contains_key(&queue) {
                    let machine = super::boot::delivery(&queue, host, nature);
                    self.deliveries.insert(queue.clone(), Hosted::new(machine));
                }
                let hosted = self.deliveries.get_mut(&queue)?;
                let wish = hosted.handle(now, event, |effect| wiring::delivery(&queue, effect));
                (Actor::Delivery(queue), wish)
            }
            Event::Deliveries(..) => unreachable!("was spread"),
        };
        Some((actor, wish))
    }
}

/// What tells an actor that its time has come.
fn woken(actor: Actor) -> Event {
    match actor {
        Actor::Reconciler => Event::Reconciler(Reconciler::woken()),
        Actor::Router => Event::Router(Router::woken()),
        Actor::Membership => Event::Membership(Membership::woken()),
        Actor::Uplink => Event::Uplink(Uplink::woken()),
        Actor::Health => Event::Health(Health::woken()),
        Actor::Calls => Event::Calls(Calls::woken()),
        Actor::Twins => Event::Twins(Twins::woken()),
        Actor::Module(id) => Event::Module(id, module::Event::Woken),
        Actor::Delivery(queue) => Event::Delivery(queue, delivery::Event::Woken),
    }
}

impl Disk {
    /// Carries out a persist step.
    fn take(&mut self, io: Io) {
        use wayside_actors::device::io::Store;
        match io {
            Io::Store(Store::Commit(op)) => self.commit(op),
            Io::SaveFloors(floors) => self.floors = floors,
            Io::SaveDesired(desired) => self.desired = Some(desired),
            Io::SaveLife(workload, life) => drop(self.lives.insert(workload, *life)),
            Io::DropLife(workload) => drop(self.lives.remove(&workload)),
            Io::SaveLocks(locks) => self.locks = locks,
            Io::SavePulled(pulled) => self.pulled = pulled,
            Io::SaveTwin(module, twin) => {
                self.twins.insert(module, *twin);
            }
            Io::DropTwin(module) => {
                self.twins.remove(&module);
            }
            Io::Engine(_)
            | Io::Mesh(_)
            | Io::Mqtt(_)
            | Io::Uplink(_)
            | Io::Store(Store::Load { .. })
            | Io::LoadDesired
            | Io::AskTime
            | Io::TakenBack { .. }
            | Io::NotTaken { .. }
            | Io::Verify(_)
            | Io::Answer(_)
            | Io::Called { .. }
            | Io::Clock { .. }
            | Io::VerifyTwin(_)
            | Io::TwinShown { .. }
            | Io::Publish(_) => unreachable!("not a persist step: {io:?}"),
        }
    }
}
