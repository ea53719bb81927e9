//! Answers operators: on this machine over the unix socket, over the mesh when they signed.

mod admission;
mod copies;
mod lock;
mod parts;
mod sealed;

use std::{
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    runtime::Handle,
    sync::{broadcast::error::RecvError, mpsc},
    time::timeout,
};
use wayside_actors::{device::reconciler, frame::Desired};
use wayside_config::{
    audit::Way,
    cosign,
    document::Assignment,
    identity::{DeviceId, PublicKey},
    settings::Settings,
};
use wayside_host::Address;
use wayside_mesh::{lobby::Lobby, session::Mesh};

use self::parts::{mesh_status, store_status};
use super::{UpOptions, call::Calls, recorded, twin::Twins};
use crate::{
    audit::Audit,
    control::{
        Answer, Answered, Ask, CloudStatus, ControlHandler, FleetStatus, MessageLine, Neighbour, Sealed,
        Status, Versions, bind, serve as serve_socket,
    },
    copies::Copies,
    engine::Engine,
    logs,
    secrets::Secrets,
    shell::{Device, Held, View},
    state::Identity,
    trust::{Askers, Trust, Verified},
};

/// How long desired state may take from its reception to the disk.
const APPLY: Duration = Duration::from_secs(5);

/// Messages that wait for one watcher.
const WATCH: usize = 256;

/// Whoever answers. Good on any thread.
pub(super) struct Control {
    device: DeviceId,
    /// The device's, for answers over the mesh.
    key: SigningKey,
    /// What was answered over the mesh.
    answered: Mutex<Answered>,
    name: String,
    settings: Settings,
    started: Instant,
    pub(super) view: Arc<View>,
    pub(super) trust: Arc<Trust>,
    pub(super) audit: Arc<Audit>,
    pub(super) engine: Engine,
    mesh: Option<Mesh>,
    lobby: Lobby,
    reconciler: Option<Address<reconciler::Event>>,
    pub(super) calls: Calls,
    pub(super) twins: Twins,
    pub(super) secrets: Arc<Secrets>,
    copies: Arc<Copies>,
    /// While what a neighbour kept is being taken.
    taking: tokio::sync::Mutex<()>,
}

impl Control {
    pub(super) fn new(
        device: &Device,
        identity: &Identity,
        options: &UpOptions,
        name: &str,
        lobby: Lobby,
        copies: Arc<Copies>,
    ) -> Arc<Self> {
        let adapters = device.adapters();
        Arc::new(Self {
            device: adapters.device,
            key: identity.key().clone(),
            answered: Mutex::default(),
            name: name.to_owned(),
            settings: options.settings.clone(),
            started: Instant::now(),
            view: Arc::clone(&adapters.view),
            trust: Arc::clone(&adapters.trust),
            audit: Arc::clone(&adapters.audit),
            engine: adapters.engine.clone(),
            mesh: adapters.mesh.clone(),
            lobby,
            reconciler: device.reconciler(),
            calls: Calls::new(device),
            twins: Twins::new(device),
            secrets: Arc::clone(adapters.engine.secrets()),
            copies,
            taking: tokio::sync::Mutex::default(),
        })
    }

    /// What the device is called.
    pub(super) fn called(&self) -> String {
        self.trust.name(&self.name)
    }

    /// Answers, after it is recorded who asked. `by` is empty for who may use the socket of this machine.
    async fn reply(&self, ask: Ask, way: Way, by: Vec<PublicKey>) -> Result<Answer, String> {
        let asked = move |audit: &Audit| {
            audit.asked(way, &by, &ask);
            ask
        };
        let ask = self.record(asked).await?;
        let is_change = recorded::is_change(&ask);
        let answer = self.reply_to(ask, way).await;
        if let (Some(change), Err(reason)) = (is_change, &answer) {
            self.not_done(way, change, reason).await;
        }
        answer
    }

