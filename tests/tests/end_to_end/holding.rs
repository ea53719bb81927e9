//! An update is held back by a module that must not be interrupted, by an operator, and outside of maintenance windows.

use std::{
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use rumqttc::{Client, Event, Packet, QoS};
use wayside_tests::{cloud::Cloud, device::Device, lab::Lab, wait::until};

use crate::{
    calls::{probe, running},
    mqtt::options,
    policy::set_up,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes as `probe/source`, and waits until that is acknowledged.
fn say(device: &Device, text: &str) -> Result<()> {
    let (client, mut connection) = Client::new(options(device, &device.module("probe/source")?)?, 10);
    client.publish("$wayside/lock", QoS::AtLeastOnce, false, text)?;
    let (told, taken) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let is_taken = |event| matches!(event, Ok(Event::Incoming(Packet::PubAck(_))));
        // Nobody listens any more when this test has waited for too long.
        let _ = told.send(connection.iter().any(is_taken));
    });
    let is_taken = taken.recv_timeout(Duration::from_secs(30)).context("no acknowledgement")?;
    ensure!(is_taken, "the connection ended without an acknowledgement");
    Ok(())
}

/// Applies the probe with another `idle`, and waits until the device says `words` of it.
fn apply(lab: &Lab, cloud: &Cloud, release: &str, more: &[&str]) -> Result<()> {
    let file =
        lab.compose("probe", &probe().replace("STATION: EWR", &format!("STATION: EWR, RELEASE: {release}")))?;
    lab.operator().at(cloud, &[&["apply", "--no-wait", &file], more].concat()).map(drop)
}

fn wait_held(device: &Device, words: &str) -> Result<()> {
    until(&format!("the update to wait, with `{words}`"), PATIENCE, || {
        let status = device.status()?;
        ensure!(status["versions"]["probe"]["problem"].to_string().contains(words), "{status}");
        ensure!(
            !device.module("probe/idle")?["Config"]["Env"].to_string().contains("RELEASE"),
            "it was begun"
        );
        Ok(Some(()))
    })
}

fn wait_begun(device: &Device, release: &str) -> Result<()> {
    until(&format!("release {release} to run"), PATIENCE, || {
        let container = device.module("probe/idle")?;
        let is_new = container["Config"]["Env"].to_string().contains(&format!("RELEASE={release}"));
        Ok((is_new && container["State"]["Running"] == true).then_some(()))
    })
}

#[test]
fn an_update_waits_for_the_locks_of_a_module_and_of_an_operator() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    say(&device, "1h the press is closed")?;
    let status = device.status()?;
    assert_eq!(
        (&status["locks"][0]["owner"], &status["locks"][0]["reason"]),
        (&"probe/source".into(), &"the press is closed".into())
    );
    // An operator who wants it now knows nothing of the press.
    apply(&lab, &cloud, "r2", &["--now"])?;
    wait_held(&device, "is ready and waits: probe/source holds updates back until")?;
    // That it waits is no problem.
    let problems = device.status()?["problems"].to_string();
    ensure!(!problems.contains("holds updates back"), "{problems}");
    device.signal("KILL")?;
    device.start_again()?;
    device.wait_up()?;
    wait_held(&device, "probe/source holds updates back until")?;

    let held = device.wayside(&["lock", "--for", "2h", "--reason", "a shift"])?;
    ensure!(held.contains("by operator until") && held.contains("by probe/source until"), "{held}");
    say(&device, "")?;
    wait_held(&device, "operator holds updates back until")?;
    let free = device.wayside(&["unlock"])?;
    ensure!(free.contains("nobody holds updates back"), "{free}");
    wait_begun(&device, "r2")
}

#[test]
fn an_update_waits_for_the_devices_maintenance_window_unless_an_operator_wants_it_now() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    // The Unix epoch began on a Thursday; three days from now no test still runs.
    let day = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][(days as usize + 3) % 7];
    set_up(&lab, &device, &format!("[updates]\nwindows = ['{day} 02:00-03:00']\n"))?;
    apply(&lab, &cloud, "r2", &[])?;
    wait_held(&device, "is ready and waits: the next maintenance window opens at")?;
    apply(&lab, &cloud, "r3", &["--now"])?;
    wait_begun(&device, "r3")
}
