//! Whole sites of membership machines: whatever comes and goes in whatever order, in the end all agree on who routes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wayside_config::identity::DeviceId;

use crate::{
    device::membership::{Effect, Event, Limits, Membership, ROUTERS, Role},
    machine::{Effects, Machine, Step},
    time::Time,
};

const TICK_MS: u64 = 250;
const LIMITS: Limits = Limits { routed_from: 12, peers_below: 8 };

/// Devices on one LAN, as their sessions let them see each other.
struct Site {
    now: u64,
    random: u64,
    nodes: BTreeMap<DeviceId, Node>,
    /// How often a role was taken.
    changes: usize,
}

struct Node {
    machine: Membership,
    role: Role,
    /// When its session is open. A new role, and a client that lost its router, takes a new one.
    open_at: u64,
    /// Of a client: whose it is.
    router: Option<DeviceId>,
    alarm: Option<u64>,
    /// Whom it sees, and whether as a router.
    sees: BTreeMap<DeviceId, bool>,
}

impl Site {
    fn new(seed: u64) -> Self {
        Self { now: 0, random: seed, nodes: BTreeMap::new(), changes: 0 }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % most.max(1)
    }

    fn join(&mut self) {
        let mut key = [0; 32];
        key.iter_mut().for_each(|byte| *byte = self.below(256) as u8);
        let device = DeviceId::from_bytes(key);
        let node = Node {
            machine: Membership::with_limits(device, LIMITS),
            role: Role::Peer,
            open_at: self.now + self.below(1000),
            router: None,
            alarm: None,
            sees: BTreeMap::new(),
        };
        self.nodes.insert(device, node);
    }

    /// Kills somebody, or a router if there is one and `router` says so.
    fn kill(&mut self, router: bool) {
        let of =
            |role| self.nodes.iter().filter(move |(_, node)| node.role == role).map(|(device, _)| *device);
        let mut from: Vec<DeviceId> = if router { of(Role::Router).collect() } else { Vec::new() };
        if from.is_empty() {
            from = self.nodes.keys().copied().collect();
        }
        let at = self.below(from.len() as u64) as usize;
        if let Some(device) = from.get(at) {
            self.nodes.remove(device);
        }
    }

    fn tick(&mut self) {
        self.now += TICK_MS;
        let routers: Vec<DeviceId> = self.with_role(Role::Router);
        for device in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.attach(device, &routers);
        }
        let there: BTreeMap<DeviceId, bool> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.is_open(self.now))
            .map(|(device, node)| (*device, node.role == Role::Router))
            .collect();
        for device in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.look_around(device, &there);
        }
    }

    /// A client takes a router, or another when its own is gone.
    fn attach(&mut self, device: DeviceId, routers: &[DeviceId]) {
        let (chosen, wait) = (self.below(routers.len() as u64) as usize, 500 + self.below(1500));
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&device) else { return };
        if node.role == Role::Client
            && now >= node.open_at
            && node.router.is_none_or(|router| !routers.contains(&router))
        {
            if node.router.is_some() {
                node.open_at = now + wait;
            }
            node.router = if node.router.is_some() { None } else { routers.get(chosen).copied() };
        }
    }

    /// What a device sees now that it did not see, or saw: some of it, for news takes its time.
    fn look_around(&mut self, device: DeviceId, there: &BTreeMap<DeviceId, bool>) {
        let Some(mut node) = self.nodes.remove(&device) else { return };
        let nothing = BTreeMap::new();
        let visible = if node.is_open(self.now) { there } else { &nothing };
        let mut events = Vec::new();
        let known: BTreeSet<DeviceId> =
            visible.keys().chain(node.sees.keys()).copied().filter(|other| *other != device).collect();
        for other in known {
            let (before, now) = (node.sees.get(&other).copied(), visible.get(&other).copied());
            // What a session showed ends with it at once.
            if before == now || (!visible.is_empty() && self.below(10) < 3) {
                continue;
            }
            let seen = Event::TokenSeen { device: other, name: "n".into() };
            match (before, now) {
                (None, Some(_)) => events.push(seen),
                (Some(_), None) => events.push(Event::TokenGone { device: other }),
                (Some(_), Some(_)) | (None, None) => {}
            }
            match (before == Some(true), now == Some(true)) {
                (false, true) => events.push(Event::RouterSeen { device: other }),
                (true, false) => events.push(Event::RouterGone { device: other }),
                (true, true) | (false, false) => {}
            }
            match now {
                Some(routes) => node.sees.insert(other, routes),
                None => node.sees.remove(&other),
            };
        }
        if node.alarm.take_if(|at| *at <= self.now).is_some() {
            events.push(Membership::woken());
        }
        for event in events {
            let mut out = Effects::new();
            node.machine.handle(Time::from_millis(self.now), event, &mut out);
            for step in out.take() {
                match step {
                    Step::WakeAt(at) => node.alarm = Some(at.as_millis()),
                    Step::Do(Effect::Role(role)) => {
                        self.changes += 1;
                        node.role = role;
                        node.router = None;
                        node.open_at = self.now + 200 + self.below(800);
                    }
                    Step::Do(Effect::Up(_) | Effect::Down(_) | Effect::Peers(_)) | Step::Persist(_) => {}
                }
            }
        }
        self.nodes.insert(device, node);
    }

    fn with_role(&self, role: Role) -> Vec<DeviceId> {
        let has = |(device, node): (&DeviceId, &Node)| {
            (node.role == role && node.is_open(self.now)).then_some(*device)
        };
        self.nodes.iter().filter_map(has).collect()
    }

    fn pass(&mut self, seconds: u64) {
        (0..seconds * 1000 / TICK_MS).for_each(|_| self.tick());
    }

    /// All have the roles that the site's size asks for, and see everyone.
    fn check(&self) -> Result<(), TestCaseError> {
        let [peers, routers, clients] =
            [Role::Peer, Role::Router, Role::Client].map(|role| self.with_role(role).len());
        let all = self.nodes.len();
        let is_routed = routers == ROUTERS && clients == all - ROUTERS;
        let is_clique = peers == all;
        let said = format!("{all} devices: {peers} peers, {routers} routers, {clients} clients");
        prop_assert!(
            if all >= LIMITS.routed_from {
                is_routed
            } else if all < LIMITS.peers_below {
                is_clique
            } else {
                is_routed || is_clique
            },
            "{}",
            said
        );
        prop_assert!(
            self.nodes.values().all(|node| node.sees.len() == all - 1),
            "{}: some see not all",
            said
        );
        Ok(())
    }
}

