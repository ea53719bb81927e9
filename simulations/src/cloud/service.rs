//! One life of the cloud's service: its machines, and adapters that decide nothing.

use std::collections::{BTreeMap, VecDeque};

use wayside_actors::{
    cloud::{
        fleet::{self, Fleet, Presence},
        session::{self, Session},
        wiring::{self, Actor, Event, Io, Out},
    },
    frame::{Desired, ToCloud, ToDevice},
    report::ModuleState,
    time::Time,
};
use wayside_config::{
    cbor,
    document::{Assignment, Release},
    hash::sha256,
    identity::DeviceId,
};

use super::{TOKEN, store::Store};
use crate::{
    happening::{Happening, InCloud, InService, OnDevice, OnUplink},
    line::{Hosted, Line, Staged, Turn, commit_ms},
    links::{device_id, device_index},
    world::Nature,
};

pub(super) struct Service {
    life: u32,
    fleet: Hosted<Fleet, Out>,
    sessions: BTreeMap<DeviceId, Connected>,
    ready: VecDeque<Event>,
}

/// A device's session, and the connection that comes after it.
struct Connected {
    connection: u64,
    next: Option<Next>,
    session: Hosted<Session, Out>,
}

/// A connection that waits, and what came on it meanwhile.
struct Next {
    connection: u64,
    frames: Vec<ToCloud>,
}

impl Service {
    pub(super) fn start(life: u32, store: &mut Store, nature: &mut Nature) -> Self {
        let devices = store.devices.iter().map(|(id, record)| (*id, record.clone()));
        let releases = store.releases.values().map(|(release, sha256, _)| (release.clone(), *sha256));
        let twins = store.twins.iter().map(|(of, record)| (of.clone(), record.clone()));
        let fleet = Hosted::new(Fleet::new(nature.now(), devices, releases).with_twins(twins));
        let mut service = Self { life, fleet, sessions: BTreeMap::new(), ready: VecDeque::new() };
        service.tell(Event::Fleet(fleet::Event::Started), store, nature);
        service
    }

    pub(super) const fn life(&self) -> u32 {
        self.life
    }

    pub(super) fn happen(&mut self, what: InService, store: &mut Store, nature: &mut Nature) {
        match what {
            InService::Committed(actor) => {
                let group = self.line(actor).map(Line::committed).unwrap_or_default();
                self.finish(actor, group, store, nature);
            }
            InService::Wake(actor) => {
                let now = nature.now();
                if self.line(actor).is_some_and(|line| line.is_due(now)) {
                    let event = match actor {
                        Actor::Fleet => Event::Fleet(fleet::Event::Woken),
                        Actor::Session(device) => Event::Session(device, session::Event::Woken),
                    };
                    self.tell(event, store, nature);
                }
            }
            InService::Opened { device, connection } => self.opened(device, connection, store, nature),
            InService::Frame { device, connection, frame } => {
                if nature.links.connection[device as usize] == Some(connection) {
                    self.frame(device_id(device), connection, frame, store, nature);
                }
            }
            InService::Closed { device, connection } => {
                let id = device_id(device);
                if self.is_connection(&id, connection) {
                    self.tell(Event::Session(id, session::Event::Closed), store, nature);
                }
            }
        }
        self.settle(store, nature);
    }

    pub(super) fn apply(&mut self, release: Release, store: &mut Store, nature: &mut Nature) {
        let sealed = cbor::encode(&release);
        let event = fleet::Event::Applied {
            ticket: release.version,
            sha256: sha256(&sealed),
            sealed: sealed.into(),
            release: Box::new(release),
        };
        self.tell(Event::Fleet(event), store, nature);
    }

    pub(super) fn die(mut self, store: &mut Store, nature: &mut Nature) {
        let actors = self.sessions.keys().map(|id| Actor::Session(*id));
        for actor in actors.chain([Actor::Fleet]).collect::<Vec<_>>() {
            let group = self.line(actor).map(Line::committed).unwrap_or_default();
            if nature.random.chance(500) {
                for step in group {
                    if let Staged::Persist(Out::Io(io)) = step {
                        store.commit(io, nature);
                    }
                }
            }
        }
    }

