//! The store and the MQTT listener of a device, in words.

use super::super::output::bytes;
use crate::control::{MqttStatus, StoreStatus};

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
