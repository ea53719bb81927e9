//! The surroundings of the cloud's machines: what they want done becomes commits, frames and answers.

use std::sync::Arc;

use futures_util::{FutureExt, future::LocalBoxFuture};
use tokio::sync::{Notify, mpsc};
use wayside_actors::{
    cloud::{
        fleet::{self, Fleet},
        session::{self, Session},
        wiring::{self, Event, Io, Out},
    },
    frame::ToDevice,
};
use wayside_config::identity::DeviceId;
use wayside_host::{Clock, CommitError, Shell};

use super::{
    hub::{Hub, Outgoing},
    news,
    state::same_secret,
    store::{Change, StoredRelease},
};
use crate::wire::Frame;

/// The surroundings of the fleet.
pub(super) struct FleetShell {
    pub(super) hub: Arc<Hub>,
    pub(super) clock: Clock,
    /// Hears why the fleet was given up.
    pub(super) failed: mpsc::UnboundedSender<String>,
}

/// The surroundings of one session.
pub(super) struct SessionShell {
    pub(super) hub: Arc<Hub>,
    pub(super) device: DeviceId,
    pub(super) number: u64,
    pub(super) outbox: mpsc::Sender<Outgoing>,
    /// Told when the Welcome is sent.
    pub(super) welcomed: Arc<Notify>,
    pub(super) connection: quinn::Connection,
}

impl Shell<Fleet> for FleetShell {
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<Fleet, String>> {
        let (store, now) = (self.hub.store.clone(), self.clock.now());
        async move {
            let read = tokio::task::spawn_blocking(move || {
                Ok((store.devices()?, store.releases()?, store.twins()?))
            });
            let (devices, releases, twins) = read
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error: super::store::StoreError| error.to_string())?;
            let releases = releases.into_iter().map(|stored| (*stored.release, stored.sha256));
            Ok(Fleet::new(now, devices, releases).with_twins(twins))
        }
        .boxed_local()
    }

    fn commit(&self, group: Vec<fleet::Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>> {
        commit(&self.hub, group.into_iter().map(wiring::fleet).collect()).boxed_local()
    }

    fn perform(&self, effects: Vec<fleet::Effect>) -> LocalBoxFuture<'_, ()> {
        effects.into_iter().for_each(|effect| self.out(wiring::fleet(effect)));
        std::future::ready(()).boxed_local()
    }

    /// Who is connected was forgotten: everybody greets anew.
    fn restarted(&self) {
        self.hub.tell_fleet(fleet::Event::Started);
        for session in self.hub.sessions() {
            session.connection.close(crate::transport::CLOSED, b"the cloud recovers: connect again");
        }
    }

    fn escalate(&self, reason: String) {
        // The service is ending when nobody listens.
        let _ = self.failed.send(reason);
    }
}

impl FleetShell {
    fn out(&self, out: Out) {
        match out {
            Out::Tell(Event::Session(device, event)) => self.hub.tell_session(&device, event),
            Out::Tell(Event::Fleet(event)) => self.hub.tell_fleet(event),
            Out::Io(Io::Assign(assignment)) => match self.hub.desired(&assignment) {
                Ok(desired) => self.hub.tell_session(&assignment.device, session::Event::Desired(desired)),
                Err(reason) => {
                    tracing::warn!(device = %assignment.device.short(), reason, "an assignment was not sent");
                }
            },
            Out::Io(Io::Settled { ticket, result }) => self.hub.settle(ticket, result),
            Out::Io(Io::TwinChanged(device, module, record)) => {
                self.hub.view.put_twin(device, module, record)
            }
            Out::Io(Io::Changed(device, record)) => self.hub.view.put(device, *record),
            out @ (Out::Io(_) | Out::End(_)) => not_ours(&out),
        }
    }
}

impl Shell<Session> for SessionShell {
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<Session, String>> {
        std::future::ready(Ok(Session::new(self.device))).boxed_local()
    }

    fn commit(&self, group: Vec<session::Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>> {
        commit(&self.hub, group.into_iter().flat_map(wiring::session).collect()).boxed_local()
    }

    fn perform(&self, effects: Vec<session::Effect>) -> LocalBoxFuture<'_, ()> {
        async move {
            for out in effects.into_iter().flat_map(wiring::session) {
                self.out(out).await;
            }
        }
        .boxed_local()
    }

    /// The conversation was forgotten: the device begins anew.
    fn restarted(&self) {
        self.connection.close(crate::transport::CLOSED, b"the cloud recovers: connect again");
    }

    fn escalate(&self, reason: String) {
        tracing::error!(device = %self.device.short(), reason, "a session was given up");
        self.restarted();
        self.hub.leave(&self.device, self.number);
        self.hub.tell_fleet(fleet::Event::Gone { device: self.device });
    }
}

