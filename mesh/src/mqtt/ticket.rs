//! Tickets: what an answer is found by, without asking whose it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that no other session of this process gives, whichever its listener: the session's number, then a
/// count. An answer that comes late finds nothing, and never a stranger's packet.
#[derive(Debug)]
pub(super) struct Tickets(u64);

/// Bits of a ticket below its session's number.
const COUNT_BITS: u32 = 40;

static SESSIONS: AtomicU64 = AtomicU64::new(0);

impl Tickets {
    /// Those of a new session.
    pub(super) fn new() -> Self {
        Self(SESSIONS.fetch_add(1, Ordering::Relaxed) << COUNT_BITS)
    }

    /// The session's number.
    pub(super) fn session(&self) -> u64 {
        session_of(self.0)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The number of the session that gave this ticket.
pub(super) fn session_of(ticket: u64) -> u64 {
    ticket >> COUNT_BITS
}
