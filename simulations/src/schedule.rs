//! The virtual clock: what happens next, by time and then in the order it was planned.

use std::{cmp::Ordering, collections::BinaryHeap};

use wayside_actors::time::Time;

/// Everything that is going to happen. Equal times come in the order of planning, so a run has one
/// possible course.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    now: Time,
    planned: u64,
    heap: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> Schedule<T> {
    pub(crate) const fn new() -> Self {
        Self { now: Time::from_millis(0), planned: 0, heap: BinaryHeap::new() }
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    /// Plans `what` for `at`, or for now when that is past.
    pub(crate) fn at(&mut self, at: Time, what: T) {
        self.planned += 1;
        self.heap.push(Entry { at: at.max(self.now), number: self.planned, what });
    }

    pub(crate) fn after(&mut self, ms: u64, what: T) {
        self.at(self.now.plus_millis(ms), what);
    }

    /// Moves the clock to the next thing that happens, unless that is after `end`.
    pub(crate) fn next(&mut self, end: Time) -> Option<T> {
        if self.heap.peek()?.at > end {
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.what)
    }
}

/// The heap gives the greatest first: that is the earliest.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_come_in_the_order_of_planning() {
        let mut schedule = Schedule::new();
        for (at, what) in [(5, 'c'), (2, 'a'), (5, 'd'), (2, 'b'), (9, 'e')] {
            schedule.at(Time::from_millis(at), what);
        }
        let end = Time::from_millis(8);
        let course: String = std::iter::from_fn(|| schedule.next(end)).collect();
        assert_eq!((course.as_str(), schedule.now()), ("abcd", Time::from_millis(5)));
    }
}