impl SessionShell {
    async fn out(&self, out: Out) {
        match out {
            Out::Tell(Event::Fleet(event)) => self.hub.tell_fleet(event),
            Out::Tell(Event::Session(device, event)) => self.hub.tell_session(&device, event),
            Out::Io(Io::Greet { device, .. }) if self.hub.state.is_revoked(&device) => {
                let refused = session::Event::Admitted(Err(news::OUT.into()));
                self.hub.tell_session(&device, refused);
            }
            Out::Io(Io::Greet { device, hello, wall_ms }) => {
                let token_ok = hello
                    .token
                    .as_deref()
                    .is_some_and(|token| same_secret(token, self.hub.state.join_token()));
                let shown = hello.grant.as_deref();
                let granted =
                    shown.and_then(|sealed| self.hub.state.granted(&device, sealed, wall_ms)).map(Box::new);
                let known = self.hub.view.device(&device).and_then(|record| record.granted.clone());
                let is_void = known.is_some_and(|known| self.hub.state.is_void(&device, &known));
                let greeted = fleet::Event::Greeted { device, hello, token_ok, granted, is_void, wall_ms };
                self.hub.tell_fleet(greeted);
            }
            Out::Io(Io::Send(device, frame)) => {
                let is_welcome = frame == ToDevice::Welcome;
                if let ToDevice::Refused { reason } = &frame {
                    self.hub.say_once(device, reason);
                }
                self.send(frame).await;
                if is_welcome {
                    tracing::info!(device = %device.short(), name = self.hub.view.name(&device), "online");
                    self.welcomed.notify_one();
                    news::tell_newcomer(&self.hub, device);
                }
            }
            Out::Io(Io::Close { reason, .. }) => self.close(reason).await,
            Out::Io(Io::Answered(_, answer)) => self.hub.answer(answer.id, answer.result),
            // The actor ends when its last address is dropped.
            Out::End(_) => {
                tracing::info!(device = %self.device.short(), name = self.hub.view.name(&self.device), "gone");
                self.hub.leave(&self.device, self.number);
            }
            out @ Out::Io(_) => not_ours(&out),
        }
    }

    async fn send(&self, frame: ToDevice) {
        tracing::trace!(device = %self.device.short(), ?frame, "to device");
        match frame.encode() {
            Ok(bytes) => self.post(Outgoing::Frame(bytes)).await,
            Err(error) => {
                tracing::error!(device = %self.device.short(), %error, "a frame cannot be sent");
                self.close(error.to_string()).await;
            }
        }
    }

    async fn close(&self, reason: String) {
        self.hub.say_once(self.device, &reason);
        self.post(Outgoing::Close(reason)).await;
    }

    /// Waits while the device is slow; the writer gives up on one that takes nothing.
    async fn post(&self, outgoing: Outgoing) {
        if self.outbox.send(outgoing).await.is_err() {
            tracing::debug!(device = %self.device.short(), "the connection is gone");
        }
    }
}

/// Puts the persist steps of a group on stable storage and then takes note of them.
async fn commit(hub: &Hub, group: Vec<Out>) -> Result<(), CommitError> {
    let changes: Vec<Change> = group.into_iter().filter_map(change).collect();
    let releases: Vec<Change> = changes
        .iter()
        .filter(|change| matches!(change, Change::Release(_) | Change::DropRelease(_)))
        .cloned()
        .collect();
    hub.store.commit(changes).await.map_err(|error| CommitError(error.to_string()))?;
    for change in releases {
        match change {
            Change::Release(release) => hub.put_release(release),
            Change::DropRelease(workload) => hub.drop_release(&workload),
            Change::Messages { .. } | Change::Device(..) | Change::Twin(..) | Change::DropTwin(..) => {}
        }
    }
    Ok(())
}

fn change(out: Out) -> Option<Change> {
    Some(match out {
        Out::Io(Io::Store { device, route, messages, window, wall_ms }) => {
            Change::Messages { device, route, messages, window, stored_ms: wall_ms }
        }
        Out::Io(Io::SaveDevice(device, record)) => Change::Device(device, record),
        Out::Io(Io::SaveTwin(device, module, record)) => Change::Twin(device, module, record),
        Out::Io(Io::DropTwin(device, module)) => Change::DropTwin(device, module),
        Out::Io(Io::SaveRelease { release, sha256, sealed }) => {
            Change::Release(StoredRelease { release, sha256, sealed })
        }
        Out::Io(Io::DropRelease { workload }) => Change::DropRelease(workload),
        out @ (Out::Io(_) | Out::Tell(_) | Out::End(_)) => {
            not_ours(&out);
            return None;
        }
    })
}

/// The wiring gave something to the wrong side: a mistake of ours.
fn not_ours(out: &Out) {
    tracing::error!(?out, "an effect has nobody to carry it out");
}
