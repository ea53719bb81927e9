//! The parts of a device's status, in words.

use wayside_actors::{
    device::membership::Role,
    report::{ClockOffset, System},
};
use wayside_config::{identity::PublicKey, window::utc_minute};

use super::super::output::bytes;
use crate::control::{CloudStatus, FleetStatus, LockStatus, MeshStatus, MqttStatus, StoreStatus};

/// What clients did that they may not do shows one that is set up wrongly, or a stranger.
pub(super) fn describe_mqtt(mqtt: &MqttStatus) -> String {
    let counted = &mqtt.counted;
    let mut text = format!("{} client(s)", counted.clients);
    for (count, what) in [
        (counted.denied_publishes, "publishes outside their topics"),
        (counted.denied_subscriptions, "subscriptions outside their topics"),
        (counted.wrong_passwords, "wrong passwords"),
        (counted.malformed, "malformed"),
        (counted.too_large, "too large"),
        (counted.silent, "silent"),
        (counted.not_reading, "not reading"),
        (counted.turned_away, "too many"),
        (counted.discarded, "messages above a client's limit"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

pub(super) fn describe_leaves(mqtt: &MqttStatus) -> String {
    let certificate = mqtt.certificate.map_or(String::new(), |certificate| format!(" ({certificate})"));
    if mqtt.leaves.is_empty() { String::new() } else { mqtt.leaves.join(", ") + &certificate }
}

pub(super) fn describe_store(store: &StoreStatus) -> String {
    let StoreStatus { bytes: used, max_bytes, segments, damages, commits: _ } = store;
    let damage = if *damages > 0 { format!(", {damages} damaged") } else { String::new() };
    format!("{} of {} in {segments} segment(s){damage}", bytes(*used), bytes(*max_bytes))
}

pub(super) fn describe_fleet(fleet: Option<&FleetStatus>) -> String {
    let Some(FleetStatus { id, root, operators }) = fleet else {
        return "that of the first operator who applies something".into();
    };
    let obeys: Vec<String> = operators.iter().map(PublicKey::short).collect();
    match (root, obeys.is_empty()) {
        (0, true) => format!("{}, whose roots have not come yet", id.short()),
        (0, false) => format!("{}, obeys {}", id.short(), obeys.join(", ")),
        _ => format!("{}, root {root}, obeys {}", id.short(), obeys.join(", ")),
    }
}

pub(super) fn describe_cloud(cloud: &CloudStatus) -> String {
    format!("{} ({})", cloud.address, if cloud.connected { "connected" } else { "not connected" })
}

pub(super) fn describe_addresses(mesh: &MeshStatus) -> String {
    let addresses: Vec<String> = mesh.addresses.iter().map(ToString::to_string).collect();
    match (mesh.role, addresses.is_empty()) {
        (Role::Client, _) => "through a router of the site".into(),
        (Role::Peer | Role::Router, true) => "not open".into(),
        (Role::Router, false) => format!("{}, routing for others", addresses.join(", ")),
        (Role::Peer, false) => addresses.join(", "),
    }
}

/// What was not sent or taken comes again: it shows a link or a device that is too slow.
pub(super) fn describe_traffic(mesh: &MeshStatus) -> String {
    let MeshStatus { sent, received, send_dropped, receive_dropped, malformed, lobby_dropped, .. } = mesh;
    let mut text = format!("{sent} sent, {received} received");
    for (count, what) in [
        (send_dropped, "not sent"),
        (receive_dropped, "not taken"),
        (malformed, "malformed"),
        (lobby_dropped, "hellos not heard"),
    ] {
        if *count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

pub(super) fn describe_disk(system: &System) -> String {
    format!("{} of {} free", bytes(system.disk_free_bytes), bytes(system.disk_bytes))
}

pub(super) fn describe_memory(system: &System) -> String {
    format!("{} of {} free", bytes(system.memory_free_bytes), bytes(system.memory_bytes))
}

pub(super) fn describe_load(system: &System) -> String {
    format!("{:.2} on {} core(s)", f64::from(system.load_millis) / 1000.0, system.cores)
}

/// Below a second the sign says more about the link than about the clock.
pub(super) fn describe_clock(clock: &ClockOffset) -> String {
    let ClockOffset { ahead_ms, error_ms } = clock;
    let away_ms = ahead_ms.unsigned_abs();
    let side = if *ahead_ms > 0 { "behind" } else { "ahead of" };
    if away_ms <= *error_ms {
        format!("with the cloud's, within {error_ms} ms")
    } else {
        format!("{away_ms} ms {side} the cloud's, give or take {error_ms} ms")
    }
}

/// `3.5 %` of one core.
pub(super) fn describe_cpu(cpu_millis: Option<u32>) -> String {
    cpu_millis.map_or_else(String::new, |millis| format!("{:.1} %", f64::from(millis) / 10.0))
}

pub(in crate::cli) fn describe_lock(lock: &LockStatus) -> String {
    let LockStatus { owner, until_ms, reason } = lock;
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("by {owner} until {}{reason}", utc_minute(*until_ms))
}
