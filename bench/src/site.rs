//! Many devices on one LAN, in one process: how long until all see all, and what each costs, with routers and without.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use tokio::sync::watch;
use wayside_actors::{
    device::membership::{Effect, Event, Limits, Membership, Role},
    machine::{Effects, Machine, Step},
    time::Time,
};
use wayside_config::signer::Signer;
use wayside_mesh::{
    circle::circle_of,
    event::{MeshEvent, MeshEvents},
    pair::OwnKey,
    session::{Mesh, MeshSettings, SCOUTING},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many devices
    #[arg(long, default_value_t = 200)]
    devices: u16,
    /// Leave them all peers, however many there are
    #[arg(long)]
    peers: bool,
    /// Milliseconds between the starts of two devices
    #[arg(long, default_value_t = 50)]
    apart_ms: u64,
    /// How long to wait for all to see all, in seconds
    #[arg(long, default_value_t = 300)]
    limit_s: u64,
    /// The UDP port on which they look for each other
    #[arg(long, default_value_t = 17470)]
    port: u16,
}

/// How long a site has to stay as it is to count as settled.
const SETTLED: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(site(arguments))
}

async fn site(arguments: &Arguments) -> Result<()> {
    let limits =
        if arguments.peers { Limits { routed_from: usize::MAX, peers_below: 0 } } else { Limits::USUAL };
    let (before_kib, begun) = (rss_kib()?, Instant::now());
    let mut devices = Vec::new();
    let keys = (0..arguments.devices).map(|number| *secret(number).key().as_bytes()).collect();
    for number in 0..arguments.devices {
        devices.push(Device::start(number, &keys, arguments.port, limits)?);
        tokio::time::sleep(Duration::from_millis(arguments.apart_ms)).await;
    }
    let all = usize::from(arguments.devices) - 1;
    let sees_all = |device: &Device| *device.sees.borrow() == all;
    let mut since = None;
    let mut roles = Vec::new();
    loop {
        let now: Vec<Role> = devices.iter().map(|device| device.mesh.role()).collect();
        let is_whole = devices.iter().all(sees_all);
        if !is_whole {
            since = None;
        } else if now != roles {
            since = Some(Instant::now());
        } else if since.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
            break;
        }
        roles = now;
        if begun.elapsed() > Duration::from_secs(arguments.limit_s) {
            let see = devices.iter().filter(|device| sees_all(device)).count();
            bail!("after {} s only {see} of {} devices see all", arguments.limit_s, arguments.devices);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let whole_s = begun.elapsed().saturating_sub(SETTLED).as_secs_f64();
    let count = |role| roles.iter().filter(|one| **one == role).count();
    let kib = (rss_kib()?.saturating_sub(before_kib)) / u64::from(arguments.devices);
    println!(
        "{}",
        serde_json::json!({
            "devices": arguments.devices, "routers": count(Role::Router), "clients": count(Role::Client),
            "whole_s": (whole_s * 10.0).round() / 10.0, "kib_each": kib,
        })
    );
    // Closing hundreds of sessions in good order is not what is measured.
    std::process::exit(0)
}

/// A device without anything but its mesh and the machine that knows the neighbours.
struct Device {
    mesh: Mesh,
    /// How many others are there.
    sees: watch::Receiver<usize>,
}

impl Device {
    fn start(number: u16, keys: &BTreeSet<[u8; 32]>, port: u16, limits: Limits) -> Result<Self> {
        let device = secret(number).key();
        let circle = circle_of(Arc::new(secret(number)))?;
        circle.admit(keys.clone());
        let settings = MeshSettings {
            listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
            scouting: Some(SocketAddrV4::new(*SCOUTING.ip(), port)),
            ..MeshSettings::new(circle, OwnKey::new(secret(number)), format!("bench {number}"))
        };
        let (mesh, events) = Mesh::open(settings)?;
        let (told, sees) = watch::channel(0);
        tokio::spawn(live(mesh.clone(), events, Membership::with_limits(device, limits), told));
        Ok(Self { mesh, sees })
    }
}

fn secret(number: u16) -> SigningKey {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

async fn live(mesh: Mesh, mut events: MeshEvents, mut machine: Membership, told: watch::Sender<usize>) {
    let (begun, mut alarm) = (Instant::now(), None);
    loop {
        let ring = alarm.map_or(Duration::from_secs(60), |at: Time| {
            Duration::from_millis(at.as_millis()).saturating_sub(begun.elapsed())
        });
        let event = tokio::select! {
            event = events.recv() => match event {
                None => return,
                Some(MeshEvent::Seen { device, name }) => Event::TokenSeen { device, name },
                Some(MeshEvent::Gone { device }) => Event::TokenGone { device },
                Some(MeshEvent::RouterSeen { device }) => Event::RouterSeen { device },
                Some(MeshEvent::RouterGone { device }) => Event::RouterGone { device },
                Some(
                    MeshEvent::Batch { .. }
                    | MeshEvent::Live { .. }
                    | MeshEvent::Confirm { .. }
                    | MeshEvent::Desired { .. }
                    | MeshEvent::Control(_)
                    | MeshEvent::Problem(_),
                ) => continue,
            },
            () = tokio::time::sleep(ring) => {
                alarm = None;
                Membership::woken()
            }
        };
        let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut out = Effects::new();
        machine.handle(Time::from_millis(now), event, &mut out);
        for step in out.take() {
            match step {
                Step::WakeAt(at) => alarm = Some(at),
                Step::Do(Effect::Role(role)) => mesh.take_role(role),
                Step::Do(Effect::Peers(peers)) => {
                    told.send_replace(peers.len());
                }
                Step::Do(Effect::Up(_) | Effect::Down(_)) | Step::Persist(_) => {}
            }
        }
    }
}

fn rss_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
