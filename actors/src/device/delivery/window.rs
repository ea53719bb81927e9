//! How much one queue may have under way: less where confirmations come late, more for a higher priority.
//!
//! Queues that share a link do not know of each other. Each adds to its window by its weight while what it sends
//! is confirmed soon, and cuts it by the same factor when it is not: so shares come out in proportion to the
//! weights, a low one gets little but never nothing, and what is under way on a slow link stays small, which is
//! what lets an urgent message pass soon. Until the first late confirmation the window doubles as TCP's does. (Weighted additive increase, multiplicative decrease: Crowcroft and
//! Oechslin, "Differentiated end-to-end Internet services using a weighted proportional fair sharing TCP",
//! 1998; delay rather than loss as the signal as in LEDBAT, RFC 6817.)

use std::collections::VecDeque;

use wayside_config::workload::Route;

use super::{WINDOW_BYTES, WINDOW_MESSAGES};
use crate::time::Time;

/// What is confirmed later than this after it was sent has stood in a queue on the way, in milliseconds.
const LATE_MS: u64 = 1_000;
/// What a window of weight 1 grows by with each batch that is confirmed in time.
const STEP_BYTES: usize = 16 << 10;
/// What a window of weight 1 begins with.
const START_BYTES: usize = 32 << 10;
/// What a window of weight 1 shrinks to at most.
const LEAST_BYTES: usize = 8 << 10;

/// One batch in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) last: u64,
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) at: Time,
}

/// What is sent and not confirmed, and how much that may be.
#[derive(Clone, Debug)]
pub(super) struct Window {
    in_flight: VecDeque<Sent>,
    messages: usize,
    bytes: usize,
    /// How many bytes may be under way.
    most_bytes: usize,
    weight: usize,
    /// Nothing was late yet.
    begins: bool,
    /// What was sent before this says nothing new of how slow the way is.
    judged_from: Time,
}

impl Window {
    pub(super) const fn new() -> Self {
        let weight = weight(Route::PRIORITY);
        Self {
            in_flight: VecDeque::new(),
            messages: 0,
            bytes: 0,
            most_bytes: START_BYTES * weight,
            weight,
            begins: true,
            judged_from: Time::from_millis(0),
        }
    }

    /// A window of its full size from the start: a module's, which shares its way with nobody.
    pub(super) const fn open() -> Self {
        let mut window = Self::new();
        window.most_bytes = cap(window.weight);
        window
    }

    /// Another priority: what may be under way changes in proportion.
    pub(super) fn weigh(&mut self, priority: u8) {
        let weight = weight(priority);
        if weight != self.weight {
            self.most_bytes = self.most_bytes * weight / self.weight;
            self.weight = weight;
        }
    }

