//! Who is on the mesh, and how this device takes part in it.

mod roles;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

use self::roles::Roles;
pub use self::roles::{Limits, ROUTERS, Role};
use crate::{
    machine::{Effects, Machine},
    time::Time,
};

/// How long a token may be away before its device counts as gone, in milliseconds: a link that flaps is no news.
pub const FLAP_MS: u64 = 2_000;

/// What can happen to the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A liveliness token appeared.
    TokenSeen {
        /// Whose.
        device: DeviceId,
        /// Its name.
        name: String,
    },
    /// A liveliness token went away.
    TokenGone {
        /// Whose.
        device: DeviceId,
    },
    /// A device says that it routes for others.
    RouterSeen {
        /// Which. This one is no news.
        device: DeviceId,
    },
    /// A device routes for others no more.
    RouterGone {
        /// Which.
        device: DeviceId,
    },
    /// A delivery asks whether its device is there: answered by `Up` or `Down`.
    Asked {
        /// Which.
        device: DeviceId,
    },
    /// Health was restarted: say everything again.
    HealthRestarted,
    /// The time asked for has come.
    Woken,
}

/// What the membership wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// The device is there: deliveries to it start.
    Up(DeviceId),
    /// The device has been gone for longer than a link takes to flap.
    Down(DeviceId),
    /// Everyone who is there, when that changed.
    Peers(Vec<Peer>),
    /// Take part in the mesh like this from now on. It begins as a peer.
    Role(Role),
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
}

/// The machine that knows the neighbours.
#[derive(Clone, Debug)]
pub struct Membership {
    device: DeviceId,
    neighbours: BTreeMap<DeviceId, Neighbour>,
    roles: Roles,
    /// The alarm that was asked for and has not rung: one that comes early sets the next.
    alarm: Option<Time>,
}

#[derive(Clone, Debug)]
struct Neighbour {
    name: String,
    /// When it counts as gone, if its token does not come back.
    gone_at: Option<Time>,
}

impl Membership {
    /// A membership that knows nobody. `device` is this one, whose own token is no neighbour.
    #[must_use]
    pub const fn new(device: DeviceId) -> Self {
        Self::with_limits(device, Limits::USUAL)
    }

    /// The same on a site that has routers from another number of devices on.
    #[must_use]
    pub const fn with_limits(device: DeviceId, limits: Limits) -> Self {
        Self { device, neighbours: BTreeMap::new(), roles: Roles::new(device, limits), alarm: None }
    }
}

impl Machine for Membership {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::TokenSeen { device, name } => {
                self.roles.seen(device);
                self.seen(device, name, out);
            }
            Event::TokenGone { device } => {
                self.roles.gone(&device, now);
                if let Some(neighbour) = self.neighbours.get_mut(&device) {
                    neighbour.gone_at.get_or_insert(now.plus_millis(FLAP_MS));
                }
            }
            Event::RouterSeen { device } => self.roles.router_seen(device),
            Event::RouterGone { device } => self.roles.router_gone(&device, now),
            Event::Asked { device } => {
                let there = self.neighbours.contains_key(&device);
                out.push(if there { Effect::Up(device) } else { Effect::Down(device) });
            }
            Event::HealthRestarted => self.tell_peers(out),
            Event::Woken => {
                self.alarm = None;
                self.awake(now, out);
            }
        }
        if let Some(role) = self.roles.decide(now) {
            out.push(Effect::Role(role));
        }
        self.wake(out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Membership {
    fn seen(&mut self, device: DeviceId, name: String, out: &mut Effects<Effect>) {
        if device == self.device {
            return;
        }
        let before = self.neighbours.insert(device, Neighbour { name: name.clone(), gone_at: None });
        if before.is_none() {
            out.push(Effect::Up(device));
        }
        if before.is_none_or(|before| before.name != name) {
            self.tell_peers(out);
        }
    }

    fn awake(&mut self, now: Time, out: &mut Effects<Effect>) {
        let before = self.neighbours.len();
        self.neighbours.retain(|device, neighbour| {
            let there = neighbour.gone_at.is_none_or(|at| now < at);
            if !there {
                out.push(Effect::Down(*device));
            }
            there
        });
        if self.neighbours.len() != before {
            self.tell_peers(out);
        }
    }

    fn wake(&mut self, out: &mut Effects<Effect>) {
        let flaps = self.neighbours.values().filter_map(|neighbour| neighbour.gone_at);
        let at = flaps.chain(self.roles.wake_at()).min();
        if let Some(at) = at.filter(|at| self.alarm.is_none_or(|alarm| *at < alarm)) {
            self.alarm = Some(at);
            out.wake_at(at);
        }
    }

    fn tell_peers(&self, out: &mut Effects<Effect>) {
        let peer = |(device, neighbour): (&DeviceId, &Neighbour)| Peer {
            device: *device,
            name: neighbour.name.clone(),
        };
        out.push(Effect::Peers(self.neighbours.iter().map(peer).collect()));
    }
}
