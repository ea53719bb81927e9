//! The outside as the actors' effects reach it.

use std::{cell::OnceCell, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::{runtime::Handle, sync::mpsc};
use wayside_actors::{
    device::{
        delivery, health,
        io::{self, Io},
        membership,
        reconciler::{self, Floors},
        twins, uplink,
        wiring::{Event, untold},
    },
    frame::{Answer, Ask, Desired, Question, ToCloud},
    queue::Queue,
    report::ClockOffset,
};
use wayside_config::{audit::Way, hash::sha256, identity::DeviceId, window::Window};
use wayside_mesh::{lost::Lost, session::Mesh};

use super::{CallPort, Device, Held, MqttPort, TwinPort, View};
use crate::{
    audit::Audit,
    clock::wall_ms,
    desired,
    engine::Engine,
    floors, logs,
    state::{Found, StateFolder},
    trust::{self, Trust, Verified},
};

/// Who noticed a problem with the desired state.
pub(super) const DESIRED: &str = "desired state";

/// Who noticed that the desired state on the disk was damaged. What comes next is another matter: that there was
/// damage stays to be said until the daemon ends.
pub(crate) const DESIRED_ON_DISK: &str = "desired state on the disk";

/// Commands of the uplink's queue that batches leave free for frames that are none: for a round of twins and what else there
/// is to say. They would find room only by luck while batches take what there is.
pub(crate) const ROOM_OF_OTHERS: usize = 2 * twins::TELL_TWINS;

/// Answers operators' sealed requests that came by way of the cloud.
pub trait SealedRequests {
    /// The sealed reply in base64, or why the request is not even looked at.
    fn answer(&self, request: Bytes) -> LocalBoxFuture<'static, Result<String, String>>;
}

/// What the device's effects reach. Nothing here waits for an actor.
pub struct Adapters {
    /// This device.
    pub device: DeviceId,
    /// What it is called.
    pub name: String,
    /// Spreads repetitions of this device against those of others.
    pub seed: u64,
    /// The MQTT listener, as it comes and goes.
    pub mqtt: MqttPort,
    /// Who waits for what came of a call.
    pub calls: Arc<CallPort>,
    /// Who waits for a twin.
    pub twins: Arc<TwinPort>,
    /// For reads that block on the disk.
    pub blocking: Handle,
    /// The containers.
    pub engine: Engine,
    /// The mesh, unless it could not be started.
    pub mesh: Option<Mesh>,
    /// The way to the task that commands the uplink, when there is a cloud.
    pub uplink: Option<mpsc::Sender<io::Uplink>>,
    /// Counts what best-effort routes lose.
    pub lost: Lost,
    /// The small state files.
    pub state: Arc<StateFolder>,
    /// Whose signatures count.
    pub trust: Arc<Trust>,
    /// What is done by right.
    pub audit: Arc<Audit>,
    /// When versions that run may be replaced; empty for when each workload says.
    pub windows: Vec<Window>,
    /// How long an image stays that nothing needs, in milliseconds.
    pub keep_unused_ms: u64,
    /// What operators may see.
    pub view: Arc<View>,
    /// Who answers operators' sealed requests, once it is there.
    pub sealed: OnceCell<Rc<dyn SealedRequests>>,
}

impl std::fmt::Debug for Adapters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adapters").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Device {
    pub(super) async fn io(self: &Rc<Self>, io: Io) {
        let adapters = &self.adapters;
        match io {
            Io::Engine(command) => adapters.engine.command(command),
            Io::Mesh(command) => self.mesh(command),
            Io::Mqtt(command) => adapters.mqtt.command(self, command),
            Io::Uplink(command) => self.uplink(command).await,
            Io::Store(io::Store::Load { queue, from, max_messages, max_bytes }) => {
                self.load(queue, from, max_messages, max_bytes);
            }
            Io::Store(io::Store::Commit(_))
            | Io::SaveFloors(_)
            | Io::SaveDesired(_)
            | Io::SaveLife(..)
            | Io::DropLife(_)
            | Io::SaveLocks(_)
            | Io::SavePulled(_)
            | Io::SaveTwin(..)
            | Io::DropTwin(_) => {
                tracing::error!(
                    "an effect that must be persisted came as one to be done; please report this"
                );
            }
            Io::TakenBack { workload, version, why } => {
                tracing::warn!(workload, version, why, "a version was taken back; the one before runs again");
                adapters.audit.taken_back(&workload, version, &why);
            }
            Io::NotTaken { version, reason } => adapters.view.does_not_take(version, reason),
            Io::AskTime => {
                self.tell(Event::Reconciler(reconciler::Event::Time { wall_ms: wall_ms() }));
            }
            Io::LoadDesired => self.load_desired(),
            Io::Verify(desired) => self.verify(desired),
            Io::Answer(ask) => self.answer(ask),
            Io::TwinShown { question, result } => adapters.twins.settle(question, result),
            Io::VerifyTwin(sealed) => {
                match adapters.trust.verify_twin(&sealed, &adapters.trust.name(&adapters.name)) {
                    Ok(change) => {
                        adapters.audit.twin_by_cloud(&sealed);
                        let (sha256, change) = (sha256(&sealed), Box::new(change));
                        self.tell(Event::Twins(twins::Event::Change { question: None, change, sha256 }));
                    }
                    Err(reason) => {
                        tracing::warn!(reason, "a change of a twin from the cloud was not taken");
                        let sha256 = sha256(&sealed);
                        self.tell(Event::Twins(twins::Event::Unverified { sha256, reason }));
                    }
                }
            }
            Io::Clock { cloud_ms, round_trip_ms } => {
                self.tell(Event::Health(health::Event::Clock(offset(cloud_ms, round_trip_ms, wall_ms()))));
            }
            Io::Called { call, outcome } => adapters.calls.settle(call, outcome),
            Io::Publish(report) => adapters.view.reported(*report),
        }
    }

    fn verify(self: &Rc<Self>, desired: Desired) {
        let holds = self.adapters.view.held().borrow().sealed.clone();
        let verified = self.adapters.trust.verify(desired, &holds);
        self.adapters.audit.fleet(Way::Cloud, self.adapters.trust.fleet());
        match verified {
            Ok(verified) => {
                self.adapters.audit.offered(verified.assignment.version, Way::Cloud);
                self.problem("trust", None);
                self.tell(desired_event(verified, false));
            }
            Err(error) => {
                tracing::warn!(%error, "desired state from the cloud was not taken");
                self.adapters.audit.refused(Way::Cloud, &format!("desired state: {error}"));
                self.problem("trust", Some(format!("desired state from the cloud was not taken: {error}")));
            }
        }
    }

    fn mesh(self: &Rc<Self>, command: io::Mesh) {
        if let io::Mesh::Tokens = command {
            for (device, name) in self.adapters.view.neighbours() {
                self.tell(Event::Membership(membership::Event::TokenSeen { device, name }));
            }
            for device in self.adapters.mesh.iter().flat_map(Mesh::routers) {
                self.tell(Event::Membership(membership::Event::RouterSeen { device }));
            }
            return;
        }
        let Some(mesh) = &self.adapters.mesh else {
            if let io::Mesh::Forward { queue, .. } = command {
                self.adapters.lost.add(&queue.route, 1);
            }
            return;
        };
        // `false` is for what the link has no room for: whoever sent it sends it again, or it is counted as lost.
        let _sent = match command {
            io::Mesh::Send { to, batch } => mesh.send(to, batch),
            io::Mesh::Forward { to, queue, message } => mesh.forward(to, queue, message),
            io::Mesh::Confirm { to, confirm } => mesh.confirm(to, confirm),
            io::Mesh::Role(role) => {
                mesh.take_role(role);
                true
            }
            io::Mesh::Tokens => true,
        };
    }

    /// No actor waits for a link slower than its senders: who has to say again what found no room hears of it.
    async fn uplink(self: &Rc<Self>, command: io::Uplink) {
        let Some(uplink) = &self.adapters.uplink else { return };
        let begins_anew = match &command {
            io::Uplink::Send(ToCloud::Report(report)) => report.full,
            io::Uplink::Connect => true,
            io::Uplink::Close | io::Uplink::Send(_) | io::Uplink::Together(_) => false,
        };
        if begins_anew {
            self.lacks_report.set(false);
        }
        let command = match command {
            // What it was granted may have come since its last connection.
            io::Uplink::Send(ToCloud::Hello(mut hello)) => {
                hello.grant = self.adapters.trust.own().map(|own| own.sealed);
                return drop(uplink.send(io::Uplink::Send(ToCloud::Hello(hello))).await);
            }
            // What follows a report that was not told would leave a gap, for which the cloud hangs up.
            io::Uplink::Send(ToCloud::Report(report)) if self.lacks_report.get() && !report.full => {
                Err(io::Uplink::Send(ToCloud::Report(report)))
            }
            // Of the uplink's own actor alone, few, and for the daemon's end: without them nothing goes on. An error
            // means that it is ending already.
            io::Uplink::Connect | io::Uplink::Close => return drop(uplink.send(command).await),
            io::Uplink::Send(ToCloud::Batch(_)) if uplink.capacity() <= ROOM_OF_OTHERS => Err(command),
            io::Uplink::Send(_) | io::Uplink::Together(_) => match uplink.try_send(command) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
                Err(mpsc::error::TrySendError::Full(command)) => Err(command),
            },
        };
        if let Err(io::Uplink::Send(ToCloud::Report(_))) = command {
            self.lacks_report.set(true);
        }
        if let Some(event) = command.err().and_then(untold) {
            self.tell(event);
        }
    }

    fn load(self: &Rc<Self>, queue: Queue, from: u64, max_messages: usize, max_bytes: usize) {
        let Some(store) = self.store() else { return };
        let device = Rc::clone(self);
        actix::spawn(async move {
            let of_read = queue.clone();
            let read = device
                .adapters
                .blocking
                .spawn_blocking(move || store.load(&of_read, from, max_messages, max_bytes))
                .await;
            let event = match read {
                Ok(Ok(loaded)) => delivery::Event::Loaded {
                    from,
                    first_seq: loaded.first_seq,
                    messages: loaded.messages,
                    wall_ms: wall_ms(),
                },
                // Nothing to give now; the delivery asks again.
                Ok(Err(error)) => {
                    tracing::warn!(%queue, %error, "a queue could not be read");
                    delivery::Event::Loaded {
                        from,
                        first_seq: from,
                        messages: Vec::new(),
                        wall_ms: wall_ms(),
                    }
                }
                Err(_) => return,
            };
            device.tell(Event::Delivery(queue, event));
        });
    }

    fn load_desired(self: &Rc<Self>) {
        match desired::load(&self.adapters.state) {
            Found::Nothing => {}
            Found::Whole(verified) => {
                self.adapters.holds(&verified);
                self.tell(desired_event(verified, true));
            }
            Found::Damaged(problem) => self.problem(DESIRED_ON_DISK, Some(problem)),
        }
    }

    fn answer(self: &Rc<Self>, ask: Ask) {
        let device = Rc::clone(self);
        actix::spawn(async move {
            let adapters = &device.adapters;
            let result = match ask.question {
                Question::Logs { module, tail, since_ms } => {
                    logs_for_cloud(adapters, &module, tail, since_ms).await
                }
                Question::Sealed { request } => match adapters.sealed.get() {
                    Some(sealed) => sealed.answer(request).await,
                    None => Err("the daemon has only just started: ask again".into()),
                },
            };
            device.tell(Event::Uplink(uplink::Event::Answer(Answer { id: ask.id, result })));
        });
    }
}

