//! Device to device, best-effort: the product's mesh beside two raw Zenoh sessions with the same bodies, turn about in one
//! run. What arrives counts.

use std::{
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use ed25519_dalek::SigningKey;
use tokio::time::timeout;
use wayside_actors::queue::{Endpoint, Queue};
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    circle::{Circle, circle_of},
    event::{MeshEvent, MeshEvents},
    pair::OwnKey,
    session::{Mesh, MeshSettings},
};
use zenoh::{Wait, qos::CongestionControl};

use crate::payload::{self, Kind};

/// For sessions to find each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bodies that are sent by turns, so that making them costs nothing.
const BODIES: u64 = 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each turn is
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How many turns each has
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// How large each body is
    #[arg(long, default_value_t = 256)]
    bytes: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let turn = Duration::from_secs_f64(arguments.seconds);
    let pair = runtime.block_on(Pair::open())?;
    let zenoh = RawPair::open()?;
    for _ in 0..arguments.turns {
        raw.push(zenoh.turn(turn, arguments.bytes)?);
        ours.push(runtime.block_on(pair.turn(turn, arguments.bytes))?);
    }
    let pair_lost = pair.sender.counters().send_dropped;
    println!("{}", serde_json::json!({ "msgs_s": ours, "raw_msgs_s": raw, "not_taken": pair_lost }));
    runtime.block_on(pair.close());
    Ok(())
}

/// Two devices.
struct Pair {
    sender: Mesh,
    receiver: Mesh,
    arrived: Arc<AtomicU64>,
}

impl Pair {
    async fn open() -> Result<Self> {
        let listen = free_address()?;
        let settings = |number| -> Result<MeshSettings> {
            Ok(MeshSettings {
                listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
                scouting: None,
                ..MeshSettings::new(circle(number)?, OwnKey::new(secret(number)), format!("bench {number}"))
            })
        };
        let (receiver, arrivals) = Mesh::open(MeshSettings { listen: vec![listen], ..settings(2)? })?;
        let (sender, mut events) = Mesh::open(MeshSettings { connect: vec![listen.into()], ..settings(1)? })?;
        let seen = async {
            while let Some(event) = events.recv().await {
                if matches!(event, MeshEvent::Seen { .. }) {
                    return true;
                }
            }
            false
        };
        if !timeout(PATIENCE, seen).await? {
            return Err(anyhow!("the mesh ended"));
        }
        let arrived = Arc::<AtomicU64>::default();
        tokio::spawn(count(arrivals, Arc::clone(&arrived)));
        Ok(Self { sender, receiver, arrived })
    }

    /// Messages that arrived in a second, while the sender sends as fast as it is let.
    async fn turn(&self, turn: Duration, bytes: usize) -> Result<f64> {
        let (sender, stop) = (self.sender.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::clone(&stop);
        // Known before, for to derive a key costs more than to send.
        let (from, to) = (device(1), device(2));
        let queue = Queue::new("bench/observations", Endpoint::Device(to));
        let sending = thread::spawn(move || {
            let bodies: Vec<_> =
                (0..BODIES).map(|number| payload::message(from, Kind::Json, number, bytes)).collect();
            for message in bodies.iter().cycle() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                if !sender.forward(to, queue.clone(), message.clone()) {
                    // What a publisher that is not held back would lose.
                    thread::sleep(Duration::from_micros(50));
                }
            }
        });
        let rate = rate(&self.arrived, turn, tokio::time::sleep(turn)).await;
        stop.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| anyhow!("the sender panicked"))?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(rate)
    }

    async fn close(&self) {
        tokio::join!(self.sender.close(), self.receiver.close());
    }
}

async fn count(mut arrivals: MeshEvents, arrived: Arc<AtomicU64>) {
    while let Some(event) = arrivals.recv().await {
        if let MeshEvent::Live { messages, .. } = event {
            arrived.fetch_add(messages.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Two sessions of Zenoh with nothing around them, over the same links.
struct RawPair {
    _circles: [Circle; 2],
    sender: zenoh::Session,
    _receiver: zenoh::Session,
    arrived: Arc<AtomicU64>,
}

impl RawPair {
    fn open() -> Result<Self> {
        let address = free_address()?;
        let circles = [circle(1)?, circle(2)?];
        let config = |side: &str, circle: &Circle| {
            zenoh::Config::from_json5(&format!(
                "{{ mode: \"peer\", {side}: {{ endpoints: [\"tls/{address}\"] }}, scouting: {{ multicast: {{ enabled: false }} }}, \
                 transport: {{ link: {{ tls: {{ root_ca_certificate: \"{}\" }} }} }} }}",
                circle.name()
            ))
        };
        let failed = |error: zenoh::Error| anyhow!("{error}");
        let receiver = zenoh::open(config("listen", &circles[1]).map_err(failed)?).wait().map_err(failed)?;
        let arrived = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&arrived);
        receiver
            .declare_subscriber("bench/observations")
            .callback(move |sample| {
                // As much as to look at the body.
                counter.fetch_add(u64::from(!sample.payload().is_empty()), Ordering::Relaxed);
            })
            .background()
            .wait()
            .map_err(failed)?;
        let sender = zenoh::open(config("connect", &circles[0]).map_err(failed)?).wait().map_err(failed)?;
        thread::sleep(Duration::from_secs(1));
        Ok(Self { _circles: circles, sender, _receiver: receiver, arrived })
    }

    /// As [`Pair::turn`]. The sender is held back where the way is full, so that nothing is lost.
    fn turn(&self, turn: Duration, bytes: usize) -> Result<f64> {
        let publisher = self
            .sender
            .declare_publisher("bench/observations")
            .congestion_control(CongestionControl::Block)
            .wait()
            .map_err(|error| anyhow!("{error}"))?;
        let bodies: Vec<_> = (0..BODIES)
            .map(|number| payload::message(device(1), Kind::Json, number, bytes).payload)
            .collect();
        let (before, begun) = (self.arrived.load(Ordering::Relaxed), Instant::now());
        for body in bodies.iter().cycle() {
            publisher.put(body.clone()).wait().map_err(|error| anyhow!("{error}"))?;
            if begun.elapsed() >= turn {
                break;
            }
        }
        Ok(per_second(self.arrived.load(Ordering::Relaxed) - before, begun.elapsed()))
    }
}

async fn rate(arrived: &AtomicU64, turn: Duration, wait: impl Future<Output = ()>) -> f64 {
    let (before, begun) = (arrived.load(Ordering::Relaxed), Instant::now());
    wait.await;
    debug_assert!(begun.elapsed() >= turn);
    per_second(arrived.load(Ordering::Relaxed) - before, begun.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(count: u64, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64()).round()
}

fn free_address() -> Result<SocketAddrV4> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn device(number: u8) -> DeviceId {
    secret(number).key()
}

/// Of both devices.
fn circle(number: u8) -> Result<Circle> {
    let circle = circle_of(Arc::new(secret(number)))?;
    circle.admit([1, 2].map(|number| *device(number).as_bytes()).into());
    Ok(circle)
}
