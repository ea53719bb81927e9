//! How many may be at something at a time: a few of each address, and members beside all others.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use super::lock;

/// Of addresses at which members are, and of all others.
const MEMBERS: usize = 4;
const STRANGERS: usize = 8;
/// Of one address: a device and an operator may be at the same.
const ADDRESS: usize = 2;

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<Vec<(Ipv4Addr, bool)>>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    of: Places,
    at: (Ipv4Addr, bool),
}

impl Places {
    /// A place for this address, at which a member is or not. `None` when it has its share, or there is no other.
    #[must_use]
    pub fn take(&self, address: Ipv4Addr, is_members: bool) -> Option<Place> {
        let at = (address, is_members);
        let most = if is_members { MEMBERS } else { STRANGERS };
        let mut taken = lock(&self.0);
        let count =
            |is_such: &dyn Fn(&(Ipv4Addr, bool)) -> bool| taken.iter().filter(|at| is_such(at)).count();
        if count(&|(of, _)| *of == address) >= ADDRESS || count(&|(_, of)| *of == is_members) >= most {
            return None;
        }
        taken.push(at);
        drop(taken);
        Some(Place { of: self.clone(), at })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.of.0);
        if let Some(index) = taken.iter().position(|at| *at == self.at) {
            taken.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_address_and_members_beside_strangers() {
        let places = Places::default();
        let address = |number| Ipv4Addr::new(10, 0, 0, number);
        let first: Vec<_> = (0..9).filter_map(|_| places.take(address(0), false)).collect();
        assert_eq!(first.len(), ADDRESS);
        let strangers: Vec<_> = (1..20).filter_map(|number| places.take(address(number), false)).collect();
        assert_eq!(strangers.len(), STRANGERS - ADDRESS);
        let members: Vec<_> = (100..120).filter_map(|number| places.take(address(number), true)).collect();
        assert_eq!(members.len(), MEMBERS);
        drop(first);
        assert!(places.take(address(0), false).is_some());
    }
}
