//! What operators ask for, into the audit log, and out of it.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use wayside_actors::report::Report;
use wayside_config::audit::Way;

use super::control::Control;
use crate::{
    audit::Audit,
    control::{Answer, Ask, Sealed},
};

/// Of the log, in one answer.
const AUDIT_BYTES: usize = 128 << 10;

impl Control {
    /// What the device says of itself, and of its log.
    pub(super) fn report(&self) -> Report {
        let mut report = self.view.report();
        if let Some(problem) = self.audit.problem() {
            report.problems.get_or_insert_default().push(problem);
        }
        report
    }

    /// Off the threads that answer: it is a write to the disk.
    pub(super) async fn record<T: Send + 'static>(
        &self,
        record: impl FnOnce(&Audit) -> T + Send + 'static,
    ) -> Result<T, String> {
        let audit = Arc::clone(&self.audit);
        spawn_blocking(move || record(&audit)).await.map_err(|error| error.to_string())
    }

    /// Records that something was refused; `what` stands before the reason there. Gives the reason back.
    pub(super) async fn refused(&self, way: Way, what: &'static str, reason: String) -> String {
        let said = format!("{what}{reason}");
        // A panic in it has been told, and the reason is the same.
        let _ = self.record(move |audit| audit.refused(way, &said)).await;
        reason
    }

    /// Records that a change that was recorded before was not done.
    pub(super) async fn not_done(&self, way: Way, change: &'static str, reason: &str) {
        let said = format!("{change} before this was not done: {reason}");
        let _ = self.record(move |audit| audit.not_done(way, &said)).await;
    }

    /// Entries of the log from number `from` on.
    pub(super) async fn read_audit(&self, from: u64) -> Result<Answer, String> {
        let read = self.record(move |audit| audit.read(from, AUDIT_BYTES)).await?;
        let (log, head) = read.map_err(|error| format!("the audit log cannot be read: {error}"))?;
        Ok(Answer::Audit { head, log: Sealed(log) })
    }
}

/// What a question changes that is recorded before it is done.
pub(super) const fn is_change(ask: &Ask) -> Option<&'static str> {
    match ask {
        Ask::SetTwin { .. } => Some("the change of a twin"),
        Ask::SetSecret { .. } => Some("the change of a secret"),
        Ask::Lock { .. } => Some("the lock"),
        Ask::Unlock { .. } => Some("the end of the lock"),
        // Recorded when it is taken or refused, or no change; a call answers with what came of it.
        Ask::Apply { .. }
        | Ask::Admit { .. }
        | Ask::Call { .. }
        | Ask::Keep { .. }
        | Ask::Logs { .. }
        | Ask::PreviousLogs { .. }
        | Ask::Audit { .. }
        | Ask::Status
        | Ask::Devices
        | Ask::Lobby
        | Ask::Rules
        | Ask::Versions
        | Ask::Twin { .. }
        | Ask::Secrets
        | Ask::Messages => None,
    }
}
