//! What machines of a daemon want done outside, done to the world; and what comes from there.

use wayside_actors::{
    device::{
        delivery,
        io::{self, Io},
        membership, reconciler, router, uplink,
        wiring::{Event, untold},
    },
    frame::{Desired, ToCloud},
    message::Confirm,
    queue::{Endpoint, Queue},
    time::Time,
};
use wayside_config::{
    cbor,
    document::{Assignment, Release},
};

use super::{Host, daemon::Daemon, engine::Engine};
use crate::{
    happening::{Happening, InCloud, InDaemon, InEngine, InService, OnDevice, OnLan, OnUplink},
    links::{device_id, device_index},
    world::Nature,
};

impl Daemon {
    pub(super) fn io(&mut self, io: Io, host: &mut Host, nature: &mut Nature) {
        match io {
            Io::Engine(engine) => self.engine(engine, nature),
            Io::Mesh(mesh) => self.mesh(mesh, nature),
            Io::Mqtt(mqtt) => self.mqtt(mqtt, host, nature),
            Io::Uplink(uplink) => self.uplink(uplink, nature),
            Io::Store(io::Store::Load { queue, from, max_messages, max_bytes }) => {
                let loaded = host.disk.load(&queue, from, max_messages, max_bytes, nature.wall_ms());
                self.answer(nature.now(), Event::Delivery(queue, loaded), nature);
            }
            Io::LoadDesired => self.restore(host, nature),
            Io::Verify(desired) => self.answer(nature.now(), opened(desired, false), nature),
            Io::AskTime => {
                let event = reconciler::Event::Time { wall_ms: nature.wall_ms() };
                self.answer(nature.now(), Event::Reconciler(event), nature);
            }
            // One clock tells all of this world the time.
            Io::Publish(_) | Io::Clock { .. } | Io::TakenBack { .. } | Io::NotTaken { .. } => {}
            Io::TwinShown { question, result } => {
                let (next, broken) = nature.twins.shown(self.index, question, result);
                nature.broken.extend(broken);
                self.ready.extend(next.map(Event::Twins));
            }
            Io::VerifyTwin(_) => unreachable!("operators change twins on the LAN here"),
            Io::Called { call, outcome } => {
                let now = nature.now();
                nature.broken.extend(nature.calls.settled(self.index, self.life, call, &outcome, now));
            }
            Io::Answer(_) => unreachable!("nobody asks in a simulation"),
            Io::Store(io::Store::Commit(_))
            | Io::SaveFloors(_)
            | Io::SaveDesired(_)
            | Io::SaveLife(..)
            | Io::DropLife(_)
            | Io::SaveLocks(_)
            | Io::SavePulled(_)
            | Io::SaveTwin(..)
            | Io::DropTwin(_) => {
                unreachable!("persist steps are committed: {io:?}")
            }
        }
    }

    /// Reads what the device should run from its own disk.
    pub(super) fn restore(&self, host: &Host, nature: &mut Nature) {
        if let Some(desired) = host.disk.desired.clone() {
            self.answer(nature.now(), opened(desired, true), nature);
        }
    }

    fn answer(&self, at: Time, event: Event, nature: &mut Nature) {
        self.plan(at, InDaemon::Tell(Box::new(event)), nature);
    }

    fn engine(&self, engine: io::Engine, nature: &mut Nature) {
        let what = match engine {
            // There is room enough here, and no image ever goes.
            io::Engine::Space | io::Engine::RemoveImage { .. } | io::Engine::Prepare { .. } => return,
            io::Engine::List => InEngine::List,
            io::Engine::Look { workload, images } => InEngine::Look { workload, images },
            io::Engine::Pull { workload, images, max_bytes: _ } => InEngine::Pull { workload, images },
            io::Engine::Create { module, spec, spec_hash } => InEngine::Create { module, spec, spec_hash },
            io::Engine::Start { module, container } => InEngine::Start { module, container },
            io::Engine::Stop { module, container, grace_ms: _ } => InEngine::Stop { module, container },
            io::Engine::Remove { module, container } => InEngine::Remove { module, container },
            io::Engine::RemoveOrphan { container } => InEngine::RemoveOrphan { container },
        };
        let takes_ms = Engine::takes_ms(&what, &mut nature.random);
        let what = OnDevice::Engine { life: self.life, what };
        nature.schedule.after(takes_ms, Happening::Device(self.index, what));
    }

    fn mesh(&mut self, mesh: io::Mesh, nature: &mut Nature) {
        match mesh {
            io::Mesh::Send { to, batch } => {
                self.to_lan(device_index(&to), OnLan::Batch(Box::new(batch)), nature);
            }
            io::Mesh::Confirm { to, confirm } => {
                self.to_lan(device_index(&to), OnLan::Confirm(confirm), nature);
            }
            io::Mesh::Forward { .. } => unreachable!("the simulated workload has no best-effort route"),
            // Links do not depend on roles here: what follows from them is tested beside the machine.
            io::Mesh::Role(_) => {}
            io::Mesh::Tokens => {
                for other in &self.neighbours {
                    self.ready.push_back(token(*other, true));
                }
            }
        }
    }

