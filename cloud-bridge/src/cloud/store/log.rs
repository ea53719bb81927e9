//! The log of messages in parts: which part holds what, reading, and dropping the oldest.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use wayside_config::identity::DeviceId;

use super::{
    Aside, Filter, Page, StoreError, Stored,
    database::{Database, OpenError},
    fleet::FleetStore,
    record::{self, RouteState},
};

/// A part that is larger than this on the disk is full.
pub(super) const PART_BYTES: u64 = 64 << 20;

/// Full parts that are kept open for those who read them.
const OPEN_PARTS: usize = 4;

/// Entries that one call looks at.
const READ_ENTRIES: usize = 512;

/// Payload bytes after which one call stops.
const READ_BYTES: usize = 4 << 20;

/// Numbers that are skipped where it is not known which were used.
const SKIPPED_IDS: u64 = 1 << 32;

pub(super) struct Log {
    folder: PathBuf,
    /// Full parts by their first number, with their size.
    full: BTreeMap<u64, u64>,
    /// Those of them that are open, the last used one last.
    open: VecDeque<(u64, Arc<Database>)>,
    first: u64,
    active: Arc<Database>,
    next_id: u64,
}

/// A part, as somebody reads it.
pub(super) struct Part {
    pub(super) first: u64,
    /// The first number of the part after it; `None` for the active one.
    pub(super) next: Option<u64>,
    database: Arc<Database>,
}