    pub(super) fn misses(&self, devices: u32) -> Vec<String> {
        let mut misses = Vec::new();
        for index in 0..devices {
            let Some(record) = self.fleet.machine.device(&device_id(index)) else {
                misses.push(format!("the cloud does not know device {index}"));
                continue;
            };
            let assigned = record.assigned.as_ref().map(|assigned| assigned.version);
            let running =
                |status: &wayside_actors::report::ModuleStatus| status.state == ModuleState::Running;
            if record.presence != Presence::Online {
                misses.push(format!("the cloud holds device {index} for {:?}", record.presence));
            } else if record.reported.assignment != assigned || assigned.is_none() {
                let reported = record.reported.assignment;
                misses.push(format!("device {index} reports assignment {reported:?} and has {assigned:?}"));
            } else if record.reported.modules.len() != 2 || !record.reported.modules.values().all(running) {
                misses.push(format!("device {index} reports {:?}", record.reported.modules));
            }
        }
        misses
    }

    fn is_connection(&self, id: &DeviceId, connection: u64) -> bool {
        self.sessions.get(id).is_some_and(|connected| connected.connection == connection)
    }

    /// One session a device: a new connection waits until the older one's session is over.
    fn opened(&mut self, device: u32, connection: u64, store: &mut Store, nature: &mut Nature) {
        let id = device_id(device);
        if let Some(connected) = self.sessions.get_mut(&id) {
            connected.next = Some(Next { connection, frames: Vec::new() });
            return self.tell(Event::Session(id, session::Event::Closed), store, nature);
        }
        let session = Hosted::new(Session::new(id));
        self.sessions.insert(id, Connected { connection, next: None, session });
        let windows = store.windows.get(&id).cloned().unwrap_or_default();
        self.tell(Event::Session(id, session::Event::Opened { windows }), store, nature);
    }

    fn frame(
        &mut self,
        id: DeviceId,
        connection: u64,
        frame: Box<ToCloud>,
        store: &mut Store,
        nature: &mut Nature,
    ) {
        let Some(connected) = self.sessions.get_mut(&id) else { return };
        if connected.connection == connection {
            let event = session::Event::Frame { frame, wall_ms: nature.wall_ms() };
            self.tell(Event::Session(id, event), store, nature);
        } else if let Some(next) = connected.next.as_mut().filter(|next| next.connection == connection) {
            next.frames.push(*frame);
        }
    }

    fn line(&mut self, actor: Actor) -> Option<&mut Line<Out>> {
        match actor {
            Actor::Fleet => Some(&mut self.fleet.line),
            Actor::Session(id) => self.sessions.get_mut(&id).map(|connected| &mut connected.session.line),
        }
    }

    fn tell(&mut self, event: Event, store: &mut Store, nature: &mut Nature) {
        self.ready.push_back(event);
        self.settle(store, nature);
    }

    /// Lets machines take events until none is ready.
    fn settle(&mut self, store: &mut Store, nature: &mut Nature) {
        while let Some(event) = self.ready.pop_front() {
            let now = nature.now();
            nature.trace.line(now, "cloud", &event);
            let (actor, wish) = match event {
                Event::Fleet(event) => {
                    (Actor::Fleet, self.fleet.handle(now, event, |effect| vec![wiring::fleet(effect)]))
                }
                Event::Session(id, event) => {
                    let Some(connected) = self.sessions.get_mut(&id) else { continue };
                    (Actor::Session(id), connected.session.handle(now, event, wiring::session))
                }
            };
            if let Some(at) = wish {
                self.plan(at, InService::Wake(actor), nature);
            }
            self.turn(actor, store, nature);
        }
    }

    fn turn(&mut self, actor: Actor, store: &mut Store, nature: &mut Nature) {
        match self.line(actor).map_or(Turn::Wait, Line::turn) {
            Turn::Wait => {}
            Turn::Commit => {
                let at = nature.now().plus_millis(commit_ms(&mut nature.random));
                self.plan(at, InService::Committed(actor), nature);
            }
            Turn::Do(group) => self.finish(actor, group, store, nature),
        }
    }