    fn to_lan(&self, to: u32, what: OnLan, nature: &mut Nature) {
        let lost = nature.random.chance(nature.links.lan_loss_per_mille);
        if !lost && nature.links.reaches(self.index, to) {
            let what = OnDevice::Lan { from: self.index, what };
            nature.schedule.after(nature.links.lan_ms(self.index, to), Happening::Device(to, what));
        }
    }

    pub(super) fn on_lan(&mut self, from: u32, what: OnLan, host: &mut Host, nature: &mut Nature) {
        let from = device_id(from);
        let event = match what {
            OnLan::Batch(batch) => Event::Router(router::Event::Arrived { from, batch: *batch }),
            OnLan::Confirm(Confirm { route, epoch, upto }) => {
                let queue = Queue::new(route, Endpoint::Device(from));
                Event::Delivery(queue, delivery::Event::Acked { epoch: Some(epoch), upto })
            }
        };
        self.tell(event, host, nature);
    }

    /// The mesh tells when a neighbour's token has come or gone since it looked last.
    pub(super) fn look(&mut self, at: u32, host: &mut Host, nature: &mut Nature) {
        let there = nature.links.reaches(self.index, at);
        let changed = if there { self.neighbours.insert(at) } else { self.neighbours.remove(&at) };
        if changed {
            self.tell(token(at, there), host, nature);
        }
    }

    fn uplink(&mut self, uplink: io::Uplink, nature: &mut Nature) {
        let may_have_no_room = match &uplink {
            io::Uplink::Together(_) => true,
            io::Uplink::Send(frame) => !matches!(frame, ToCloud::Hello(_) | ToCloud::Batch(_)),
            io::Uplink::Connect | io::Uplink::Close => false,
        };
        if may_have_no_room && nature.room.chance(20) {
            return self.ready.extend(untold(uplink));
        }
        match uplink {
            io::Uplink::Connect => {
                const TIMEOUT_MS: u64 = 5000;
                let connection = nature.links.new_connection();
                self.connection = Some(connection);
                let index = self.index as usize;
                let reached = !nature.links.cut[index] && nature.links.cloud.is_some();
                let (after_ms, what) = if reached {
                    (2 * nature.links.uplink_ms(self.index), OnUplink::Dialled)
                } else {
                    (TIMEOUT_MS, OnUplink::Lost)
                };
                let what = OnDevice::Uplink { connection, what };
                nature.schedule.after(after_ms, Happening::Device(self.index, what));
            }
            io::Uplink::Close => {
                if let Some(connection) = self.connection.take() {
                    nature.links.connection[self.index as usize].take_if(|stands| *stands == connection);
                    self.to_cloud(InService::Closed { device: self.index, connection }, nature);
                }
            }
            io::Uplink::Send(frame) => self.send(frame, nature),
            io::Uplink::Together(frames) => frames.into_iter().for_each(|frame| self.send(frame, nature)),
        }
    }

    fn send(&self, frame: ToCloud, nature: &mut Nature) {
        if let Some(connection) = self.connection
            && nature.links.connection[self.index as usize] == Some(connection)
        {
            let what = InService::Frame { device: self.index, connection, frame: Box::new(frame) };
            self.to_cloud(what, nature);
        }
    }

    fn to_cloud(&self, what: InService, nature: &mut Nature) {
        if let Some(life) = nature.links.cloud {
            let what = InCloud::Service { life, what };
            nature.schedule.after(nature.links.uplink_ms(self.index), Happening::Cloud(what));
        }
    }

    pub(super) fn on_uplink(
        &mut self,
        connection: u64,
        what: OnUplink,
        host: &mut Host,
        nature: &mut Nature,
    ) {
        if self.connection != Some(connection) {
            return;
        }
        let index = self.index as usize;
        let event = match what {
            OnUplink::Dialled if nature.links.cut[index] || nature.links.cloud.is_none() => {
                return self.on_uplink(connection, OnUplink::Lost, host, nature);
            }
            OnUplink::Dialled => {
                nature.links.connection[index] = Some(connection);
                self.to_cloud(InService::Opened { device: self.index, connection }, nature);
                uplink::Event::Connected
            }
            OnUplink::Lost => {
                self.connection = None;
                uplink::Event::Lost { reason: "the cloud is silent".into() }
            }
            OnUplink::Frame(_) if nature.links.connection[index] != Some(connection) => return,
            OnUplink::Frame(frame) => uplink::Event::Frame(*frame),
        };
        self.tell(Event::Uplink(event), host, nature);
    }
}

fn token(other: u32, there: bool) -> Event {
    let device = device_id(other);
    Event::Membership(if there {
        membership::Event::TokenSeen { device, name: super::boot::name(other) }
    } else {
        membership::Event::TokenGone { device }
    })
}

/// Documents travel without signatures here: trust is not what is simulated.
fn opened(sealed: Desired, restored: bool) -> Event {
    let open =
        |bytes: &bytes::Bytes| cbor::decode::<Release>(bytes).expect("the cloud of this world encodes it");
    let releases = sealed.releases.iter().map(open).collect();
    let assignment: Assignment =
        cbor::decode(&sealed.assignment).expect("the cloud of this world encodes it");
    Event::Reconciler(reconciler::Event::Desired {
        sealed,
        assignment: Box::new(assignment),
        releases,
        by: reconciler::Assigner::Cloud,
        restored,
    })
}
