//! MQTT in, MQTT out through one daemon, beside mosquitto with persistence, with the same clients on the same machine.
//!
//! At QoS 1 the daemon has every message on its disk, synced, before it acknowledges; mosquitto has it in memory and
//! writes its file now and then.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::{
    alone::{Alone, LEAVES, PASSWORD},
    build::Binaries,
    command::{capture, run_within, wait},
    ensure::program,
    wait::until_true,
};

use super::{Figure, median, round};

/// Each broker's, alternating, so that both see the same machine.
const RUNS: usize = 5;
const MESSAGES: &str = "200000";
/// Messages and rate of the runs that measure latency: far below what either bears.
const FEW: &str = "10000";
const SLOWLY: &str = "2000";
const BROKER: &str = "127.0.0.1:1885";
const LIMIT: Duration = Duration::from_secs(600);

/// The figures that this measures.
pub(super) const NAMES: [&str; 4] =
    ["mqtt_qos1_durable", "mqtt_qos0", "mqtt_qos1_p99_ms", "mqtt_qos0_p99_ms"];

/// Mosquitto, stopped when dropped.
struct Mosquitto(Child);

pub(super) fn measure(binaries: &Binaries) -> Result<Vec<Figure>> {
    program("mosquitto", &["mosquitto"])?;
    let alone = Alone::start(binaries)?;
    alone.apply(&[
        "stored: { from: pub/stored, to: sub }",
        "live: { from: pub/live, to: sub, delivery: best-effort }",
    ])?;
    let _mosquitto = Mosquitto::start(&alone)?;
    let load = Load { alone: &alone, binaries };
    let mut figures = Vec::new();
    for (qos, topic, rate, latency) in [
        ("1", "stored", "mqtt_qos1_durable", "mqtt_qos1_p99_ms"),
        ("0", "live", "mqtt_qos0", "mqtt_qos0_p99_ms"),
    ] {
        let (mut ours, mut theirs) = (Runs::default(), Runs::default());
        // The first of each only warms up.
        for run in 0..=RUNS {
            let full = ["--qos", qos, "--messages", MESSAGES];
            let slow = ["--qos", qos, "--messages", FEW, "--rate", SLOWLY];
            let (our, their) = (load.ours(topic, &full)?, load.theirs(&full)?);
            let (our_slow, their_slow) = (load.ours(topic, &slow)?, load.theirs(&slow)?);
            if run > 0 {
                ours.add(&our, &our_slow)?;
                theirs.add(&their, &their_slow)?;
            }
        }
        figures.push(beside(rate, &ours.rates, &theirs.rates, "mosquitto (msg/s)", ""));
        let p99 = beside(latency, &ours.p99_ms, &theirs.p99_ms, "mosquitto (ms)", "ms");
        figures.push(Figure { value: round(median(&ours.p99_ms)), ..p99 });
    }
    Ok(figures)
}

/// The ratio of two medians.
fn beside(
    name: &'static str,
    ours: &[f64],
    theirs: &[f64],
    peer: &'static str,
    unit: &'static str,
) -> Figure {
    let ratio = round(median(ours) / median(theirs));
    let peer_value = Some(round(median(theirs)));
    Figure { name, value: ratio, unit, peer: Some(peer), peer_value, ratio: Some(ratio), runs: ours.len() }
}

#[derive(Default)]
struct Runs {
    rates: Vec<f64>,
    p99_ms: Vec<f64>,
}

impl Runs {
    fn add(&mut self, full: &Value, slow: &Value) -> Result<()> {
        self.rates.push(full["msgs_s"].as_f64().context("no rate")?);
        self.p99_ms.push(slow["p99_ms"].as_f64().context("no latency")?);
        Ok(())
    }
}

struct Load<'a> {
    alone: &'a Alone,
    binaries: &'a Binaries,
}

impl Load<'_> {
    fn ours(&self, topic: &str, arguments: &[&str]) -> Result<Value> {
        let publisher = format!("bench/pub:{PASSWORD}:{topic}");
        let subscriber = format!("bench/sub:{PASSWORD}:{topic}");
        self.run(LEAVES, &publisher, &subscriber, arguments)
    }

    fn theirs(&self, arguments: &[&str]) -> Result<Value> {
        self.run(BROKER, "::bench", "::bench", arguments)
    }

    fn run(&self, address: &str, publisher: &str, subscriber: &str, arguments: &[&str]) -> Result<Value> {
        let mut command = self.alone.namespace().command(self.binaries.path("wayside-load"));
        command.args(["--address", address, "--publisher", publisher, "--subscriber", subscriber]);
        // A run that lost or doubled anything at QoS 1 is an error and no figure.
        let said = run_within(command.args(arguments), LIMIT)?;
        eprintln!("{address} {}: {said}", arguments.join(" "));
        serde_json::from_str(&said).context(said)
    }
}

impl Mosquitto {
    fn start(alone: &Alone) -> Result<Self> {
        let folder = alone.folder().join("mosquitto");
        fs::create_dir(&folder)?;
        // It gives up being root, and writes here then.
        fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
        fs::set_permissions(alone.folder(), Permissions::from_mode(0o755))?;
        let settings = format!(
            "listener 1885 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nmax_queued_messages 0\n",
            folder.display()
        );
        let file = folder.join("mosquitto.conf");
        fs::write(&file, settings)?;
        let mut command = alone.namespace().command("mosquitto");
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mosquitto = Self(command.spawn()?);
        until_true("mosquitto to listen", Duration::from_secs(20), || {
            let mut look = alone.namespace().command("bash");
            look.args(["-c", &format!("exec 3<>/dev/tcp/{}", BROKER.replace(':', "/"))]);
            Ok(capture(&mut look)?.code == 0)
        })?;
        Ok(mosquitto)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let stopped =
            self.0.kill().map_err(Into::into).and_then(|()| wait(&mut self.0, Duration::from_secs(10)));
        if let Err(error) = stopped {
            eprintln!("mosquitto may still run: {error:#}");
        }
    }
}
