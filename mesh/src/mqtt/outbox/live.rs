//! Messages of best-effort routes that wait for the client to read: bounded, and the oldest make room.

use std::collections::VecDeque;

use super::Parcel;

/// How many wait at most, and their bytes; one may be larger.
pub(super) const MESSAGES: usize = 1024;
const BYTES: usize = 1 << 20;

/// Each with its route, oldest first.
#[derive(Debug, Default)]
pub(super) struct Live {
    waiting: VecDeque<(String, Parcel)>,
    bytes: usize,
}

impl Live {
    pub(super) fn push(&mut self, route: String, parcel: Parcel) {
        self.bytes += parcel.cost_bytes();
        self.waiting.push_back((route, parcel));
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<(String, Parcel)> {
        let (route, parcel) = self.waiting.pop_front()?;
        self.bytes -= parcel.cost_bytes();
        Some((route, parcel))
    }

    /// The oldest, where there are more than may wait.
    pub(super) fn pop_beyond(&mut self) -> Option<(String, Parcel)> {
        let count = self.waiting.len();
        if count > MESSAGES || (self.bytes > BYTES && count > 1) { self.pop() } else { None }
    }
}
