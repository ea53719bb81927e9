//! The lobby: where devices say who they are before anybody has admitted them. Nothing goes through it but signed hellos (UDP, to everybody
//! on the LAN) and what proves itself: roots, grants and lists of what is revoked (TCP, to one device).

mod book;
mod door;
mod look;
mod places;
mod socket;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use wayside_config::{
    blob::Blob,
    identity::{DeviceId, FleetId},
    signer::Signer,
};

use self::book::Book;
pub use self::{
    book::Heard,
    door::{DOOR_BYTES, Delivery, hand},
    look::look,
    places::{Place, Places},
};
use crate::session::Excluded;

/// Where devices say who they are: beside Zenoh's own group, on a port of its own.
pub const LOBBY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 224), 7448);

/// Devices with news that wait to be looked at.
const NEWS: usize = 256;

/// Deliveries that wait to be looked at: as many as there are places at the door.
const DELIVERIES: usize = 12;

/// How this device takes part in the lobby.
#[derive(Clone)]
pub struct LobbySettings {
    /// Its key.
    pub signer: Arc<dyn Signer + Send + Sync>,
    /// Where.
    pub group: SocketAddrV4,
    /// On which of the host's addresses; empty for all that are the LAN's.
    pub listen: Vec<Ipv4Addr>,
    /// Addresses that are not the LAN's.
    pub exclude: Excluded,
    /// Whom to tell besides, where multicast does not reach.
    pub connect: Vec<IpAddr>,
}

/// What a device says of itself, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its fleet.
    pub fleet: Option<FleetId>,
    /// The version of the newest root that it knows.
    pub root: u64,
    /// The version of the newest list of what is revoked that it knows.
    pub revocation: u64,
    /// The version of the newest assignment that it took.
    pub assigned: u64,
    /// Its sealed grant.
    pub grant: Option<Vec<u8>>,
    /// Where members reach it.
    pub mesh: Vec<SocketAddrV4>,
    /// What shows that it has a join token.
    pub proof: Option<Blob>,
}

/// This device's place in the lobby. Clones are the same.
#[derive(Clone, Debug)]
pub struct Lobby {
    saying: watch::Sender<Saying>,
    shared: Arc<Shared>,
}

/// What comes from the lobby.
#[derive(Debug)]
pub struct LobbyEvents {
    /// Devices that say something else than before.
    pub news: mpsc::Receiver<Heard>,
    /// What somebody hands to this device.
    pub deliveries: mpsc::Receiver<Delivery>,
}

#[derive(Debug)]
struct Shared {
    device: DeviceId,
    begun: Instant,
    book: Mutex<Book>,
    /// Why nobody can be heard, for a person.
    problem: Mutex<Option<String>>,
}

impl Lobby {
    /// Begins to listen, and to say `saying`.
    #[must_use]
    pub fn open(io: &Handle, settings: LobbySettings, saying: Saying) -> (Self, LobbyEvents) {
        let (saying, said) = watch::channel(saying);
        let (heard, news) = mpsc::channel(NEWS);
        let (handed, deliveries) = mpsc::channel(DELIVERIES);
        let shared = Arc::new(Shared {
            device: settings.signer.key(),
            begun: Instant::now(),
            book: Mutex::default(),
            problem: Mutex::default(),
        });
        io.spawn(talk::run(settings, Arc::clone(&shared), said, heard, handed));
        (Self { saying, shared }, LobbyEvents { news, deliveries })
    }

    /// Says this from now on, at once where it is something else.
    pub fn say(&self, saying: Saying) {
        self.saying.send_if_modified(|before| {
            let is_news = *before != saying;
            *before = saying;
            is_news
        });
    }

    /// Whose hellos come first.
    pub fn members(&self, members: BTreeSet<DeviceId>) {
        self.shared.book().members(members);
    }

    /// Who is there, this device left out; unless another one has its key.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        let mut heard = self.shared.book().heard(self.shared.now_ms());
        heard.retain(|heard| self.shared.is_news(heard));
        heard
    }

    /// Packets that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.book().dropped
    }

    /// Whether a member is heard from this address.
    #[must_use]
    pub fn is_members(&self, address: Ipv4Addr) -> bool {
        self.shared.book().is_members(address)
    }

    /// Why nobody can be heard, for a person.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        lock(&self.shared.problem).clone()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn is_news(&self, heard: &Heard) -> bool {
        heard.hello.device != self.device || heard.is_cloned
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
