//! The lobby and what follows from it: who belongs to the site, and so with whom the mesh links.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use wayside_actors::{
    device::{reconciler, wiring::Event},
    frame::Desired,
};
use wayside_config::{cosign, document::Assignment, hello::Hello, identity::DeviceId, settings::Settings};
use wayside_mesh::{
    circle::Circle,
    lobby::{Delivery, Heard, LOBBY, Lobby, LobbyEvents, LobbySettings, Place, Places, Saying, hand},
    session::{Excluded, Mesh},
};

use super::{control::Control, offers::Offers};
use crate::{
    audit::Audit,
    control::{Ask, Sealed},
    copies::{Copies, Copy},
    secrets::Secrets,
    shell::Device,
    state::Identity,
    trust::{Newcomer, News, Standing, Trust},
};

/// How often it is looked who belongs to the site, when nothing says that it changed: grants expire.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// From this device's first word with its grant to its first links: by then the others know whom they are to take.
const LINK_AFTER: Duration = Duration::from_millis(400);

/// Between two times that one device is handed what it has not heard.
const HAND_EVERY: Duration = Duration::from_secs(5);

/// Enters the lobby. Where neighbours are not looked for by multicast, none but those that are named are told.
pub(super) fn open(
    io: &Handle,
    identity: &Identity,
    name: &str,
    settings: &Settings,
    exclude: Excluded,
    (trust, assigned): (&Trust, u64),
) -> (Lobby, LobbyEvents) {
    let listen = settings.mesh.listen.iter().map(|address| *address.ip()).collect();
    let connect = settings.mesh.connect.iter().map(SocketAddr::ip).collect();
    let lobby =
        LobbySettings { signer: Arc::new(identity.key().clone()), group: LOBBY, listen, exclude, connect };
    let first = saying(name, settings, (trust.standing(), assigned), Vec::new(), identity.device());
    Lobby::open(io, lobby, first)
}

fn saying(
    name: &str,
    settings: &Settings,
    (standing, assigned): (Standing, u64),
    mesh: Vec<SocketAddrV4>,
    device: DeviceId,
) -> Saying {
    let Standing { fleet, root, revocation, grant } = standing;
    let grant = grant.map(|granted| granted.sealed.to_vec());
    // Who is admitted has nothing to show any more.
    let token = settings.join_token.as_ref().filter(|_| grant.is_none());
    let proof = token.and_then(|token| token.prove(device).ok());
    let (name, labels) = (name.to_owned(), settings.labels.clone());
    Saying { name, labels, fleet, root, revocation, assigned, grant, mesh, proof }
}

/// What makes the site follow its grants.
pub(super) struct Site {
    pub(super) device: Rc<Device>,
    pub(super) identity: Identity,
    pub(super) audit: Arc<Audit>,
    pub(super) io: Handle,
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) lobby: Lobby,
    pub(super) circle: Circle,
    pub(super) mesh: Option<Mesh>,
    pub(super) trust: Arc<Trust>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) copies: Arc<Copies>,
    /// The version of the assignment that it held when it began.
    pub(super) assigned: u64,
    /// How what is kept for each was brought to it.
    pub(super) offers: RefCell<Offers>,
    /// When each was handed something last.
    pub(super) handed: RefCell<BTreeMap<DeviceId, Instant>>,
    /// To whom something is being handed now.
    pub(super) handing: Places,
}

/// The version of the assignment in desired state.
pub(super) fn version_of(desired: &Desired) -> Option<u64> {
    let peeked = cosign::peek::<Assignment>(&desired.assignment);
    peeked.ok().map(|assignment| assignment.version)
}

/// Whom the mesh takes: devices of the site, and operators.
pub(super) fn keys(trust: &Trust) -> BTreeSet<[u8; 32]> {
    let circle = trust.circle();
    circle.devices.iter().chain(&circle.operators).map(|key| *key.as_bytes()).collect()
}

