//! The door: how many strangers an address may have waiting, and how long wrong passwords wait for their answer.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The first wrong password waits so long; each further one twice as long as the one before.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// After so long without a wrong password an address begins anew.
const FORGET: Duration = Duration::from_secs(60);
/// Addresses that are remembered; the one that failed longest ago makes room.
const REMEMBERED: usize = 1024;

/// What is known of addresses.
#[derive(Debug, Default)]
pub(super) struct Door(Mutex<Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    strangers: BTreeMap<IpAddr, usize>,
    failures: BTreeMap<IpAddr, (u32, Instant)>,
}

/// A connection that has not shown a password. Dropped once it has, or when it ends.
#[derive(Debug)]
pub(super) struct Stranger {
    door: Arc<Door>,
    address: IpAddr,
}

impl Door {
    /// Lets a connection wait at the door, unless `limit` of its address do.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Stranger> {
        let mut addresses = self.lock();
        let waiting = addresses.strangers.entry(address).or_default();
        if *waiting >= limit {
            return None;
        }
        *waiting += 1;
        Some(Stranger { door: self.clone(), address })
    }

    /// A wrong password came: how long its answer is held back.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let mut addresses = self.lock();
        let failures = &mut addresses.failures;
        if failures.len() >= REMEMBERED && !failures.contains_key(&address) {
            let oldest = failures.iter().min_by_key(|(_, (_, at))| *at).map(|(address, _)| *address);
            oldest.map(|address| failures.remove(&address));
        }
        let (count, at) = failures.entry(address).or_insert((0, now));
        if now.saturating_duration_since(*at) > FORGET {
            *count = 0;
        }
        let delay = FIRST_DELAY.saturating_mul(1 << (*count).min(8)).min(LONGEST_DELAY);
        (*count, *at) = (count.saturating_add(1), now);
        delay
    }

    /// The right password came.
    pub(super) fn succeeded(&self, address: IpAddr) {
        self.lock().failures.remove(&address);
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut addresses = self.door.lock();
        if let Some(waiting) = addresses.strangers.get_mut(&self.address) {
            *waiting -= 1;
            if *waiting == 0 {
                addresses.strangers.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn wrong_passwords_wait_longer_each_time_up_to_a_limit() {
        let door = Door::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..7).map(|_| door.failed(ADDRESS, now).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(door.failed(ADDRESS, now + FORGET * 2), FIRST_DELAY);
        door.succeeded(ADDRESS);
        assert_eq!(door.failed(ADDRESS, now), FIRST_DELAY);
    }

    #[test]
    fn strangers_are_counted_by_address_until_they_are_dropped() {
        let door = Arc::new(Door::default());
        let first = door.enter(ADDRESS, 1).unwrap();
        assert!(door.enter(ADDRESS, 1).is_none());
        assert!(door.enter(Ipv4Addr::new(10, 0, 0, 1).into(), 1).is_some());
        drop(first);
        assert!(door.enter(ADDRESS, 1).is_some());
    }
}