/// Recorded under the name that the device has for the module: a cloud, which nobody signed for, may make up any number of others.
async fn logs_for_cloud(adapters: &Adapters, name: &str, tail: u32, since_ms: u64) -> Result<String, String> {
    let module = logs::find(adapters.view.report().modules.keys(), name)?.to_string();
    let ask = crate::control::Ask::Logs { module: module.clone(), tail, since_ms };
    adapters.audit.asked(Way::Cloud, &[], &ask);
    logs::read(&adapters.view, &adapters.engine, &module, tail, since_ms).await
}

impl Adapters {
    /// Replaces the highest versions on the disk.
    pub(super) fn save_floors(&self, floors: Floors) -> std::io::Result<()> {
        floors::save(&self.state, &floors)?;
        self.view.taken(floors);
        Ok(())
    }

    /// Records that this is about to be taken.
    pub(super) fn record_desired(&self, desired: &Desired) {
        // It was verified before it came here.
        if let Ok(verified) = trust::reopen(desired.clone()) {
            self.audit.desired(&verified);
        }
    }

    /// Replaces the desired state on the disk.
    pub(super) fn save_desired(&self, desired: &Desired) -> std::io::Result<()> {
        desired::save(&self.state, desired)?;
        if let Ok(verified) = trust::reopen(desired.clone()) {
            self.holds(&verified);
        }
        Ok(())
    }