    async fn reply_to(&self, ask: Ask, way: Way) -> Result<Answer, String> {
        match ask {
            Ask::Status => Ok(Answer::Status(Box::new(self.status()))),
            Ask::Devices => Ok(Answer::Devices { devices: self.devices() }),
            Ask::Lobby => Ok(Answer::Lobby(self.lobby())),
            Ask::Admit { roots, revocation, grants, rules } => {
                self.admit(admission::news(roots, revocation, grants, rules), way).await
            }
            Ask::Rules => Ok(Answer::Rules { rules: self.trust.rules() }),
            Ask::Versions => Ok(Answer::Versions(self.versions())),
            Ask::Apply { roots, revocation, assignment, releases } => {
                let desired =
                    self.complete(desired(&roots, revocation.as_ref(), assignment.0.into(), &releases));
                self.apply(desired, way).await
            }
            Ask::Keep { roots, revocation, assignments, releases } => {
                let with = move |assignment| desired(&roots, revocation.as_ref(), assignment, &releases);
                self.keep(assignments, with).await
            }
            Ask::Logs { module, tail, since_ms } => {
                let text = logs::read(&self.view, &self.engine, &module, tail, since_ms).await?;
                Ok(Answer::Logs { text })
            }
            Ask::PreviousLogs { to, module, tail } => {
                is_meant(&self.called(), to.as_deref())?;
                let text = logs::previous(&self.view, &self.engine, &module, tail).await?;
                Ok(Answer::Logs { text })
            }
            Ask::Call { to, module, method, body, deadline_ms } => {
                is_meant(&self.called(), to.as_deref())?;
                let outcome = self.call(module, method, body, deadline_ms).await.into();
                Ok(Answer::Called { outcome })
            }
            Ask::Twin { to, module } => {
                is_meant(&self.called(), to.as_deref())?;
                self.twin(&module).await
            }
            Ask::SetTwin { change } => self.set_twin(&change).await,
            Ask::Secrets => Ok(self.list_secrets()),
            Ask::SetSecret { change } => self.set_secret(change).await,
            Ask::Audit { from } => self.read_audit(from).await,
            Ask::Lock { for_ms, reason } => self.lock(for_ms, reason).await,
            Ask::Unlock { owner } => self.unlock(owner).await,
            Ask::Messages => Err("`messages` is a stream, not a question".into()),
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            device: self.device,
            name: self.called(),
            labels: self.settings.labels.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: millis(self.started.elapsed()),
            fleet: self.fleet(),
            cloud: self.settings.cloud.as_ref().map(|cloud| CloudStatus {
                address: cloud.address(),
                connected: self.view.is_cloud_connected(),
            }),
            mesh: mesh_status(self.mesh.as_ref(), &self.lobby),
            store: self.view.store().map(store_status),
            mqtt: self.view.mqtt(),
            locks: self.locks(),
            copies: self.copies.status(),
            report: self.report(),
        }
    }

    fn devices(&self) -> Vec<Neighbour> {
        let mut devices: Vec<_> = self
            .view
            .neighbours()
            .into_iter()
            .filter(|(device, _)| *device != self.device)
            .map(|(device, name)| Neighbour { device, name })
            .collect();
        devices.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
        devices.insert(0, Neighbour { device: self.device, name: self.name.clone() });
        devices
    }

    fn versions(&self) -> Versions {
        let Held { version, releases, sealed: _ } = self.view.held().borrow().clone();
        let floors = self.view.floors();
        Versions {
            device: self.device,
            name: self.name.clone(),
            labels: self.settings.labels.clone(),
            assignment: version,
            releases,
            highest_assignment: floors.assignment(),
            highest: floors.workloads().map(|(name, version)| (name.to_owned(), version)).collect(),
            away: self.away(),
        }
    }

    fn fleet(&self) -> Option<FleetStatus> {
        let operators = match self.trust.askers() {
            Askers::Keys(keys) => keys,
            Askers::Anybody | Askers::Strangers => Vec::new(),
        };
        self.trust.fleet().map(|(id, root)| FleetStatus { id, root, operators })
    }