impl Site {
    /// Keeps circle, lobby and mesh as the grants say.
    pub(super) async fn keep(self: Rc<Self>) {
        let (mut changes, mut was_part) = (self.trust.changes(), self.trust.circle().takes_part);
        let mut told = None;
        let mut listening = self.mesh.as_ref().map(Mesh::listening);
        let view = Arc::clone(&self.device.adapters().view);
        let mut held = view.held();
        loop {
            changes.borrow_and_update();
            held.borrow_and_update();
            let circle = self.trust.circle();
            self.circle.admit(keys(&self.trust));
            self.lobby.members(circle.devices.union(&circle.operators).copied().collect());
            let addresses = self.mesh.as_ref().map(Mesh::addresses).unwrap_or_default();
            let device = self.identity.device();
            let standing = (self.trust.standing(), view.floors().assignment().max(self.assigned));
            self.lobby.say(saying(&self.name, &self.settings, standing, addresses, device));
            if circle.takes_part && !was_part {
                tracing::info!("this device is admitted; joining the mesh");
                tokio::time::sleep(LINK_AFTER).await;
            }
            was_part = circle.takes_part;
            if was_part {
                self.copies.retain(|device| self.trust.member(device).is_some());
            }
            if let Some(mesh) = &self.mesh {
                mesh.take_part(was_part);
            }
            if self.trust.is_revoked()
                && let Err(error) = self.secrets.wipe()
            {
                tracing::error!(%error, "this device is revoked, and its secrets are still on the disk");
            }
            let labels = self.trust.labels();
            if told.as_ref() != Some(&labels) {
                told = Some(labels.clone());
                self.device.tell(Event::Reconciler(reconciler::Event::Labels(labels)));
            }
            self.device.problem("admission", self.problem(was_part));
            self.device.problem("lobby", self.lobby.problem().filter(|_| self.settings.mesh.multicast));
            let heard = self.lobby.heard();
            let cloned = heard.iter().filter(|heard| heard.is_cloned).map(|heard| self.cloned(heard));
            self.device.problems_of("keys", cloned.collect());
            heard.into_iter().for_each(|heard| self.consider(heard));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = held.changed() => if changed.is_err() { return },
                () = changed(&mut listening) => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn problem(&self, takes_part: bool) -> Option<String> {
        if self.trust.is_revoked() {
            return Some("this device is revoked: it is out of the mesh, and takes nothing any more".into());
        }
        (!takes_part).then(|| {
            let (name, key) = (&self.name, self.device.adapters().device.short());
            format!("this device waits to be admitted to a fleet, and links with nobody before: `wayside approve {name}`; its key begins with {key}")
        })
    }

    fn cloned(&self, heard: &Heard) -> String {
        let (device, from) = (heard.hello.device, heard.from);
        if device == self.device.adapters().device {
            return format!(
                "another device, at {from}, has this device's key: revoke it and let one of them begin anew with an empty state directory"
            );
        }
        let name = &heard.hello.name;
        format!(
            "two devices have the key of {name} ({device}), one of them at {from}: `wayside revoke --device {device}`, and let them begin anew with empty state directories"
        )
    }

    /// Hears devices out.
    pub(super) async fn hear(self: Rc<Self>, mut news: mpsc::Receiver<Heard>) {
        while let Some(heard) = news.recv().await {
            self.consider(heard);
        }
    }

    /// Takes a device's grant, and tells it what it has not heard.
    fn consider(self: &Rc<Self>, heard: Heard) {
        if heard.grant.is_none() {
            self.receive(&heard);
        }
        if !heard.is_cloned {
            self.bring(&heard.hello);
        }
        let Heard { hello, grant, from, .. } = heard;
        if hello.fleet.is_some() && hello.fleet == self.trust.standing().fleet {
            let known = self.trust.member(&hello.device).map(|granted| granted.sealed);
            if let Some(grant) = grant.filter(|grant| known.is_none_or(|known| known != *grant)) {
                let (trust, name) = (Arc::clone(&self.trust), hello.name.clone());
                let news = News { grants: vec![grant.into()], ..News::default() };
                // Signatures and the disk take a while.
                self.io.spawn_blocking(move || {
                    if let Err(error) = trust.admit(&news) {
                        tracing::debug!(name, %error, "a neighbour's grant was not taken");
                    }
                });
            }
        }
        let Some(news) = self.trust.news_for(hello.fleet, hello.root, hello.revocation) else { return };
        if let Some(place) = self.place_to_hand(hello.device, from) {
            self.io.spawn_blocking(move || tell(&hello, from, &news, place));
        }
    }

    /// Brings a neighbour what operators signed for it while it was away.
    fn bring(&self, hello: &Hello) {
        let device = hello.device;
        let kept = self.copies.version(&device).filter(|version| *version > hello.assigned);
        let (Some(version), Some(mesh)) = (kept, self.mesh.clone()) else { return };
        // Who is on the mesh is of the site, and reached.
        let is_there = self.device.adapters().view.neighbours().contains_key(&device);
        if !is_there || !self.offers.borrow_mut().is_due(device, (hello.run, version), Instant::now()) {
            return;
        }
        let news = self.trust.news_for(hello.fleet, hello.root, hello.revocation).unwrap_or_default();
        let copies = Arc::clone(&self.copies);
        self.io.spawn_blocking(move || {
            let Some(Copy { assignment, releases }) = copies.of(&device) else { return };
            let News { roots, revocation, .. } = news;
            let is_sent = mesh.hand(device, Desired { roots, revocation, assignment, releases });
            tracing::info!(device = %device.short(), version, is_sent, "brought a device what was applied while it was away");
        });
    }

    /// Admits a device that has no grant, where a rule lets it in.
    fn receive(self: &Rc<Self>, heard: &Heard) {
        let may_come = heard.hello.fleet.is_none_or(|fleet| self.trust.standing().fleet == Some(fleet));
        let is_applied = may_come && !self.trust.rules().is_empty() && !heard.is_cloned;
        if !is_applied {
            return;
        }
        let Some(place) = self.place_to_hand(heard.hello.device, heard.from) else { return };
        let (trust, audit, identity) =
            (Arc::clone(&self.trust), Arc::clone(&self.audit), self.identity.clone());
        let (hello, from) = (heard.hello.clone(), heard.from);
        self.io.spawn_blocking(move || {
            let newcomer = Newcomer {
                device: hello.device,
                name: &hello.name,
                labels: &hello.labels,
                proof: hello.proof.as_ref().map(|proof| proof.0.as_slice()),
            };
            // One that counts no more may be given anew.
            let before = trust.member(&hello.device).map(|granted| granted.sealed);
            match trust.receive(&newcomer, identity.key()) {
                Ok(None) => {}
                Ok(Some(news)) => {
                    if let Some(grant) = news.grants.first().filter(|grant| before.as_ref() != Some(*grant)) {
                        tracing::info!(name = hello.name, device = %hello.device, "a rule admits this device");
                        audit.received(hello.device, grant);
                    }
                    tell(&hello, from, &news, place);
                }
                Err(error) => tracing::warn!(name = hello.name, device = %hello.device, %error, "a rule would admit this device, and does not"),
            }
        });
    }

    /// A place to hand this device something now: not again and again, and not to many at a time, for those who listen slowly take
    /// a thread each.
    fn place_to_hand(&self, device: DeviceId, at: Ipv4Addr) -> Option<Place> {
        let mut handed = self.handed.borrow_mut();
        handed.retain(|_, at| at.elapsed() < HAND_EVERY);
        if handed.contains_key(&device) {
            return None;
        }
        let place = self.handing.take(at, self.lobby.is_members(at))?;
        handed.insert(device, Instant::now());
        Some(place)
    }
}

/// Hands a neighbour what it has not heard.
fn tell(hello: &Hello, from: Ipv4Addr, news: &News, place: Place) {
    if let Err(error) = hand(&[SocketAddr::from((from, hello.port))], &question(news)) {
        tracing::debug!(name = hello.name, %error, "a neighbour could not be told what is new of the fleet");
    }
    drop(place);
}

/// Resolves when the mesh listens elsewhere.
async fn changed(listening: &mut Option<watch::Receiver<Vec<SocketAddrV4>>>) {
    if let Some(listening) = listening
        && listening.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn question(news: &News) -> Vec<u8> {
    let sealed = |bytes: &bytes::Bytes| Sealed(bytes.to_vec());
    let ask = Ask::Admit {
        roots: news.roots.iter().map(sealed).collect(),
        revocation: news.revocation.as_ref().map(sealed),
        grants: news.grants.iter().map(sealed).collect(),
        rules: Vec::new(),
    };
    serde_json::to_vec(&ask).unwrap_or_default()
}

/// Takes what is handed to this device.
pub(super) async fn take(mut deliveries: mpsc::Receiver<Delivery>, control: Arc<Control>) {
    while let Some(Delivery { question, answer }) = deliveries.recv().await {
        // Who has gone does not hear it.
        let _ = answer.send(control.handed(question).await);
    }
}
