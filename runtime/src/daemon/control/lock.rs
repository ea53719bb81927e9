//! Holding updates back, and letting them go on, for who has this machine's socket.

use std::time::Duration;

use tokio::time::timeout;
use wayside_actors::device::reconciler::{Event, Locks, Owner};

use super::Control;
use crate::{
    clock::wall_ms,
    control::{Answer, LockStatus},
};

/// From the question to the disk and back.
const PATIENCE: Duration = Duration::from_secs(10);

impl Control {
    /// Holds updates of all workloads back.
    pub(super) async fn lock(&self, for_ms: u64, reason: String) -> Result<Answer, String> {
        self.change(Owner::Operator, for_ms, reason).await
    }

    /// Ends a lock: the operator's own, or that of the module that is named.
    pub(super) async fn unlock(&self, owner: Option<String>) -> Result<Answer, String> {
        let owner = match owner {
            None => Owner::Operator,
            Some(name) if name == Owner::Operator.to_string() => Owner::Operator,
            Some(name) => {
                Owner::Module(name.parse().map_err(|error| format!("`{name}` holds no lock: {error}"))?)
            }
        };
        self.change(owner, 0, String::new()).await
    }

    async fn change(&self, owner: Owner, for_ms: u64, reason: String) -> Result<Answer, String> {
        let stopping = || "the daemon is stopping: ask again".to_owned();
        let mut locks = self.view.locks();
        let wall_ms = wall_ms();
        let is_so = |locks: &Locks| {
            let held = locks.holding(wall_ms).find(|lock| lock.owner == owner);
            if for_ms == 0 {
                held.is_none()
            } else {
                held.is_some_and(|lock| lock.reason == reason && lock.until_ms >= wall_ms + for_ms)
            }
        };
        let (owner, reason) = (owner.clone(), reason.clone());
        let event = Event::Lock { owner, for_ms, reason, wall_ms, ticket: None };
        let reconciler = self.reconciler.as_ref().ok_or_else(stopping)?;
        reconciler.send(event, 0).await.map_err(|_| stopping())?;
        let late = |_| "the device did not write it in time: see `wayside status` and its log".to_owned();
        timeout(PATIENCE, locks.wait_for(is_so)).await.map_err(late)?.map_err(|_| stopping())?;
        Ok(Answer::Locks { locks: self.locks() })
    }

    /// Who holds updates back now.
    pub(super) fn locks(&self) -> Vec<LockStatus> {
        self.view.locks().borrow().holding(wall_ms()).map(LockStatus::from).collect()
    }
}
