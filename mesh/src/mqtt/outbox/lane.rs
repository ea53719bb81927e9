//! One queue on its way to a client: what is held of it, and how far it is settled.

use std::collections::VecDeque;

use super::Parcel;

/// One queue: everything up to `acked` is settled, everything up to `high` has been taken.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) acked: u64,
    pub(super) high: u64,
    held: VecDeque<Held>,
    /// Index of the first one that is not sent.
    next: usize,
    /// How many beyond `acked` are settled.
    pub(super) settled: usize,
    /// Something of it was sent at QoS 2: a restart must know how far it is.
    pub(super) is_exactly_once: bool,
}

/// A message that is not known to have arrived, or stands behind one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) parcel: Parcel,
    is_settled: bool,
    /// It is on its way already, since before the device restarted.
    is_under_way: bool,
}

impl Lane {
    pub(super) const fn starting_at(first_seq: u64) -> Self {
        let before = first_seq.saturating_sub(1);
        let held = VecDeque::new();
        Self { acked: before, high: before, held, next: 0, settled: 0, is_exactly_once: false }
    }

    /// Takes the message after the last one.
    pub(super) fn push(&mut self, seq: u64, parcel: Parcel) {
        self.high = seq;
        self.held.push_back(Held { seq, parcel, is_settled: false, is_under_way: false });
    }

    pub(super) fn is_held(&self, seq: u64) -> bool {
        self.find(seq).is_some()
    }

    /// The message is on its way already.
    pub(super) fn note_under_way(&mut self, seq: u64) {
        if let Ok(index) = self.held.binary_search_by_key(&seq, |held| held.seq) {
            self.held[index].is_under_way = true;
        }
    }

    pub(super) fn find(&self, seq: u64) -> Option<&Held> {
        let index = self.held.binary_search_by_key(&seq, |held| held.seq).ok()?;
        self.held.get(index)
    }

    /// The first message that is neither sent nor settled.
    pub(super) fn peek(&self) -> Option<&Held> {
        self.held.iter().skip(self.next).find(|held| held.waits())
    }

    /// The same, with `next` standing on it.
    pub(super) fn unsent(&mut self) -> Option<&Held> {
        while !self.held.get(self.next)?.waits() {
            self.next += 1;
        }
        self.held.get(self.next)
    }

    /// The message that `unsent` gave is on its way.
    pub(super) const fn sent(&mut self) {
        self.next += 1;
    }

    /// All that is not settled is to be sent anew.
    pub(super) fn restart(&mut self) {
        self.next = 0;
        self.is_exactly_once = false;
        self.held.iter_mut().for_each(|held| held.is_under_way = false);
    }

    /// True if the queue came further.
    pub(super) fn settle(&mut self, seq: u64) -> bool {
        let Ok(index) = self.held.binary_search_by_key(&seq, |held| held.seq) else {
            return false;
        };
        if !self.held[index].is_settled {
            self.held[index].is_settled = true;
            self.settled += 1;
        }
        let before = self.acked;
        while let Some(held) = self.held.front().filter(|held| held.is_settled) {
            self.acked = held.seq;
            self.held.pop_front();
            self.settled -= 1;
            self.next = self.next.saturating_sub(1);
        }
        self.acked > before
    }

    /// The numbers beyond `acked` that are settled.
    pub(super) fn settled(&self) -> impl Iterator<Item = u64> {
        let count = self.settled;
        self.held.iter().filter(|held| held.is_settled).map(|held| held.seq).take(count)
    }
}

impl Held {
    const fn waits(&self) -> bool {
        !self.is_settled && !self.is_under_way
    }
}
