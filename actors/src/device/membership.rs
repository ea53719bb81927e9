//! Who is on the mesh.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::identity::DeviceId;

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
        Self { device, neighbours: BTreeMap::new() }
    }
}

impl Machine for Membership {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::TokenSeen { device, name } => self.seen(device, name, out),
            Event::TokenGone { device } => {
                if let Some(neighbour) = self.neighbours.get_mut(&device) {
                    neighbour.gone_at.get_or_insert(now.plus_millis(FLAP_MS));
                    self.wake(out);
                }
            }
            Event::Asked { device } => {
                let there = self.neighbours.contains_key(&device);
                out.push(if there { Effect::Up(device) } else { Effect::Down(device) });
            }
            Event::HealthRestarted => self.tell_peers(out),
            Event::Woken => self.awake(now, out),
        }
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
        self.wake(out);
    }

    fn wake(&self, out: &mut Effects<Effect>) {
        if let Some(at) = self.neighbours.values().filter_map(|neighbour| neighbour.gone_at).min() {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ME: DeviceId = DeviceId::from_bytes([1; 32]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

    fn at(membership: &mut Membership, ms: u64, event: Event) -> Effects<Effect> {
        let mut out = Effects::new();
        membership.handle(Time::from_millis(ms), event, &mut out);
        out
    }

    fn seen(device: DeviceId) -> Event {
        Event::TokenSeen { device, name: "ewr".into() }
    }

    #[test]
    fn a_flap_is_no_news_and_a_long_absence_is() {
        let mut membership = Membership::new(ME);
        let mut up = Effects::new();
        up.push(Effect::Up(OTHER));
        up.push(Effect::Peers(vec![Peer { device: OTHER, name: "ewr".into() }]));
        assert_eq!(at(&mut membership, 0, seen(OTHER)), up);

        let mut wake = Effects::new();
        wake.wake_at(Time::from_millis(100 + FLAP_MS));
        assert_eq!(at(&mut membership, 100, Event::TokenGone { device: OTHER }), wake);
        assert_eq!(at(&mut membership, 1500, seen(OTHER)), Effects::new());
        assert_eq!(at(&mut membership, 100 + FLAP_MS, Event::Woken), Effects::new());

        at(&mut membership, 9000, Event::TokenGone { device: OTHER });
        let mut down = Effects::new();
        down.push(Effect::Down(OTHER));
        down.push(Effect::Peers(vec![]));
        assert_eq!(at(&mut membership, 9000 + FLAP_MS, Event::Woken), down);
    }

    #[test]
    fn its_own_token_is_no_neighbour_and_who_asks_is_told() {
        let mut membership = Membership::new(ME);
        assert_eq!(at(&mut membership, 0, seen(ME)), Effects::new());
        let mut down = Effects::new();
        down.push(Effect::Down(OTHER));
        assert_eq!(at(&mut membership, 0, Event::Asked { device: OTHER }), down);
    }
}