impl Log {
    pub(super) fn open(folder: &Path, aside: &Aside, fleet: &FleetStore) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|error| unusable(folder, &error.into()))?;
        let mut firsts = parts_in(folder)?;
        let newest = firsts.pop().unwrap_or(1);
        let (first, active) = match Database::open(&part_path(folder, newest)) {
            Ok(database) => (newest, database),
            Err(OpenError::Damaged(reason)) => {
                lose(&part_path(folder, newest), &reason, aside, fleet)?;
                let first = newest + SKIPPED_IDS;
                (first, open_part(folder, first)?)
            }
            Err(error) => return Err(unusable(&part_path(folder, newest), &error)),
        };
        let next_id = next_id(&active, first)?;
        let moved = fleet.parts()?;
        let mut full = BTreeMap::new();
        for first in firsts {
            let path = part_path(folder, first);
            if !moved.contains(&first) {
                match Database::open(&path) {
                    Ok(part) => fleet.take_over(first, &states(&part, None)?)?,
                    Err(OpenError::Damaged(reason)) => {
                        lose(&path, &reason, aside, fleet)?;
                        continue;
                    }
                    Err(error) => return Err(unusable(&path, &error)),
                }
            }
            full.insert(first, folder_bytes(&path));
        }
        let (folder, open) = (folder.to_owned(), VecDeque::new());
        Ok(Self { folder, full, open, first, active: Arc::new(active), next_id })
    }

    /// The part that is written to.
    pub(super) fn active(&self) -> Arc<Database> {
        Arc::clone(&self.active)
    }

    /// The number that the next message gets.
    pub(super) const fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(super) const fn set_next_id(&mut self, next_id: u64) {
        self.next_id = next_id;
    }

    pub(super) const fn last_id(&self) -> u64 {
        self.next_id - 1
    }

    /// Bytes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.full.values().sum::<u64>() + self.active.size_bytes()
    }

    /// Ends the active part and begins the next one, when it is full.
    pub(super) fn turn(&mut self, fleet: &FleetStore) -> Result<(), StoreError> {
        let bytes = self.active.size_bytes();
        if bytes < PART_BYTES || self.next_id == self.first {
            return Ok(());
        }
        fleet.take_over(self.first, &states(&self.active, None)?)?;
        let next = open_part(&self.folder, self.next_id)?;
        let full = std::mem::replace(&mut self.active, Arc::new(next));
        self.full.insert(self.first, bytes);
        self.keep_open(self.first, full);
        self.first = self.next_id;
        Ok(())
    }

    /// The oldest full part, as its first number and how many messages it has.
    pub(super) fn oldest(&self) -> Option<(u64, u64)> {
        let first = *self.full.keys().next()?;
        let next = self.full.keys().nth(1).copied().unwrap_or(self.first);
        Some((first, next - first))
    }

    /// Drops a full part.
    pub(super) fn drop_part(&mut self, first: u64) -> Result<(), StoreError> {
        self.full.remove(&first);
        self.open.retain(|(open, _)| *open != first);
        let path = part_path(&self.folder, first);
        fs::remove_dir_all(&path).map_err(|error| unusable(&path, &error.into()))
    }

    /// The part where message `id` is or would be. Damaged ones are saved aside.
    pub(super) fn part_with(&mut self, id: u64, aside: &Aside) -> Result<Part, StoreError> {
        loop {
            match self.try_part_with(id) {
                Ok(found) => return Ok(found),
                Err((first, OpenError::Damaged(reason))) => self.lose_full(first, &reason, aside)?,
                Err((first, OpenError::Io(error))) => {
                    let path = part_path(&self.folder, first);
                    return Err(StoreError::Read(format!("{}: {error}", path.display())));
                }
            }
        }
    }

    /// A full part is damaged: it is saved aside, and its messages with it. How far routes are stored is known without it.
    pub(super) fn lose_full(&mut self, first: u64, reason: &str, aside: &Aside) -> Result<(), StoreError> {
        self.open.retain(|(open, _)| *open != first);
        // Two readers may have found it.
        if !self.full.contains_key(&first) {
            return Ok(());
        }
        let next = self.full.range(first + 1..).next().map_or(self.first, |(next, _)| *next);
        let what = format!("the part of the message log with the messages {first} to {}", next - 1);
        aside.save(&part_path(&self.folder, first), &what, reason)?;
        self.full.remove(&first);
        Ok(())
    }

    fn try_part_with(&mut self, id: u64) -> Result<Part, (u64, OpenError)> {
        if id >= self.first || self.full.is_empty() {
            return Ok(Part { first: self.first, next: None, database: self.active() });
        }
        let first = self.full.range(..=id).next_back().or_else(|| self.full.iter().next());
        let first = first.map_or(self.first, |(first, _)| *first);
        let next = self.full.range(first + 1..).next().map_or(self.first, |(next, _)| *next);
        if let Some(at) = self.open.iter().position(|(open, _)| *open == first)
            && let Some((_, part)) = self.open.remove(at)
        {
            self.keep_open(first, Arc::clone(&part));
            return Ok(Part { first, next: Some(next), database: part });
        }
        let path = part_path(&self.folder, first);
        let part = Arc::new(Database::open(&path).map_err(|error| (first, error))?);
        self.keep_open(first, Arc::clone(&part));
        Ok(Part { first, next: Some(next), database: part })
    }

    fn keep_open(&mut self, first: u64, part: Arc<Database>) {
        if self.open.len() >= OPEN_PARTS {
            self.open.pop_front();
        }
        self.open.push_back((first, part));
    }
}

/// Reads from one part: at most `limit` messages after `after` and up to `upto`. Also gives the messages that the part has lost, where
/// all of it is asked for: sled leaves out what it cannot read, and says nothing.
pub(super) fn read(
    part: &Part,
    after: u64,
    upto: u64,
    filter: &Filter,
    limit: usize,
) -> Result<(Page, Option<RangeInclusive<u64>>), StoreError> {
    let Part { first, next, database } = part;
    let mut page = Page { messages: Vec::new(), after: after.max(*first - 1), end: false };
    let (mut entries, mut bytes) = (0, 0);
    let (is_all, mut expected, mut lost) = (*filter == Filter::default(), page.after + 1, None);
    for id in entry_ids(database, filter.device.as_ref(), page.after + 1)? {
        let id = id?;
        if is_all && id > expected {
            lost = lost.or(Some(expected..=id - 1));
        }
        if id > upto {
            break;
        }
        if entries >= READ_ENTRIES || bytes >= READ_BYTES {
            page.after = page.after.max(id - 1);
            return Ok((page, lost));
        }
        entries += 1;
        let Some(value) = database.tree().get(record::entry_key(id)).map_err(read_error)? else { continue };
        let entry = match record::decode_entry(&value, filter.route.as_deref()) {
            Ok(Some(entry)) => entry,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(id, %error, "stored messages are damaged and passed over");
                continue;
            }
        };
        expected = id + entry.messages.len() as u64;
        for (id, (seq, message)) in (id..).zip(entry.messages) {
            if id <= after {
                continue;
            }
            if page.messages.len() >= limit {
                return Ok((page, lost));
            }
            bytes += message.cost_bytes();
            page.after = id;
            let (device, route, stored_ms) = (entry.device, entry.route.clone(), entry.stored_ms);
            page.messages.push(Stored { id, device, route, seq, stored_ms, message });
        }
    }
    page.after = page.after.max(next.map_or(upto, |next| next - 1));
    page.end = next.is_none();
    // Numbers are skipped where a part was lost as a whole.
    let last = next.map_or(upto, |next| next - 1);
    if is_all && (expected..expected.saturating_add(SKIPPED_IDS)).contains(&last) {
        lost = lost.or(Some(expected..=last));
    }
    Ok((page, lost))
}