impl Node {
    fn is_open(&self, now: u64) -> bool {
        now >= self.open_at && (self.role != Role::Client || self.router.is_some())
    }
}

#[test]
fn a_dead_router_is_replaced_and_nobody_else_changes() {
    let mut site = Site::new(1);
    (0..30).for_each(|_| site.join());
    site.pass(60);
    site.check().unwrap();
    for _ in 0..5 {
        let before = (site.with_role(Role::Router), site.changes);
        site.kill(true);
        site.pass(30);
        site.check().unwrap();
        let after = site.with_role(Role::Router);
        assert_eq!(after.iter().filter(|router| before.0.contains(router)).count(), ROUTERS - 1);
        assert_eq!(site.changes, before.1 + 1, "the one that takes its place");
    }
}

#[test]
fn a_site_whose_routers_all_die_has_new_ones() {
    let mut site = Site::new(2);
    (0..40).for_each(|_| site.join());
    site.pass(60);
    (0..ROUTERS).for_each(|_| site.kill(true));
    site.pass(15);
    site.check().unwrap();
}

#[test]
fn a_site_that_shrinks_is_a_clique_again_and_one_between_the_limits_stays_as_it_is() {
    let mut site = Site::new(3);
    (0..10).for_each(|_| site.join());
    site.pass(60);
    assert_eq!((site.with_role(Role::Peer).len(), site.changes), (10, 0), "too few for routers");
    (0..6).for_each(|_| site.join());
    site.pass(60);
    assert_eq!(site.with_role(Role::Router).len(), ROUTERS);
    (0..6).for_each(|_| site.kill(false));
    site.pass(60);
    assert_eq!(site.with_role(Role::Router).len(), ROUTERS, "not few enough for none");
    (0..4).for_each(|_| site.kill(false));
    site.pass(90);
    site.check().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_and_goes_all_agree_in_the_end(seed in any::<u64>(), deaths in 0..20u64) {
        let mut site = Site::new(seed);
        for _ in 0..240 {
            let what = site.below(100);
            if what < 15 {
                site.join();
            } else if what < 15 + deaths / 2 {
                site.kill(what.is_multiple_of(2));
            }
            site.tick();
        }
        site.pass(150);
        site.check()?;
        let changes = site.changes;
        site.pass(60);
        prop_assert_eq!(site.changes, changes, "somebody still changes");
        site.check()?;
    }
}
