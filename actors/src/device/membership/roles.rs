//! Who of a large site routes for the others. Every device decides for itself, from who is there.
//!
//! Few devices all hold links to each other. The links of many would grow with the square of their number, so from
//! [`Limits::routed_from`] on [`ROUTERS`] of them become routers, and the rest keep one link to one of these. Who they are
//! follows from what all see alike: the routers that are there stay, the lowest keys first, and the lowest keys of the
//! others fill up. Nobody is asked, and nobody has to agree: devices that see the same choose the same, and where they saw
//! different things for a while, too many routers come out, of whom the highest step back.
//!
//! A change of role is a new session, so it is made late enough for most of what is seen in passing to be over, and at a
//! moment of each device's own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

use crate::time::Time;

/// How many devices route: one may die, and another be taken down for work, and none is cut off.
pub const ROUTERS: usize = 3;

/// A router counts as gone after this long without a sign of it, in milliseconds: longer than it takes to open a session anew.
const ROUTER_GONE_MS: u64 = 3_000;

/// Others count as there for this long after the last sign, in milliseconds: as long as it takes a site whose routers all died to
/// have new ones, chosen by those who are cut off from each other.
const DEVICE_GONE_MS: u64 = 20_000;

/// How long a new role is wished for before it is taken, in milliseconds, and how far devices are spread from there.
const ROUTER_AFTER: Spread = Spread { least_ms: 1_000, most_ms: 1_500 };
const CLIENT_AFTER: Spread = Spread { least_ms: 2_000, most_ms: 6_000 };
const STEP_BACK_AFTER: Spread = Spread { least_ms: 8_000, most_ms: 16_000 };
const PEER_AFTER: Spread = Spread { least_ms: 2_000, most_ms: 8_000 };
/// Those who route for others stay until these are peers.
const LAST_PEER_AFTER: Spread = Spread { least_ms: 15_000, most_ms: 20_000 };

/// How a device takes part in the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A link to every other peer, and to routers.
    #[default]
    Peer,
    /// Links to the other routers, and to whoever comes.
    Router,
    /// One link, to a router.
    Client,
}

/// When a site has routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From so many devices on.
    pub routed_from: usize,
    /// Until there are fewer than these; well below the other, for devices come and go.
    pub peers_below: usize,
}

impl Limits {
    /// Of every site. Up to here the links of peers, which grow with the square, cost less than routers risk: decision 12.
    pub const USUAL: Self = Self { routed_from: 50, peers_below: 40 };
}

struct Spread {
    least_ms: u64,
    most_ms: u64,
}

/// What is known of routers, and what this device is.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    device: DeviceId,
    limits: Limits,
    role: Role,
    /// Other devices, and when they count as gone if nothing is seen of them.
    devices: BTreeMap<DeviceId, Option<Time>>,
    /// Those of them that route.
    routers: BTreeMap<DeviceId, Option<Time>>,
    /// The role that is wished for, and when it is taken.
    change: Option<(Role, Time)>,
}

impl Roles {
    pub(super) const fn new(device: DeviceId, limits: Limits) -> Self {
        Self {
            device,
            limits,
            role: Role::Peer,
            devices: BTreeMap::new(),
            routers: BTreeMap::new(),
            change: None,
        }
    }

    /// A device is there.
    pub(super) fn seen(&mut self, device: DeviceId) {
        if device != self.device {
            self.devices.insert(device, None);
        }
    }

    /// A device is not there any more, for now.
    pub(super) fn gone(&mut self, device: &DeviceId, now: Time) {
        if let Some(gone_at) = self.devices.get_mut(device) {
            gone_at.get_or_insert(now.plus_millis(DEVICE_GONE_MS));
        }
    }

    /// A device routes.
    pub(super) fn router_seen(&mut self, device: DeviceId) {
        if device != self.device {
            self.routers.insert(device, None);
        }
    }

    /// A device routes no more, for now.
    pub(super) fn router_gone(&mut self, device: &DeviceId, now: Time) {
        if let Some(gone_at) = self.routers.get_mut(device) {
            gone_at.get_or_insert(now.plus_millis(ROUTER_GONE_MS));
        }
    }

    /// Looks at what is known now. Gives the role to take, when that changes.
    pub(super) fn decide(&mut self, now: Time) -> Option<Role> {
        let is_there = |gone_at: &Option<Time>| gone_at.is_none_or(|at| now < at);
        for (router, gone_at) in &self.routers {
            // Nothing is seen of it as a device either: it is not chosen anew on what is remembered.
            if !is_there(gone_at) && self.devices.get(router).is_some_and(Option::is_some) {
                self.devices.remove(router);
            }
        }
        self.routers.retain(|_, gone_at| is_there(gone_at));
        self.devices.retain(|_, gone_at| is_there(gone_at));
        let wanted = self.wanted();
        if wanted == self.role {
            self.change = None;
            return None;
        }
        let at = match self.change {
            Some((wished, at)) if wished == wanted => at,
            Some(_) | None => now.plus_millis(self.delay_ms(wanted)),
        };
        self.change = Some((wanted, at));
        if now < at {
            return None;
        }
        self.change = None;
        self.role = wanted;
        Some(wanted)
    }

    /// When to look again, if nothing happens before.
    pub(super) fn wake_at(&self) -> Option<Time> {
        let gone = self.devices.values().chain(self.routers.values()).flatten();
        gone.copied().chain(self.change.map(|(_, at)| at)).min()
    }

    fn wanted(&self) -> Role {
        let count = self.devices.len() + 1;
        let is_routed = self.role != Role::Peer || !self.routers.is_empty();
        let from = if is_routed { self.limits.peers_below } else { self.limits.routed_from };
        if count < from {
            return Role::Peer;
        }
        if self.elected().contains(&self.device) {
            Role::Router
        } else if self.routers.is_empty() {
            // There is nobody to be a client of yet.
            self.role
        } else {
            Role::Client
        }
    }

    fn elected(&self) -> BTreeSet<DeviceId> {
        let routes = |device: &DeviceId| {
            self.routers.contains_key(device) || (*device == self.device && self.role == Role::Router)
        };
        let mut all: Vec<DeviceId> = self.devices.keys().copied().chain([self.device]).collect();
        all.sort_unstable_by_key(|device| (!routes(device), *device));
        all.truncate(ROUTERS);
        all.into_iter().collect()
    }

    fn delay_ms(&self, wanted: Role) -> u64 {
        let spread = match (self.role, wanted) {
            (_, Role::Router) => ROUTER_AFTER,
            (Role::Router, Role::Client) => STEP_BACK_AFTER,
            (Role::Peer | Role::Client, Role::Client) => CLIENT_AFTER,
            (Role::Router, Role::Peer) => LAST_PEER_AFTER,
            (Role::Peer | Role::Client, Role::Peer) => PEER_AFTER,
        };
        // A device's key is chance enough to spread it against others.
        let [a, b, ..] = *self.device.as_bytes();
        let part = u64::from(u16::from_be_bytes([a, b]));
        spread.least_ms + (spread.most_ms - spread.least_ms) * part / u64::from(u16::MAX)
    }
}
