//! What the cloud keeps: devices, releases, and the messages that devices sent it.
//!
//! ```text
//! fleet/               devices, releases, windows of routes at rest
//! messages/ID/         a part of the log, from message ID on; the last one is written to
//! ```
//!
//! Every part of the log is a sled database of its own, so that what is dropped frees its memory and
//! its disk, and what is damaged takes no more than itself. One thread writes; it takes everything
//! that waits, and commits it with one flush. A window is in the same batch as its messages. When a
//! part is full its windows move to `fleet/`, so looking one up needs two look-ups and no scan.

mod database;
mod fleet;
mod log;
mod record;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use wayside_actors::{
    cloud::{
        fleet::{DeviceRecord, TwinRecord},
        session::Window,
    },
    message::Message,
};
use wayside_config::{document::Release, identity::DeviceId, workload::ModuleId};

pub(crate) use database::sync_folder;
use fleet::FleetStore;
use log::Log;

/// Commits that may wait for the writer. Each waits for its caller, so this bounds callers.
const WAITING: usize = 1024;

/// The store cannot do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder of the store cannot be used.
    #[error(
        "{path} cannot be used: {reason}; check that the disk has room and that this user may write there"
    )]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A write failed. Nothing more is written until the service is started again.
    #[error(
        "the store cannot be written: {0}; free disk space or lower --keep-bytes, then start wayside-cloud again"
    )]
    Write(String),
    /// A read failed.
    #[error("the store cannot be read: {0}")]
    Read(String),
    /// What was read is not what was written.
    #[error("the store cannot be read: {0}")]
    Damaged(String),
    /// The service is stopping.
    #[error("the store is closed")]
    Closed,
}

/// A change. Changes committed together are on the disk together when the commit returns.
#[derive(Clone, Debug)]
pub enum Change {
    /// Messages of one route, and how far it is stored with them.
    Messages {
        /// Whose.
        device: DeviceId,
        /// `workload/route`.
        route: String,
        /// Each with its sequence number.
        messages: Vec<(u64, Message)>,
        /// How far.
        window: Window,
        /// When they came, by the cloud's clock.
        stored_ms: u64,
    },
    /// What is known of a device.
    Device(DeviceId, Box<DeviceRecord>),
    /// What is known of a twin.
    Twin(DeviceId, ModuleId, Box<TwinRecord>),
    /// A twin is gone.
    DropTwin(DeviceId, ModuleId),
    /// A release, in place of the workload's older one.
    Release(StoredRelease),
    /// A workload is gone.
    DropRelease(String),
}

/// A release with the bytes that were signed.
#[derive(Clone, Debug)]
pub struct StoredRelease {
    /// What it says.
    pub release: Box<Release>,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// The bytes.
    pub sealed: Bytes,
}

/// What is known of a twin, and whose it is.
pub type StoredTwin = ((DeviceId, ModuleId), TwinRecord);

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Counts up in the order of storing, over all devices and routes.
    pub id: u64,
    /// Who sent it.
    pub device: DeviceId,
    /// `workload/route`.
    pub route: String,
    /// Its number in the device's queue.
    pub seq: u64,
    /// When it was stored, milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// The message.
    pub message: Message,
}

/// Which messages are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this device.
    pub device: Option<DeviceId>,
    /// Only of this route.
    pub route: Option<String>,
}

/// A part of what was asked for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of storing.
    pub messages: Vec<Stored>,
    /// Where to go on reading.
    pub after: u64,
    /// Whether everything stored so far was looked at.
    pub end: bool,
}

/// How much of one route of one device was ever stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Whose.
    pub device: DeviceId,
    /// `workload/route`.
    pub route: String,
    /// Messages.
    pub stored: u64,
    /// The highest sequence number.
    pub last_seq: u64,
}

/// How the store is doing.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The newest message that is on the disk; 0 for none.
    pub last_id: u64,
    /// Messages ever stored, by route.
    pub stored: BTreeMap<String, u64>,
    /// Bytes of the log on the disk.
    pub bytes: u64,
    /// The most there may be.
    pub keep_bytes: u64,
    /// Messages dropped because there was no room for them.
    pub dropped: u64,
    /// What was damaged and saved aside since the start.
    pub problems: Vec<String>,
    /// Why nothing can be written any more.
    pub failed: Option<StoreError>,
}

/// The store. Cheap to clone; reading blocks the thread for as long as the disk takes.
#[derive(Clone)]
pub struct Store {
    work: mpsc::Sender<writer::Work>,
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Log>,
    fleet: FleetStore,
    aside: Aside,
    status: watch::Sender<Status>,
}

