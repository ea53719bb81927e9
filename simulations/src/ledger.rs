//! What was published and what came where: the law that every message arrives once and in order.

use std::collections::BTreeMap;

/// Counts for every origin and destination. Numbers only, so it stays small.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By origin: how many messages its daemon accepted, which are numbered from 1.
    accepted: Vec<u64>,
    arrived: BTreeMap<(u32, Place), Arrived>,
    /// Publishes that a daemon refused.
    pub(crate) refused: u64,
}

/// Where messages of an origin go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Stored there.
    Cloud,
    /// Taken and acknowledged by the module of this device.
    Module(u32),
}

#[derive(Debug, Default)]
struct Arrived {
    /// The highest number that came.
    highest: u64,
    /// Different numbers that came.
    count: u64,
    /// The session of the last one and its number.
    last: Option<(u64, u64)>,
    doubled: u64,
    misordered: u64,
    redelivered: u64,
}

/// The whole in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) accepted: u64,
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) doubled: u64,
    pub(crate) misordered: u64,
    pub(crate) redelivered: u64,
}

impl Ledger {
    pub(crate) fn new(devices: usize) -> Self {
        Self { accepted: vec![0; devices], arrived: BTreeMap::new(), refused: 0 }
    }

    pub(crate) fn accepted(&mut self, origin: u32) {
        self.accepted[origin as usize] += 1;
    }

    /// A message came to the cloud's store.
    pub(crate) fn stored(&mut self, origin: u32, number: u64) {
        self.arrived.entry((origin, Place::Cloud)).or_default().take(number, None);
    }

    /// A message came to a module in one of its MQTT sessions.
    pub(crate) fn taken(&mut self, origin: u32, device: u32, number: u64, session: u64) {
        self.arrived.entry((origin, Place::Module(device))).or_default().take(number, Some(session));
    }

    /// Sums up. Each origin's messages go to the cloud and to a module on each device.
    pub(crate) fn totals(&self) -> Totals {
        let accepted = self.accepted.iter().sum();
        let places = self.accepted.len() as u64 + 1;
        let mut totals = Totals { accepted, expected: accepted * places, ..Totals::default() };
        for arrived in self.arrived.values() {
            totals.delivered += arrived.count;
            totals.doubled += arrived.doubled;
            totals.misordered += arrived.misordered;
            totals.redelivered += arrived.redelivered;
        }
        totals
    }
}

impl Totals {
    /// Messages that were accepted and did not come to some place.
    pub(crate) const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }
}

impl Arrived {
    /// MQTT at QoS 1 may deliver again from where a module's last session acknowledged: such a run
    /// begins with a new session and goes on without a gap. Everything else is a fault.
    fn take(&mut self, number: u64, session: Option<u64>) {
        if number == self.highest + 1 {
            self.highest = number;
            self.count += 1;
        } else if number > self.highest {
            self.misordered += 1;
            self.highest = number;
            self.count += 1;
        } else {
            let again = session.is_some_and(|session| {
                self.last.is_some_and(|(before, last)| before != session || number == last + 1)
            });
            if again {
                self.redelivered += 1;
            } else {
                self.doubled += 1;
            }
        }
        self.last = session.map(|session| (session, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(arrive: impl Fn(&mut Ledger)) -> Totals {
        let mut ledger = Ledger::new(1);
        for _ in 0..3 {
            ledger.accepted(0);
        }
        arrive(&mut ledger);
        ledger.totals()
    }

    #[test]
    fn the_cloud_stores_once_and_in_order() {
        let clean = totals(|ledger| (1..=3).for_each(|n| ledger.stored(0, n)));
        assert_eq!((clean.delivered, clean.doubled, clean.misordered, clean.lost()), (3, 0, 0, 3));
        assert_eq!(totals(|ledger| [1, 2, 2].iter().for_each(|n| ledger.stored(0, *n))).doubled, 1);
        assert_eq!(totals(|ledger| [1, 3].iter().for_each(|n| ledger.stored(0, *n))).misordered, 1);
    }

    #[test]
    fn a_module_may_hear_again_only_from_a_new_session_on() {
        let again = totals(|ledger| {
            for (session, number) in [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)] {
                ledger.taken(0, 0, number, session);
            }
        });
        assert_eq!((again.delivered, again.doubled, again.redelivered), (3, 0, 2));
        let doubled = totals(|ledger| {
            for (session, number) in [(1, 1), (1, 2), (1, 2)] {
                ledger.taken(0, 0, number, session);
            }
        });
        assert_eq!((doubled.doubled, doubled.redelivered), (1, 0));
    }
}