    fn holds(&self, verified: &Verified) {
        self.view.holds(Held {
            version: verified.assignment.version,
            releases: verified.assignment.releases.clone(),
            sealed: verified.sealed.clone(),
        });
    }
}

/// How far the cloud's clock is ahead that said `cloud_ms` about in the middle of a round trip that ends now.
fn offset(cloud_ms: u64, round_trip_ms: u64, wall_ms: u64) -> ClockOffset {
    let cloud_now_ms = cloud_ms.saturating_add(round_trip_ms / 2);
    let away_ms = i64::try_from(cloud_now_ms.abs_diff(wall_ms)).unwrap_or(i64::MAX);
    let ahead_ms = if cloud_now_ms >= wall_ms { away_ms } else { -away_ms };
    ClockOffset { ahead_ms, error_ms: round_trip_ms.div_ceil(2) }
}

/// The event that brings verified desired state to the reconciler.
fn desired_event(verified: Verified, restored: bool) -> Event {
    let Verified { sealed, assignment, releases, by } = verified;
    Event::Reconciler(reconciler::Event::Desired {
        sealed,
        assignment: Box::new(assignment),
        releases,
        by,
        restored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_round_trip_has_passed_since_the_cloud_looked_at_its_clock() {
        assert_eq!(offset(1_000_000, 41, 1_000_020), ClockOffset { ahead_ms: 0, error_ms: 21 });
        assert_eq!(offset(1_000_000, 40, 993_020), ClockOffset { ahead_ms: 7000, error_ms: 20 });
        assert_eq!(offset(1_000_000, 40, 1_007_020), ClockOffset { ahead_ms: -7000, error_ms: 20 });
    }
}