impl Store {
    /// Opens the store in `folder`. What is damaged is moved to `damaged` and named in the status.
    ///
    /// # Errors
    /// When a folder cannot be used.
    pub fn open(
        folder: &std::path::Path,
        damaged: &std::path::Path,
        keep_bytes: u64,
    ) -> Result<Self, StoreError> {
        let aside = Aside { folder: damaged.to_owned(), problems: Mutex::default() };
        let fleet = FleetStore::open(&folder.join("fleet"), &aside)?;
        let log = Log::open(&folder.join("messages"), &aside, &fleet)?;
        let mut stored = BTreeMap::new();
        for count in counts(&log, &fleet)? {
            *stored.entry(count.route).or_insert(0) += count.stored;
        }
        let status = watch::Sender::new(Status {
            last_id: log.last_id(),
            stored,
            bytes: log.bytes(),
            keep_bytes,
            dropped: fleet.dropped(),
            problems: aside.problems(),
            failed: None,
        });
        let (work, taken) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared { log: Mutex::new(log), fleet, aside, status });
        let writer = writer::Writer::new(Arc::clone(&shared), taken);
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Write(error.to_string()))?;
        Ok(Self { work, shared })
    }

    /// Puts changes on stable storage, together with everybody else's that wait.
    ///
    /// # Errors
    /// When they are not stored.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (done, outcome) = oneshot::channel();
        self.work.send(writer::Work { changes, done }).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    /// Follows how the store is doing; changes with every commit.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// How far each route of a device is stored. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn windows(&self, device: &DeviceId) -> Result<BTreeMap<String, Window>, StoreError> {
        let active = self.log().active();
        let mut states = self.shared.fleet.states(Some(device))?;
        states.extend(log::states(&active, Some(device))?);
        let known = |((_, route), state): (_, record::RouteState)| Some((route, state.window?));
        Ok(states.into_iter().filter_map(known).collect())
    }

    /// How much every route of every device ever stored. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn counts(&self) -> Result<Vec<Count>, StoreError> {
        counts(&self.log(), &self.shared.fleet)
    }

    /// Reads at most `limit` messages after number `after`. Looks at a bounded number of entries, so
    /// the page may be empty though there is more. A full part that is damaged is saved aside, named in the status, and
    /// passed over. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, after: u64, filter: &Filter, limit: usize) -> Result<Page, StoreError> {
        let upto = self.shared.status.borrow().last_id;
        let aside = &self.shared.aside;
        let page = loop {
            let part = self.log().part_with(after.saturating_add(1), aside)?;
            match log::read(&part, after, upto, filter, limit) {
                Err(StoreError::Damaged(reason)) if part.next.is_some() => {
                    self.log().lose_full(part.first, &reason, aside)?;
                }
                Err(error) => break Err(error),
                Ok((page, lost)) => {
                    if let Some(lost) = lost {
                        let (from, to) = lost.into_inner();
                        aside.say(format!(
                            "the messages {from} to {to} of the log are damaged and passed over"
                        ));
                    }
                    break Ok(page);
                }
            }
        };
        let problems = aside.problems();
        self.shared.status.send_if_modified(|status| {
            let is_news = problems.len() > status.problems.len();
            if is_news {
                status.problems = problems;
            }
            is_news
        });
        page
    }

    /// All devices. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn devices(&self) -> Result<Vec<(DeviceId, DeviceRecord)>, StoreError> {
        self.shared.fleet.devices()
    }

    /// All twins. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn twins(&self) -> Result<Vec<StoredTwin>, StoreError> {
        self.shared.fleet.twins()
    }

    /// All releases. Blocks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn releases(&self) -> Result<Vec<StoredRelease>, StoreError> {
        self.shared.fleet.releases()
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts(log: &Log, fleet: &FleetStore) -> Result<Vec<Count>, StoreError> {
    let mut states = fleet.states(None)?;
    states.extend(log::states(&log.active(), None)?);
    let count = |((device, route), state): (_, record::RouteState)| Count {
        device,
        route,
        stored: state.stored,
        last_seq: state.last_seq,
    };
    Ok(states.into_iter().map(count).collect())
}

/// Where damaged parts go, and their names.
struct Aside {
    folder: PathBuf,
    problems: Mutex<Vec<String>>,
}

impl Aside {
    /// What was said.
    fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says it once.
    fn say(&self, problem: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if !problems.contains(&problem) {
            tracing::error!("{problem}");
            problems.push(problem);
        }
    }

    /// Moves `path` away and says so.
    fn save(&self, path: &std::path::Path, what: &str, reason: &str) -> Result<(), StoreError> {
        let failed =
            |error: io::Error| StoreError::Folder { path: self.folder.clone(), reason: error.to_string() };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let now = super::clock::wall_ms();
        let to = self.folder.join(format!("{name}-{now}"));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        std::fs::rename(path, &to).map_err(failed)?;
        self.say(format!("{what} was damaged ({reason}) and is saved in {}", to.display()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
