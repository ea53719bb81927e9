//! Tickets: what an answer is found by, without asking whose it is.

/// Numbers that no other session gives: the session's slot, then a count.
#[derive(Debug)]
pub(super) struct Tickets(u64);

/// Bits of a ticket below its session's slot.
const COUNT_BITS: u32 = 40;

impl Tickets {
    pub(super) fn new(slot: u32) -> Self {
        Self(u64::from(slot) << COUNT_BITS)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The slot of the session that gave this ticket.
pub(super) fn slot_of(ticket: u64) -> u64 {
    ticket >> COUNT_BITS
}
