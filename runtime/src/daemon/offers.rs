//! When a neighbour is brought again what is kept for it: soon, then ever later while it does not take it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wayside_config::identity::DeviceId;

/// Until the second time. The next ones take twice as long each.
const FIRST: Duration = Duration::from_secs(5);

/// The longest that it takes.
const LAST: Duration = Duration::from_secs(600);

/// What was brought to whom.
#[derive(Debug, Default)]
pub(super) struct Offers(BTreeMap<DeviceId, Offer>);

#[derive(Debug)]
struct Offer {
    /// The run of the device's daemon, and the version.
    what: (u64, u64),
    next_at: Instant,
    wait: Duration,
}

impl Offers {
    /// Whether it is to be brought now, which is noted: at once in each run of the device's daemon, and each version.
    pub(super) fn is_due(&mut self, device: DeviceId, what: (u64, u64), now: Instant) -> bool {
        let before = self.0.get(&device).filter(|before| before.what == what);
        if before.is_some_and(|before| now < before.next_at) {
            return false;
        }
        let wait = before.map_or(FIRST, |before| LAST.min(before.wait * 2));
        self.0.insert(device, Offer { what, next_at: now + wait, wait });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_brought_at_once_and_then_ever_later() {
        let (device, begun) = (DeviceId::from_bytes([1; 32]), Instant::now());
        let mut offers = Offers::default();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let due = (0..3600).filter(|second| offers.is_due(device, (7, 3), at(*second))).collect::<Vec<_>>();
        assert_eq!(due, [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835, 2435, 3035]);
        assert!(offers.is_due(device, (7, 4), at(3600)) && !offers.is_due(device, (7, 4), at(3600)));
        assert!(offers.is_due(device, (8, 4), at(3601)));
    }
}
