//! How many may stand at the cloud's door, so that those who may not in cannot keep out those who may.
//!
//! ```text
//! handshake -> key known   -> a device's place
//!           -> key unknown -> a stranger's place, until it is admitted or its time is over
//! ```
//!
//! Handshakes and strangers have small pools of their own, with a share for each address. Only who is
//! known or admitted takes one of the places of `--max-devices`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Handshakes at the same time, and of them from one address: behind it may be a whole site.
const HANDSHAKES: Limits = Limits { all: 1024, per_address: 256 };

/// Connections at the same time whose key is not known, and of them from one address.
pub(super) const STRANGERS: Limits = Limits { all: 256, per_address: 32 };

/// Who is at the door.
pub(super) struct Entrance {
    handshakes: Pool,
    strangers: Pool,
    devices: Arc<Semaphore>,
    turned_away: AtomicU64,
}

/// What a connection occupies after its handshake. Freed when dropped.
pub(super) enum Seat {
    /// One of the devices.
    Device { _place: OwnedSemaphorePermit },
    /// Not admitted yet.
    Stranger { _place: Place },
}

/// How many there may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_address: usize,
}

impl Entrance {
    pub(super) fn new(max_devices: usize) -> Self {
        Self {
            handshakes: Pool::new(HANDSHAKES),
            strangers: Pool::new(STRANGERS),
            devices: Arc::new(Semaphore::new(max_devices)),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Whether a client first has to show that its address is its own. Otherwise somebody could fill an
    /// address's share without being there.
    pub(super) fn wants_proof(&self, from: IpAddr) -> bool {
        self.handshakes.is_busy(from)
    }

    /// A place for a handshake.
    pub(super) fn handshake(&self, from: IpAddr) -> Option<Place> {
        self.handshakes.take(from).or_else(|| self.turn_away())
    }

    /// A place after the handshake.
    pub(super) fn seat(&self, is_known: bool, from: IpAddr) -> Result<Seat, &'static str> {
        if is_known {
            return self.device();
        }
        let place = self.strangers.take(from).or_else(|| self.turn_away());
        place
            .map(|place| Seat::Stranger { _place: place })
            .ok_or("too many devices that are not admitted yet: try again")
    }

    /// The place of a connection that is admitted.
    pub(super) fn admit(&self, seat: Seat) -> Result<Seat, &'static str> {
        match seat {
            Seat::Device { .. } => Ok(seat),
            Seat::Stranger { .. } => self.device(),
        }
    }

    /// How many were turned away since this was last asked.
    pub(super) fn take_turned_away(&self) -> u64 {
        self.turned_away.swap(0, Ordering::Relaxed)
    }

    fn device(&self) -> Result<Seat, &'static str> {
        let permit = Arc::clone(&self.devices).try_acquire_owned().ok().or_else(|| self.turn_away());
        permit
            .map(|permit| Seat::Device { _place: permit })
            .ok_or("the cloud has as many devices as --max-devices allows")
    }

    fn turn_away<T>(&self) -> Option<T> {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Places, of which each address has its share.
struct Pool {
    limits: Limits,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    left: Arc<Semaphore>,
}

/// One place in a pool. Freed when dropped.
pub(super) struct Place {
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    from: IpAddr,
    _left: OwnedSemaphorePermit,
}

impl Pool {
    fn new(limits: Limits) -> Self {
        Self { limits, taken: Arc::default(), left: Arc::new(Semaphore::new(limits.all)) }
    }

    fn take(&self, from: IpAddr) -> Option<Place> {
        let from = sharer(from);
        let mut taken = lock(&self.taken);
        let count = taken.get(&from).copied().unwrap_or(0);
        if count >= self.limits.per_address {
            return None;
        }
        let left = Arc::clone(&self.left).try_acquire_owned().ok()?;
        taken.insert(from, count + 1);
        Some(Place { taken: Arc::clone(&self.taken), from, _left: left })
    }

    /// Whether more than a quarter of all places, or of this address's share, is taken.
    fn is_busy(&self, from: IpAddr) -> bool {
        let all = self.limits.all - self.left.available_permits();
        let here = lock(&self.taken).get(&sharer(from)).copied().unwrap_or(0);
        all > self.limits.all / 4 || here > self.limits.per_address / 4
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                taken.remove(&self.from);
            }
        }
    }
}

/// Who shares: an IPv4 address, or a /64 network of IPv6, of which one host has all addresses.
fn sharer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_of_one_address_take_its_share_and_no_device_s_place() {
        let entrance = Entrance::new(2);
        let here = address("192.0.2.1");
        let mut strangers: Vec<_> =
            (0..STRANGERS.per_address).map(|_| entrance.seat(false, here).ok().unwrap()).collect();
        assert!(entrance.seat(false, here).is_err());
        assert!(entrance.seat(false, address("::ffff:192.0.2.1")).is_err(), "the same, written as IPv6");
        assert_eq!((entrance.take_turned_away(), entrance.take_turned_away()), (2, 0));
        let known = entrance.seat(true, here).ok().unwrap();
        let other = entrance.seat(false, address("192.0.2.2")).ok().unwrap();
        // Who is admitted gives its place at the door to the next one, and takes a device's.
        let admitted = entrance.admit(strangers.remove(0)).ok().unwrap();
        strangers.push(entrance.seat(false, here).ok().unwrap());
        assert!(entrance.admit(other).is_err(), "two devices are there");
        drop(known);
        assert!(entrance.admit(strangers.remove(0)).is_ok());
        drop((admitted, strangers));
        assert!(lock(&entrance.strangers.taken).is_empty());
        assert_eq!(entrance.strangers.left.available_permits(), STRANGERS.all);
    }

    #[test]
    fn all_addresses_together_have_a_limit_and_a_network_counts_as_one() {
        let pool = Pool::new(Limits { all: 4, per_address: 3 });
        let places: Vec<_> =
            (1..=3).filter_map(|n| pool.take(address(&format!("2001:db8::{n}:{n}")))).collect();
        assert_eq!(places.len(), 3);
        assert!(pool.take(address("2001:db8::ffff:0:0:9")).is_none());
        let another = pool.take(address("2001:db8:0:1::1"));
        assert!(another.is_some());
        assert!(pool.take(address("192.0.2.1")).is_none(), "all four are taken");
    }

    #[test]
    fn under_load_an_address_has_to_be_proven() {
        let entrance = Entrance::new(1);
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        let take = |from| entrance.handshake(from).unwrap();
        let held: Vec<_> = (0..=HANDSHAKES.per_address / 4).map(|_| take(here)).collect();
        assert!(entrance.wants_proof(here) && !entrance.wants_proof(there));
        drop(held);
        assert!(!entrance.wants_proof(here));
    }
}
