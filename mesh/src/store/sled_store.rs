//! [`QueueStore`] on rotating sled databases.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot};
use wayside_actors::queue::{Queue, StoreOp};

use super::{
    Commit, Loaded, QueueStore, Restored, StoreError, StoreStats,
    folder::Folder,
    load::load,
    restore::failed,
    rouser::Rouser,
    shared::Shared,
    writer::{Request, Writer},
};

/// A segment is closed at this size: damage takes no more, and room comes back in steps of it. A new one takes sled
/// half a MiB and some syncs.
const SEGMENT_BYTES: u64 = 32 << 20;

/// Where and how large.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The store's own folder; made when it is not there.
    pub dir: PathBuf,
    /// Where damaged segments are moved. On the same file system.
    pub damaged_dir: PathBuf,
    /// The most bytes on the disk, about a tenth more than the messages take. A group commit may exceed it a
    /// little. At least 8 MiB.
    pub max_bytes: u64,
}

impl StoreSettings {
    /// A small store has small segments, for it must have several.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 8).clamp(1 << 20, SEGMENT_BYTES)
    }
}

/// The store of a device. Closed when dropped, after what was asked for is done.
#[derive(Debug)]
pub struct SledStore {
    /// No longer than there are callers, for each has one commit under way; and in the order of their calls.
    requests: Option<mpsc::UnboundedSender<Request>>,
    shared: Arc<Shared>,
    max_bytes: u64,
    thread: Option<JoinHandle<()>>,
}

impl SledStore {
    /// Opens the store, or makes one. Blocks on the disk. Damage is no error: it is moved aside and
    /// named in [`Restored::problems`].
    ///
    /// # Errors
    /// When another process has it open, or the disk fails.
    pub fn open(settings: StoreSettings) -> Result<(Self, Restored), StoreError> {
        let no_thread = |error: std::io::Error| StoreError::Failed(format!("no thread: {error}"));
        let rouser = Rouser::start().map_err(no_thread)?;
        let folder = Folder::new(settings.dir.clone(), settings.damaged_dir.clone(), rouser);
        fs::create_dir_all(&folder.store).map_err(|error| failed(&folder, &error.into()))?;
        let shared = Arc::new(Shared::new(folder));
        let max_bytes = settings.max_bytes;
        let writer = Writer::open(shared.clone(), settings)?;
        let restored = shared.restored();
        let (requests, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("queue-store".into())
            .spawn(move || writer.run(receiver))
            .map_err(no_thread)?;
        Ok((Self { requests: Some(requests), shared, max_bytes, thread: Some(thread) }, restored))
    }

    #[cfg(test)]
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl QueueStore for SledStore {
    fn commit(&self, changes: Arc<Vec<StoreOp>>) -> Commit {
        let (waiter, answer) = oneshot::channel();
        if let Some(requests) = &self.requests {
            // What is not taken drops the waiter, and the answer says so.
            let _ = requests.send(Request::Commit(changes, waiter));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(ended())) })
    }

    fn load(
        &self,
        queue: &Queue,
        from: u64,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Loaded, StoreError> {
        load(&self.shared, queue, from, max_messages, max_bytes)
    }

    fn restored(&self) -> Result<Restored, StoreError> {
        let (waiter, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(Request::Restored(waiter)).map_err(|_| ended())?;
        answer.blocking_recv().unwrap_or_else(|_| Err(ended()))
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            disk_bytes: self.shared.disk_bytes.load(Ordering::Relaxed),
            max_bytes: self.max_bytes,
            segments: self.shared.segments.load(Ordering::Relaxed),
            commits: self.shared.commits.load(Ordering::Relaxed),
        }
    }

    fn problems(&self) -> Vec<String> {
        self.shared.folder.problems()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the queues ended with a panic; please report this");
        }
    }
}

fn ended() -> StoreError {
    StoreError::Failed("the thread that writes has ended".into())
}