    /// Messages and bytes that may be sent now.
    pub(super) fn room(&self) -> Option<(usize, usize)> {
        let messages =
            (WINDOW_MESSAGES * self.weight / weight(Route::PRIORITY)).saturating_sub(self.messages);
        let bytes = self.most_bytes.saturating_sub(self.bytes);
        (messages > 0 && bytes > 0).then_some((messages, bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The number of the last message under way.
    pub(super) fn last(&self) -> Option<u64> {
        self.in_flight.back().map(|sent| sent.last)
    }

    pub(super) fn sent(&mut self, sent: Sent) {
        self.messages += sent.messages;
        self.bytes += sent.bytes;
        self.in_flight.push_back(sent);
    }

    /// Forgets what is under way up to `upto`, without learning from it.
    pub(super) fn settle(&mut self, upto: u64) {
        while let Some(sent) = self.in_flight.front().copied().filter(|sent| sent.last <= upto) {
            self.in_flight.pop_front();
            self.messages -= sent.messages;
            self.bytes -= sent.bytes;
        }
    }

    /// The destination has confirmed up to `upto`: settles it and learns how long that took.
    pub(super) fn confirmed(&mut self, upto: u64, now: Time) {
        let confirmed: Vec<Sent> =
            self.in_flight.iter().take_while(|sent| sent.last <= upto).copied().collect();
        for sent in confirmed {
            if now.millis_since(sent.at) <= LATE_MS {
                let step = if self.begins { sent.bytes } else { STEP_BYTES * self.weight };
                self.most_bytes = (self.most_bytes + step).min(cap(self.weight));
            } else if sent.at >= self.judged_from {
                self.most_bytes = (self.most_bytes / 4 * 3).max(LEAST_BYTES * self.weight);
                self.judged_from = now;
                self.begins = false;
            }
        }
        self.settle(upto);
    }

    pub(super) fn clear(&mut self) {
        self.in_flight.clear();
        self.messages = 0;
        self.bytes = 0;
    }
}

/// The share of a link that a priority gets beside others: 1 for the lowest, 10 for the highest.
const fn weight(priority: u8) -> usize {
    priority as usize + 1
}

/// The most bytes under way at a weight: [`WINDOW_BYTES`] at the usual one.
const fn cap(weight: usize) -> usize {
    WINDOW_BYTES * weight / self::weight(Route::PRIORITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_BYTES: usize = 4 << 10;

    /// Queues with these priorities over a link that carries `bytes_per_ms`; what each got through.
    fn share(priorities: &[u8], bytes_per_ms: usize, ms: u64) -> Vec<usize> {
        let mut windows: Vec<Window> = priorities.iter().map(|_| Window::new()).collect();
        let mut numbers = vec![0u64; priorities.len()];
        let mut carried = vec![0; priorities.len()];
        let mut link: VecDeque<(usize, u64)> = VecDeque::new();
        let mut done = 0;
        for (window, priority) in windows.iter_mut().zip(priorities) {
            window.weigh(*priority);
        }
        for now in (0..ms).map(Time::from_millis) {
            for (queue, window) in windows.iter_mut().enumerate() {
                while window.room().is_some() {
                    numbers[queue] += 1;
                    let last = numbers[queue];
                    window.sent(Sent { last, messages: 1, bytes: BATCH_BYTES, at: now });
                    link.push_back((queue, last));
                }
            }
            done += bytes_per_ms;
            while done >= BATCH_BYTES {
                done -= BATCH_BYTES;
                if let Some((queue, last)) = link.pop_front() {
                    windows[queue].confirmed(last, now);
                    // What stood in the first windows says nothing of the shares that come out.
                    if now.as_millis() > ms / 2 {
                        carried[queue] += BATCH_BYTES;
                    }
                }
            }
        }
        carried
    }

    #[test]
    fn shares_follow_priorities_and_the_lowest_gets_something() {
        let carried = share(&[9, 4, 0], 100, 600_000);
        let total: usize = carried.iter().sum();
        assert!(total > 95 * 300_000, "the link stands idle: {carried:?}");
        let ratio = |a: usize, b: usize| a as f64 / b as f64;
        assert!((5.0..20.0).contains(&ratio(carried[0], carried[2])), "{carried:?}");
        assert!((1.4..3.0).contains(&ratio(carried[0], carried[1])), "{carried:?}");
        assert!(carried[2] > total / 50, "{carried:?}");
    }

    #[test]
    fn little_is_under_way_on_a_slow_link_and_much_on_a_fast_one() {
        for (bytes_per_ms, least, most) in [(10, 10 << 10, 64 << 10), (100_000, WINDOW_BYTES, WINDOW_BYTES)] {
            let mut window = Window::new();
            let (mut last, mut free_at) = (0u64, 0u64);
            let mut link: VecDeque<(u64, u64)> = VecDeque::new();
            for now in 0..300_000u64 {
                while window.room().is_some() {
                    last += 1;
                    free_at = free_at.max(now) + (BATCH_BYTES / bytes_per_ms) as u64;
                    window.sent(Sent { last, messages: 1, bytes: BATCH_BYTES, at: Time::from_millis(now) });
                    link.push_back((last, free_at));
                    if bytes_per_ms > 10_000 {
                        break;
                    }
                }
                while let Some((number, _)) = link.pop_front_if(|(_, at)| *at <= now) {
                    window.confirmed(number, Time::from_millis(now));
                }
            }
            assert!((least..=most).contains(&window.most_bytes), "{bytes_per_ms}: {}", window.most_bytes);
        }
    }
}
