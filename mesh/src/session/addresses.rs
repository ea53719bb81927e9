//! Which of this host's addresses are the LAN's.
//!
//! A listener on 0.0.0.0 would be simpler, but then neighbours learn every address of the host and dial
//! them one after the other, those that lead nowhere too.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Addresses that are not the LAN's. What one clone adds, all know; it counts from the next look at the
/// host's addresses on, so it should be added before or soon after the address comes up.
#[derive(Clone, Debug, Default)]
pub struct Excluded(Arc<Mutex<BTreeSet<Ipv4Addr>>>);

impl Excluded {
    /// Adds an address.
    pub fn add(&self, address: Ipv4Addr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
    }

    pub(super) fn all(&self) -> BTreeSet<Ipv4Addr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An address and the interface that carries it. A new interface with an old address is a new one:
/// multicast membership went away with the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) ip: Ipv4Addr,
    interface: u32,
}

/// The IPv4 addresses of interfaces that are up and that may lead to other devices.
pub(super) fn lan_addresses(exclude: &BTreeSet<Ipv4Addr>) -> Vec<Address> {
    let mut addresses: Vec<Address> = pnet_datalink::interfaces()
        .iter()
        .filter(|interface| {
            interface.is_up() && !interface.is_loopback() && !is_module_bridge(&interface.name)
        })
        .flat_map(|interface| interface.ips.iter().map(|network| (interface.index, network.ip())))
        .filter_map(|(interface, ip)| match ip {
            IpAddr::V4(ip) if !exclude.contains(&ip) => Some(Address { ip, interface }),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses
}

/// The same by address alone.
pub(crate) fn lan_ips(exclude: &Excluded) -> BTreeSet<Ipv4Addr> {
    lan_addresses(&exclude.all()).into_iter().map(|address| address.ip).collect()
}

/// Every IPv4 address of this host, for looking around: a device may be a container behind a bridge, or listen
/// on loopback only.
pub(crate) fn all_addresses() -> Vec<Ipv4Addr> {
    let interfaces = pnet_datalink::interfaces();
    let up = interfaces.iter().filter(|interface| interface.is_up());
    up.flat_map(|interface| &interface.ips)
        .filter_map(|network| match network.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// Bridges that container engines make on this host: containers are behind them, not neighbours.
fn is_module_bridge(name: &str) -> bool {
    let made_by_docker = name
        .strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    made_by_docker || ["docker0", "podman0", "cni0"].contains(&name) || name.starts_with("veth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_of_engines_are_not_the_lan() {
        assert!(is_module_bridge("docker0"));
        assert!(is_module_bridge("br-0123456789ab"));
        assert!(!is_module_bridge("br-lan"));
        assert!(!is_module_bridge("eth0"));
    }

    #[test]
    fn loopback_and_excluded_addresses_are_not_listened_on() {
        let all = lan_addresses(&BTreeSet::new());
        assert!(all.iter().all(|address| !address.ip.is_loopback()));
        if let Some(first) = all.first() {
            let excluded = Excluded::default();
            excluded.clone().add(first.ip);
            assert!(!lan_addresses(&excluded.all()).contains(first));
        }
    }
}