    /// A group is committed: stores what had to be, does the rest, and goes on with what waits.
    fn finish(&mut self, actor: Actor, group: Vec<Staged<Out>>, store: &mut Store, nature: &mut Nature) {
        let mut rest = Vec::new();
        for step in group {
            match step {
                Staged::Persist(Out::Io(io)) => store.commit(io, nature),
                Staged::Persist(out) | Staged::Do(out) => rest.push(out),
            }
        }
        for out in rest {
            match out {
                Out::Tell(event) => self.ready.push_back(event),
                Out::Io(io) => self.io(io, store, nature),
                Out::End(Actor::Fleet) => {}
                Out::End(Actor::Session(id)) => {
                    if let Some(Connected { next: Some(next), .. }) = self.sessions.remove(&id) {
                        let (device, connection, now) = (device_index(&id), next.connection, nature.now());
                        self.plan(now, InService::Opened { device, connection }, nature);
                        for frame in next.frames {
                            let frame = Box::new(frame);
                            self.plan(now, InService::Frame { device, connection, frame }, nature);
                        }
                    }
                }
            }
        }
        self.turn(actor, store, nature);
    }

    fn plan(&self, at: Time, what: InService, nature: &mut Nature) {
        nature.schedule.at(at, Happening::Cloud(InCloud::Service { life: self.life, what }));
    }

    fn io(&mut self, io: Io, store: &Store, nature: &mut Nature) {
        match io {
            Io::Greet { device, hello, wall_ms } => {
                let token_ok = hello.token.as_deref() == Some(TOKEN);
                let event =
                    fleet::Event::Greeted { device, hello, token_ok, granted: None, is_void: false, wall_ms };
                self.ready.push_back(Event::Fleet(event));
            }
            Io::Send(device, frame) => self.send(device, frame, nature),
            Io::Close { device, reason } => {
                self.hang_up(&device, &reason, nature);
                self.ready.push_back(Event::Session(device, session::Event::Closed));
            }
            Io::Assign(assignment) => {
                let desired = seal(&assignment, store);
                let event = session::Event::Desired(desired);
                self.ready.push_back(Event::Session(assignment.device, event));
            }
            Io::Settled { ticket, result } => match result {
                Ok(_) => nature.settled = nature.settled.max(ticket),
                Err(reason) => nature.broken.push(format!("the release was refused: {reason}")),
            },
            Io::Answered(..) | Io::Changed(..) | Io::TwinChanged(..) => {}
            Io::Store { .. }
            | Io::SaveDevice(..)
            | Io::SaveRelease { .. }
            | Io::DropRelease { .. }
            | Io::SaveTwin(..)
            | Io::DropTwin(..) => {
                unreachable!("persist steps are committed: {io:?}")
            }
        }
    }

    /// The service closes a connection: a fault, unless that carried nothing any more.
    fn hang_up(&self, id: &DeviceId, reason: &str, nature: &mut Nature) {
        let Some(connected) = self.sessions.get(id) else { return };
        let (device, connection) = (device_index(id), connected.connection);
        if nature.links.connection[device as usize].take_if(|stands| *stands == connection).is_some() {
            nature.broken.push(format!("the cloud closed device {device}: {reason}"));
            let what = OnDevice::Uplink { connection, what: OnUplink::Lost };
            nature.schedule.after(nature.links.uplink_ms(device), Happening::Device(device, what));
        }
    }

    fn send(&self, id: DeviceId, frame: ToDevice, nature: &mut Nature) {
        let Some(connected) = self.sessions.get(&id) else { return };
        let (device, connection) = (device_index(&id), connected.connection);
        if nature.links.connection[device as usize] == Some(connection) {
            let what = OnDevice::Uplink { connection, what: OnUplink::Frame(Box::new(frame)) };
            nature.schedule.after(nature.links.uplink_ms(device), Happening::Device(device, what));
        }
    }
}

/// Documents travel without signatures here: trust is not what is simulated.
fn seal(assignment: &Assignment, store: &Store) -> Desired {
    let named = assignment.releases.iter().filter_map(|named| store.releases.get(&named.workload));
    Desired {
        assignment: cbor::encode(assignment).into(),
        releases: named.map(|(_, _, sealed)| sealed.clone()).collect(),
        ..Desired::default()
    }
}
