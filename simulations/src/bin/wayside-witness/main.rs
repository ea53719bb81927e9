//! The program `wayside-witness`: publishes and subscribes at QoS 2 through a broker that is killed again and again, and
//! tells whether anything that was acknowledged is lost, doubled or out of order.

mod packet;
mod publisher;
mod subscriber;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

/// Publishes numbered messages at QoS 2 with a session that lasts, and takes them at QoS 2 with another one. Whenever the
/// connection breaks it connects again and goes on where MQTT 3.1.1 says.
#[derive(Parser)]
#[command(
    version,
    after_help = "It ends when the file of --until is there and everything that was acknowledged has arrived, or nothing
arrives any more, and prints one JSON object: acknowledged, arrived, lost, doubled, misordered, connections.

Exit codes: 0 nothing lost, doubled or out of order, 1 something is, or the broker refuses, 2 usage."
)]
struct Options {
    /// Where the broker listens.
    #[arg(long)]
    address: SocketAddr,
    /// User name of the client that publishes.
    #[arg(long)]
    publisher: String,
    /// User name of the client that subscribes.
    #[arg(long)]
    subscriber: String,
    /// Of both.
    #[arg(long)]
    password: String,
    /// What is published to.
    #[arg(long)]
    topic: String,
    /// Ends when this file is there.
    #[arg(long, value_name = "FILE")]
    until: PathBuf,
    /// Messages a second.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// After the end was asked for, how many seconds to wait for what is under way.
    #[arg(long, default_value_t = 60)]
    patience: u64,
}

/// What both clients know.
struct Shared {
    address: SocketAddr,
    /// Messages that the broker has acknowledged, from the first on.
    acknowledged: AtomicU64,
    connections: AtomicU64,
    /// 0: go on; 1: publish nothing new; 2: end.
    ending: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.ending.load(Ordering::Relaxed) > 1
    }
}

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<bool> {
    let shared = Arc::new(Shared {
        address: options.address,
        acknowledged: AtomicU64::new(0),
        connections: AtomicU64::new(0),
        ending: AtomicU64::new(0),
    });
    let seen = Arc::new(subscriber::Seen::default());
    let subscriber = {
        let (shared, seen) = (Arc::clone(&shared), Arc::clone(&seen));
        let (user, password, topic) = (options.subscriber, options.password.clone(), options.topic.clone());
        thread::spawn(move || subscriber::run(&shared, &seen, &user, &password, &topic))
    };
    // What is published before somebody subscribes waits for the subscriber; it must be known first.
    let begun = Instant::now();
    while !seen.is_subscribed() {
        if subscriber.is_finished() || begun.elapsed() > Duration::from_secs(options.patience) {
            bail!("nobody could subscribe");
        }
        thread::sleep(AGAIN);
    }
    let publisher = {
        let (shared, user) = (Arc::clone(&shared), options.publisher);
        let (password, topic, rate) = (options.password, options.topic, options.rate);
        thread::spawn(move || publisher::run(&shared, &user, &password, &topic, rate))
    };
    while !options.until.exists() {
        if publisher.is_finished() || subscriber.is_finished() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    shared.ending.store(1, Ordering::Relaxed);
    let asked = Instant::now();
    let patience = Duration::from_secs(options.patience);
    while !(publisher.is_finished() && seen.arrived() >= shared.acknowledged.load(Ordering::Relaxed))
        && asked.elapsed() < patience
    {
        thread::sleep(Duration::from_millis(20));
    }
    // Something that should not come might still do.
    thread::sleep(Duration::from_millis(500));
    shared.ending.store(2, Ordering::Relaxed);
    let ends = [publisher, subscriber].map(thread::JoinHandle::join);
    for end in ends {
        end.map_err(|_| anyhow::anyhow!("a client panicked"))?.context("a client gave up")?;
    }
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    let (arrived, doubled, misordered) = (seen.arrived(), seen.doubled(), seen.misordered());
    let lost = seen.missing(acknowledged);
    println!(
        "{}",
        json!({
            "acknowledged": acknowledged,
            "arrived": arrived,
            "lost": lost,
            "doubled": doubled,
            "misordered": misordered,
            "connections": shared.connections.load(Ordering::Relaxed),
        })
    );
    Ok(lost + doubled + misordered == 0 && acknowledged > 0)
}