    async fn apply(&self, desired: Desired, way: Way) -> Result<Answer, String> {
        let mut held = self.view.held();
        let now = held.borrow_and_update().clone();
        // Signatures and the disk take a while.
        let (trust, holds) = (Arc::clone(&self.trust), now.sealed.clone());
        let verified = tokio::task::spawn_blocking(move || trust.verify(desired, &holds));
        let verified = verified.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string());
        let standing = self.trust.fleet();
        self.record(move |audit| audit.fleet(way, standing)).await?;
        let verified = match verified {
            Ok(verified) => verified,
            Err(reason) => return Err(self.refused(way, "desired state: ", reason).await),
        };
        let (version, offered) = (verified.assignment.version, verified.sealed.clone());
        let assignment = offered.assignment.clone();
        if now.sealed == offered {
            return Ok(Answer::Applied { version });
        }
        if version <= now.version {
            return Err(format!(
                "the device holds version {} of its assignment already, and {version} is not newer: apply again",
                now.version
            ));
        }
        self.audit.offered(version, way);
        let mut refused = self.view.not_taken();
        self.hand_over(verified).await?;
        let taken = async {
            loop {
                tokio::select! {
                    changed = held.changed() => match changed {
                        Ok(()) => {
                            let held = held.borrow_and_update();
                            if held.version > version || held.sealed.assignment == assignment {
                                return Ok(Answer::Applied { version });
                            }
                            if held.version == version {
                                return Err(format!(
                                    "the device took another assignment with number {version} at the same moment: apply again"
                                ));
                            }
                        }
                        Err(_) => return Err("the daemon is stopping".to_owned()),
                    },
                    Ok(()) = refused.changed() => {
                        let refusal = refused.borrow_and_update().clone().filter(|(of, _)| *of == version);
                        // Of two with one number, one is taken and the other refused.
                        let is_held = || held.borrow().sealed.assignment == assignment;
                        if let Some((_, reason)) = refusal.filter(|_| !is_held()) {
                            return Err(reason);
                        }
                    }
                }
            }
        };
        let late = |_| "the device did not write it in time: see `wayside status` and its log".to_owned();
        timeout(APPLY, taken).await.map_err(late)?
    }

    /// With the releases that the device holds already.
    fn complete(&self, mut desired: Desired) -> Desired {
        if let Ok(named) = cosign::peek::<Assignment>(&desired.assignment) {
            desired
                .releases
                .extend(named.releases.iter().filter_map(|wanted| self.view.release(&wanted.sha256)));
        }
        desired
    }

    async fn hand_over(&self, verified: Verified) -> Result<(), String> {
        let Verified { sealed, assignment, releases, by } = verified;
        let event = reconciler::Event::Desired {
            sealed,
            assignment: Box::new(assignment),
            releases,
            by,
            restored: false,
        };
        let reconciler = self.reconciler.as_ref().ok_or("the daemon is stopping")?;
        reconciler.send(event, 0).await.map_err(|error| error.to_string())
    }
}

fn desired(roots: &[Sealed], revocation: Option<&Sealed>, assignment: Bytes, releases: &[Sealed]) -> Desired {
    let bytes = |sealed: &Sealed| Bytes::from(sealed.0.clone());
    Desired {
        roots: roots.iter().map(bytes).collect(),
        revocation: revocation.map(bytes),
        assignment,
        releases: releases.iter().map(bytes).collect(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Serves the socket. Without one the device goes on, and says so.
pub(super) fn serve(device: &Rc<Device>, io: &Handle, path: &Path, control: Arc<Control>) {
    let _context = io.enter();
    match bind(path) {
        Ok(listener) => {
            io.spawn(serve_socket(listener, Arc::new(Handler(control))));
        }
        Err(error) => {
            let path = path.display();
            device.problem("control", Some(format!("cannot listen on {path}: {error}; `wayside status` on this machine does not work; check the state directory, then restart the daemon")));
        }
    }
}

/// So that a question's future owns what it needs.
struct Handler(Arc<Control>);

impl ControlHandler for Handler {
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, String>> {
        let control = Arc::clone(&self.0);
        async move { control.reply(ask, Way::Local, Vec::new()).await }.boxed()
    }

    fn messages(&self) -> mpsc::Receiver<MessageLine> {
        let (lines, receiver) = mpsc::channel(WATCH);
        let (mut tap, name) = (self.0.view.tap(), self.0.name.clone());
        tokio::spawn(async move {
            loop {
                let tapped = tokio::select! {
                    tapped = tap.recv() => tapped,
                    () = lines.closed() => return,
                };
                match tapped {
                    Ok(tapped) => {
                        let line = MessageLine::new(&tapped.message, &name, &tapped.route, tapped.seq);
                        if lines.send(line).await.is_err() {
                            return;
                        }
                    }
                    // A slow watcher misses some; the devices do not wait for it.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        receiver
    }
}

/// Whether the device of this name is the one that the asker means.
fn is_meant(own: &str, to: Option<&str>) -> Result<(), String> {
    match to {
        Some(name) if name != own => Err(format!(
            "this device is called {own} and not {name}: whoever told its key for that name was wrong"
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_for_a_device_of_another_name_is_not_done() {
        assert_eq!(is_meant("ewr", Some("ewr")), Ok(()));
        assert_eq!(is_meant("ewr", None), Ok(()));
        assert!(is_meant("ewr", Some("jfk")).is_err_and(|error| error.contains("is called ewr and not jfk")));
    }
}
