//! What is recorded seldom, so that who asks often does not push everything else out of the log.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wayside_config::identity::PublicKey;

/// Between two entries of one reader and one thing that is read.
const READS: Duration = Duration::from_secs(60 * 60);

/// Between two refusals: anybody on the LAN can be refused.
const REFUSALS: Duration = Duration::from_secs(10 * 60);

/// Assignments of a cloud that are recorded each in [`ASSIGNING`].
const ASSIGNS: u32 = 30;
const ASSIGNING: Duration = Duration::from_secs(60 * 60);

/// Readers that are remembered.
const READERS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Limited {
    read: BTreeMap<(Vec<PublicKey>, String), Instant>,
    refused: Option<Instant>,
    /// Refusals since the one that was recorded.
    others: u64,
    /// When the hour began, and the assignments recorded in it.
    assigned: Option<(Instant, u32)>,
    /// Assignments since the one that was recorded.
    unrecorded: u64,
}

impl Limited {
    /// Whether this is to be recorded.
    pub(super) fn reads(&mut self, by: &[PublicKey], what: &str, now: Instant) -> bool {
        self.read.retain(|_, at| now.duration_since(*at) < READS);
        if self.read.len() >= READERS {
            self.read.clear();
        }
        let mut is_new = false;
        self.read.entry((by.to_vec(), what.to_owned())).or_insert_with(|| {
            is_new = true;
            now
        });
        is_new
    }

    /// Whether an assignment by a cloud is to be recorded, and how many were not since the one before.
    pub(super) fn assigns(&mut self, now: Instant) -> Option<u64> {
        let current = self.assigned.filter(|(begun, _)| now.duration_since(*begun) < ASSIGNING);
        let (begun, count) = current.unwrap_or((now, 0));
        if count >= ASSIGNS {
            self.unrecorded += 1;
            return None;
        }
        self.assigned = Some((begun, count + 1));
        Some(std::mem::take(&mut self.unrecorded))
    }

    /// Whether a refusal is to be recorded, and how many were not since the one before.
    pub(super) fn refuses(&mut self, now: Instant) -> Option<u64> {
        if self.refused.is_some_and(|at| now.duration_since(at) < REFUSALS) {
            self.others += 1;
            return None;
        }
        self.refused = Some(now);
        Some(std::mem::take(&mut self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_recorded_once_an_hour_and_a_refusal_once_in_ten_minutes() {
        let (mut limited, start) = (Limited::default(), Instant::now());
        let key = PublicKey::from_bytes([1; 32]);
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!(limited.reads(&[key], "w/a", at(0)));
        assert!(!limited.reads(&[key], "w/a", at(59)));
        assert!(limited.reads(&[], "w/a", at(59)) && limited.reads(&[key], "w/b", at(59)));
        assert!(limited.reads(&[key], "w/a", at(60)));
        assert_eq!(
            [0, 1, 9, 10, 11].map(|at_min| limited.refuses(at(at_min))),
            [Some(0), None, None, Some(2), None]
        );
    }

    #[test]
    fn a_cloud_is_recorded_thirty_times_an_hour_and_then_counted() {
        let (mut limited, start) = (Limited::default(), Instant::now());
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        assert!((0..30).all(|minute| limited.assigns(at(minute)) == Some(0)));
        assert_eq!(
            [31, 40, 59, 60, 61].map(|minute| limited.assigns(at(minute))),
            [None, None, None, Some(3), Some(0)]
        );
    }

    #[test]
    fn readers_take_bounded_room() {
        let (mut limited, now) = (Limited::default(), Instant::now());
        for number in 0..2000 {
            limited.reads(&[], &number.to_string(), now);
        }
        assert!(limited.read.len() <= READERS);
    }
}
