//! The program `wayside-load`: publishes and subscribes at a broker as fast as it can, or at a rate, and counts.

mod latency;
mod packet;
mod publisher;
mod subscriber;

use std::{net::SocketAddr, process::ExitCode, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

use crate::{publisher::Publisher, subscriber::Subscriber};

/// Sends numbered messages through an MQTT 3.1.1 broker and checks that all come out, each once and in order.
///
/// Publishers share the messages evenly; every subscriber is to get all of them. A client is one thread with one
/// connection, and writes and reads bytes with little ado, so that it is the broker that is measured.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example, mosquitto at its usual port without passwords:
  wayside-load --publisher ::bench --subscriber ::bench --qos 1 --messages 100000

Prints one JSON object: messages, seconds from the first publish to the last arrival, messages per second, and the
time from publish to arrival in milliseconds (p50, p99); with --qos 0 also how many were lost.

Exit codes: 0 all came once and in order (QoS 0: what came did), 1 something is missing, doubled or out of
order, or a connection broke, 2 usage."
)]
struct Options {
    /// Where the broker listens.
    #[arg(long, default_value = "127.0.0.1:1883")]
    address: SocketAddr,
    /// USER:PASSWORD:TOPIC of a client that publishes; user and password may be empty. May be repeated.
    #[arg(long = "publisher", required = true)]
    publishers: Vec<Client>,
    /// USER:PASSWORD:FILTER of a client that subscribes. May be repeated.
    #[arg(long = "subscriber", required = true)]
    subscribers: Vec<Client>,
    /// Of publishes and subscriptions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// How many, over all publishers.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    size: u32,
    /// Publishes of one publisher that are sent and not acknowledged, at most.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    window: u16,
    /// Messages a second over all publishers; 0 for as fast as acknowledgements allow.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// After this many seconds without a message a run ends as it is.
    #[arg(long, default_value_t = 10)]
    patience: u64,
}

/// Who a client is and what it publishes to, or subscribes to.
#[derive(Clone, Debug)]
struct Client {
    user: String,
    password: String,
    topic: String,
}

impl FromStr for Client {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(user), Some(password), Some(topic)) if !topic.is_empty() => {
                Ok(Self { user, password, topic })
            }
            _ => Err("expected USER:PASSWORD:TOPIC".into()),
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let count = options.publishers.len() as u64;
    if !options.messages.is_multiple_of(count) {
        bail!("{} messages cannot be shared evenly by {count} publishers", options.messages);
    }
    let (share, patience) = (options.messages / count, Duration::from_secs(options.patience));
    let mut subscribers = Vec::new();
    for (number, client) in options.subscribers.iter().enumerate() {
        let subscriber = Subscriber::connect(options.address, number, client, options.qos, patience)
            .with_context(|| format!("subscriber {number}"))?;
        subscribers.push(subscriber.start(count, share));
    }
    let mut publishers = Vec::new();
    for (number, client) in options.publishers.iter().enumerate() {
        let publisher = Publisher::connect(options.address, number, client, options, share)
            .with_context(|| format!("publisher {number}"))?;
        publishers.push(publisher.start());
    }
    let mut begun = None;
    for publisher in publishers {
        let first = publisher.join().map_err(|_| anyhow::anyhow!("a publisher panicked"))??;
        begun = Some(begun.map_or(first, |begun: std::time::Instant| begun.min(first)));
    }
    let begun = begun.context("no publisher")?;
    let (mut is_whole, mut results, mut latencies) = (true, Vec::new(), Vec::new());
    for subscriber in subscribers {
        let got = subscriber.join().map_err(|_| anyhow::anyhow!("a subscriber panicked"))??;
        let lost = options.messages - got.distinct;
        is_whole &= got.doubled == 0 && got.misordered == 0 && (options.qos == 0 || lost == 0);
        let seconds = got.last.map_or(0.0, |last| last.duration_since(begun).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = if seconds > 0.0 { got.distinct as f64 / seconds } else { 0.0 };
        results.push((rate, seconds, lost, got.doubled, got.misordered));
        latencies.extend(got.latencies_us);
    }
    // The slowest subscriber counts.
    let (rate, seconds, ..) = results.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).context("nobody")?;
    let sum = |part: fn(&(f64, f64, u64, u64, u64)) -> u64| results.iter().map(part).sum::<u64>();
    let [p50, p99] = latency::percentiles(&mut latencies, [50, 99]);
    println!(
        "{}",
        json!({
            "messages": options.messages,
            "seconds": round(seconds),
            "msgs_s": rate.round(),
            "p50_ms": p50,
            "p99_ms": p99,
            "lost": sum(|got| got.2),
            "doubled": sum(|got| got.3),
            "misordered": sum(|got| got.4),
        })
    );
    Ok(is_whole)
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