/// What a part, or the fleet's database, knows of routes.
pub(super) fn states(
    database: &Database,
    device: Option<&DeviceId>,
) -> Result<BTreeMap<(DeviceId, String), RouteState>, StoreError> {
    let mut states = BTreeMap::new();
    for found in database.tree().scan_prefix(record::window_prefix(device)) {
        let (key, value) = found.map_err(read_error)?;
        match (record::of_window_key(&key), record::decode_state(&value)) {
            (Some(name), Ok(state)) => {
                states.insert(name, state);
            }
            (Some((device, route)), Err(error)) => {
                tracing::error!(%device, route, %error, "how far a route is stored cannot be read");
            }
            (None, _) => tracing::error!("a window has no readable name"),
        }
    }
    Ok(states)
}

/// The first numbers of the entries that may hold messages from `from` on.
fn entry_ids<'a>(
    part: &'a Database,
    device: Option<&DeviceId>,
    from: u64,
) -> Result<impl Iterator<Item = Result<u64, StoreError>> + 'a, StoreError> {
    let key = |id| device.map_or_else(|| record::entry_key(id), |device| record::index_key(device, id));
    // The entry that `from` is in may begin before it.
    let before = part.tree().range(key(0)..=key(from)).next_back().transpose().map_err(read_error)?;
    let start = before.map_or_else(|| key(from), |(key, _)| key.to_vec());
    let found = part.tree().range(start..=key(u64::MAX)).keys();
    Ok(found.filter_map(|key| key.map(|key| record::id_of_key(&key)).map_err(read_error).transpose()))
}

fn next_id(part: &Database, first: u64) -> Result<u64, StoreError> {
    let range = record::entry_key(0)..=record::entry_key(u64::MAX);
    let Some((key, value)) = part.tree().range(range).next_back().transpose().map_err(read_error)? else {
        return Ok(first);
    };
    let id = record::id_of_key(&key).unwrap_or(first);
    let used = record::decode_entry(&value, None).ok().flatten();
    Ok(id + used.map_or(SKIPPED_IDS, |entry| entry.messages.len() as u64))
}

/// Saves a damaged part aside. Its windows are gone with it.
fn lose(path: &Path, reason: &str, aside: &Aside, fleet: &FleetStore) -> Result<(), StoreError> {
    aside.save(path, "a part of the message log", reason)?;
    fleet.forget_windows()
}

fn open_part(folder: &Path, first: u64) -> Result<Database, StoreError> {
    let path = part_path(folder, first);
    Database::open(&path).map_err(|error| unusable(&path, &error))
}

fn part_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}"))
}

fn parts_in(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let failed = |error: std::io::Error| unusable(folder, &error.into());
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        if let Ok(first) = entry.map_err(failed)?.file_name().to_string_lossy().parse() {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn folder_bytes(path: &Path) -> u64 {
    let sizes = fs::read_dir(path).into_iter().flatten().flatten();
    sizes.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn unusable(path: &Path, error: &OpenError) -> StoreError {
    StoreError::Folder { path: path.to_owned(), reason: error.to_string() }
}

fn read_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => {
            StoreError::Damaged(error.to_string())
        }
        sled::Error::Io(_) | sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) => {
            StoreError::Read(error.to_string())
        }
    }
}
