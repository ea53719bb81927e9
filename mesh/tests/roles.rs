//! A site with routers: real sessions take the roles that their membership machines decide on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test takes what it waits for, or panics"
)]

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, watch};
use wayside_actors::{
    device::membership::{Effect, Event, Limits, Membership, Role},
    machine::{Effects, Machine, Step},
    message::{Batch, Message},
    time::Time,
};
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    circle::{Circle, circle_of},
    event::MeshEvent,
    pair::OwnKey,
    session::{Mesh, MeshSettings, SCOUTING},
};

const LIMITS: Limits = Limits { routed_from: 7, peers_below: 4 };
const LIMIT: Duration = Duration::from_secs(60);

/// The keys of devices, by their order: that of the numbers is that in which they route.
static SECRETS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    let mut secrets: Vec<_> = (0..=100).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    secrets.sort_by_key(Signer::key);
    secrets
});

fn secret(number: u8) -> SigningKey {
    SECRETS[usize::from(number)].clone()
}

fn device(number: u8) -> DeviceId {
    secret(number).key()
}

/// Of all devices of a test.
fn circle(number: u8) -> Circle {
    let circle = circle_of(Arc::new(secret(number))).unwrap();
    circle.admit((0..=100).map(|number| *device(number).as_bytes()).collect());
    circle
}

/// A device without anything but its mesh and the machine that knows the neighbours.
struct Device {
    mesh: Mesh,
    /// Who is there, as its deliveries are told.
    up: watch::Receiver<BTreeSet<DeviceId>>,
    batches: mpsc::Receiver<(DeviceId, u64)>,
}

impl Device {
    fn start(number: u8, port: u16) -> Self {
        let settings = MeshSettings {
            listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
            scouting: Some(SocketAddrV4::new(*SCOUTING.ip(), port)),
            ..MeshSettings::new(circle(number), OwnKey::new(secret(number)), format!("device {number}"))
        };
        let (mesh, mut events) = Mesh::open(settings).unwrap();
        let (told, up) = watch::channel(BTreeSet::new());
        let (arrived, batches) = mpsc::channel(64);
        let taking = mesh.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let mut machine = Membership::with_limits(device(number), LIMITS);
            let mut alarm = None;
            loop {
                let ring: Duration = alarm.map_or(LIMIT, |at: Time| {
                    Duration::from_millis(at.as_millis()).saturating_sub(begun.elapsed())
                });
                let event = tokio::select! {
                    event = events.recv() => match event {
                        None => return,
                        Some(MeshEvent::Seen { device, name }) => Event::TokenSeen { device, name },
                        Some(MeshEvent::Gone { device }) => Event::TokenGone { device },
                        Some(MeshEvent::RouterSeen { device }) => Event::RouterSeen { device },
                        Some(MeshEvent::RouterGone { device }) => Event::RouterGone { device },
                        Some(MeshEvent::Batch { from, batch }) => {
                            let _ = arrived.send((from, batch.first_seq)).await;
                            continue;
                        }
                        Some(_) => continue,
                    },
                    () = tokio::time::sleep(ring) => {
                        alarm = None;
                        Membership::woken()
                    }
                };
                let mut out = Effects::new();
                machine.handle(Time::from_millis(begun.elapsed().as_millis() as u64), event, &mut out);
                for step in out.take() {
                    match step {
                        Step::WakeAt(at) => alarm = Some(at),
                        Step::Do(Effect::Role(role)) => taking.take_role(role),
                        Step::Do(Effect::Up(device)) => told.send_modify(|up| {
                            up.insert(device);
                        }),
                        Step::Do(Effect::Down(device)) => told.send_modify(|up| {
                            up.remove(&device);
                        }),
                        _ => {}
                    }
                }
            }
        });
        Self { mesh, up, batches }
    }

    async fn sees(&mut self, others: &BTreeSet<DeviceId>) {
        let waiting = self.up.wait_for(|up| up == others);
        tokio::time::timeout(LIMIT, waiting).await.expect("everyone within a minute").unwrap();
    }

    /// Sends until it arrives, as a delivery does.
    async fn sends_to(&self, other: &mut Self, number: u8, to: u8) {
        let message = Message {
            origin: device(number),
            source: "s".into(),
            topic: "t".into(),
            properties: Default::default(),
            payload: Bytes::from_static(b"x"),
            accepted_ms: 0,
        };
        let batch = Batch { route: "w/r".into(), epoch: 1, after: 0, first_seq: 1, messages: vec![message] };
        for _ in 0..20 {
            self.mesh.send(device(to), batch.clone());
            let arrived = tokio::time::timeout(Duration::from_secs(1), other.batches.recv()).await;
            if arrived.is_ok_and(|arrived| arrived == Some((device(number), 1))) {
                return;
            }
        }
        panic!("nothing from {number} arrived at {to}");
    }
}

/// Not a test of its own: a device in a process that can be killed.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(what) = std::env::var("WAYSIDE_TEST_VICTIM") else { return };
    let (number, port) = what.split_once(' ').unwrap();
    let _device = Device::start(number.parse().unwrap(), port.parse().unwrap());
    std::future::pending().await
}

fn victim_process(number: u8, port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("WAYSIDE_TEST_VICTIM", format!("{number} {port}"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn all_but(number: u8, of: impl Iterator<Item = u8>) -> BTreeSet<DeviceId> {
    of.filter(|other| *other != number).map(device).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_site_has_routers_and_a_killed_one_is_replaced() {
    const PORT: u16 = 17464;
    // The lowest keys route: the first of them can be killed.
    let mut victim = victim_process(1, PORT);
    let mut devices: Vec<Device> = (2..=9).map(|number| Device::start(number, PORT)).collect();
    let begun = Instant::now();
    let roles = |devices: &[Device]| devices.iter().map(|device| device.mesh.role()).collect::<Vec<_>>();
    let routed = |routers: usize| {
        let mut roles = vec![Role::Router; routers];
        roles.resize(8, Role::Client);
        roles
    };
    while roles(&devices) != routed(2) {
        assert!(begun.elapsed() < LIMIT, "{:?}", roles(&devices));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (number, device) in (2..).zip(&mut devices) {
        device.sees(&all_but(number, 1..=9)).await;
    }
    println!("routed, and all see all, after {:?}", begun.elapsed());
    let (first, last) = devices.split_at_mut(7);
    first[6].sends_to(&mut last[0], 8, 9).await;

    victim.kill().unwrap();
    victim.wait().unwrap();
    let killed = Instant::now();
    while roles(&devices) != routed(3) {
        assert!(killed.elapsed() < LIMIT, "{:?}", roles(&devices));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (number, device) in (2..).zip(&mut devices) {
        device.sees(&all_but(number, 2..=9)).await;
    }
    println!("replaced, and all see all, after {:?}", killed.elapsed());
    let (first, last) = devices.split_at_mut(7);
    first[6].sends_to(&mut last[0], 8, 9).await;
    for device in devices {
        device.mesh.close().await;
    }
}
