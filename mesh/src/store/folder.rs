//! The segments on the disk: opened when they are needed, deleted when nobody needs them, moved aside
//! when they are damaged.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::{
    rouser::Rouser,
    segment::{Open, Segment, SegmentError, dir_name},
    steps::{Step, Steps},
};

/// Segments that are kept open, the one that is written among them.
const OPEN: usize = 2;

/// How long a segment that was closed may still be locked: sled's own threads hold its file until they have ended
/// what they were doing with it, which takes long on a busy machine. Nobody else has it, see
/// [`super::restore::Witness`].
const CLOSING: Duration = Duration::from_secs(30);
const CLOSING_LOOK: Duration = Duration::from_millis(10);

/// `EIO`: of a place on the disk that cannot be read.
const IO_ERROR: i32 = 5;

/// Problems that are kept for `wayside status`. There is one a segment, rarely more.
const PROBLEMS: usize = 100;

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) store: PathBuf,
    pub(super) damaged: PathBuf,
    /// The most recently used last.
    open: Mutex<Vec<Arc<Segment>>>,
    problems: Mutex<Vec<String>>,
    rouser: Rouser,
    pub(super) steps: Steps,
}

impl Folder {
    pub(super) fn new(store: PathBuf, damaged: PathBuf, rouser: Rouser) -> Self {
        let (open, problems) = Default::default();
        Self { store, damaged, open, problems, rouser, steps: Steps::default() }
    }

    /// All segments, the newest last.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.store)? {
            let name = entry?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| name.parse().ok());
            numbers.extend(number.filter(|number| *dir_name(*number) == *name));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// An existing segment. Waits for one that was just closed; others go on meanwhile.
    pub(super) fn get(&self, number: u64) -> Result<Arc<Segment>, SegmentError> {
        let started = Instant::now();
        loop {
            match self.try_get(number) {
                Err(SegmentError::Locked) if started.elapsed() < CLOSING => std::thread::sleep(CLOSING_LOOK),
                got => return got,
            }
        }
    }

    /// An existing segment, unless it is [`SegmentError::Locked`] for it was just closed.
    pub(super) fn try_get(&self, number: u64) -> Result<Arc<Segment>, SegmentError> {
        let mut open = lock(&self.open);
        let segment = match open.iter().position(|segment| segment.number == number) {
            Some(at) => open.remove(at),
            None => self.open(number, Open::Existing)?,
        };
        keep(&mut open, segment.clone());
        Ok(segment)
    }

    fn open(&self, number: u64, how: Open) -> Result<Arc<Segment>, SegmentError> {
        let segment = Segment::open(&self.store, number, how, self.rouser.calls(), &self.steps)?;
        let segment = Arc::new(segment);
        let inside: Weak<Segment> = Arc::downgrade(&segment);
        self.rouser.look_at(inside);
        Ok(segment)
    }

    /// Whether what the system refuses is to read the segment itself, and not to write or to open anything.
    pub(super) fn is_unreadable(&self, number: u64) -> bool {
        let refused = |path: PathBuf| {
            let read = fs::File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
            read.is_err_and(|error| error.raw_os_error() == Some(IO_ERROR))
        };
        let entries = fs::read_dir(self.store.join(dir_name(number)));
        entries.is_ok_and(|entries| {
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.is_file())
                .any(refused)
        })
    }

    /// A new segment. What a start that was cut short left there is removed.
    pub(super) fn make(&self, number: u64) -> Result<Arc<Segment>, SegmentError> {
        let dir = self.store.join(dir_name(number));
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        let segment = self.open(number, Open::New)?;
        keep(&mut lock(&self.open), segment.clone());
        Ok(segment)
    }

    /// Deletes a segment that nobody needs.
    pub(super) fn delete(&self, number: u64) {
        self.close(number);
        let dir = self.store.join(dir_name(number));
        let removed = fs::remove_dir_all(&dir);
        self.steps.at(Step::Wrote("a deletion"));
        match removed {
            Ok(()) => tracing::debug!(segment = number, "deleted a segment of the queues"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "a segment of the queues could not be deleted")
            }
        }
    }

    /// Moves a damaged segment out of the way and reports it.
    pub(super) fn set_aside(&self, number: u64, why: &SegmentError) {
        self.close(number);
        let (from, mut to) =
            (self.store.join(dir_name(number)), self.damaged.join(format!("store-{number}")));
        let mut copy = 1;
        while to.exists() {
            copy += 1;
            to = self.damaged.join(format!("store-{number}-{copy}"));
        }
        let moved = fs::create_dir_all(&self.damaged).and_then(|()| fs::rename(&from, &to));
        self.report(match moved {
            Ok(()) => format!(
                "segment {number} of the queues is damaged ({why}): what it held is lost; it was saved as {}",
                to.display()
            ),
            Err(error) => format!(
                "segment {number} of the queues, {}, is damaged ({why}): what it held is lost; it could not be moved aside: {error}",
                from.display()
            ),
        });
    }

    /// Adds a problem, once.
    pub(super) fn report(&self, problem: String) {
        let mut problems = lock(&self.problems);
        if problems.len() < PROBLEMS && !problems.contains(&problem) {
            tracing::error!(problem, "the queues are damaged");
            problems.push(problem);
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    /// Closes all segments that nobody else holds.
    pub(super) fn close_all(&self) {
        lock(&self.open).clear();
    }

    fn close(&self, number: u64) {
        lock(&self.open).retain(|segment| segment.number != number);
    }
}

/// Adds a segment to those that are kept open. One that is in use, such as the one that is written, cannot be
/// opened a second time: it stays.
fn keep(open: &mut Vec<Arc<Segment>>, segment: Arc<Segment>) {
    open.push(segment);
    while open.len() > OPEN
        && let Some(idle) = open.iter().position(|segment| Arc::strong_count(segment) == 1)
    {
        open.remove(idle);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
