//! The leaves of the `x-wayside` block: things without a daemon that connect to a device.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BROKER, NAME_RULE, keys,
    yaml::{Entry, Node},
};
use crate::{
    diagnostic::{Problems, quote},
    leaf::Leaf,
    limits::{GRANTS, LEAVES},
    topic,
    workload::is_name,
};

/// Reads the leaves. `services` are names that are taken.
pub(super) fn read(
    node: &Node,
    services: &BTreeSet<&str>,
    problems: &mut Problems,
) -> BTreeMap<String, Leaf> {
    let mut leaves = BTreeMap::new();
    if node.is_null() {
        return leaves;
    }
    let entries = node.map("leaves", problems).unwrap_or_default();
    if entries.len() > LEAVES {
        let message = format!("the workload has {} leaves", entries.len());
        problems.error(&node.span, message, format!("at most {LEAVES} are supported; split the workload"));
    }
    for Entry { key, key_span, value } in entries {
        if !is_name(key) {
            let message = format!("{} cannot name a leaf", quote(key));
            problems.error(key_span, message, format!("write {NAME_RULE}"));
        } else if services.contains(key.as_str()) {
            let message = format!("{} is a service already", quote(key));
            problems.error(key_span, message, "leaves and services are named apart: choose another");
        } else if key == "cloud" || key == BROKER {
            problems.error(key_span, format!("a leaf cannot be named {}", quote(key)), "choose another");
        }
        leaves.extend(read_leaf(key, value, problems).map(|leaf| (key.clone(), leaf)));
    }
    leaves
}

fn read_leaf(name: &str, node: &Node, problems: &mut Problems) -> Option<Leaf> {
    let mut leaf = Leaf::default();
    let entries = node.map(name, problems)?;
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "password" => {
                let expected = "what `wayside leaf password` prints, which doubles each `$`";
                leaf.password = value.parsed(key, expected, problems, |text| text.parse().ok());
            }
            "certificate" => {
                let expected = "`sha256:` and 64 hexadecimal digits, the certificate's fingerprint";
                leaf.certificate = value.parsed(key, expected, problems, |text| text.parse().ok());
            }
            "publish" => leaf.publish = filters(key, value, problems),
            "subscribe" => leaf.subscribe = filters(key, value, problems),
            other => keys::LEAF.refuse(other, key_span, problems),
        }
    }
    if !entries.iter().any(|entry| matches!(entry.key.as_str(), "password" | "certificate")) {
        let message = format!("the leaf {} has neither `password` nor `certificate`", quote(name));
        problems.error(&node.span, message, "nobody could tell it from others: write one, or both");
    }
    Some(leaf)
}

fn filters(what: &str, node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node.list(what, problems).unwrap_or_default();
    if items.len() > GRANTS {
        let message = format!("{} has {} filters", quote(what), items.len());
        problems.error(&node.span, message, format!("at most {GRANTS} are supported; use wildcards"));
    }
    let is_usable = |text: &str| topic::is_filter(text) && !text.starts_with('$');
    let expected = "an MQTT topic filter that does not begin with `$`";
    items.iter().filter_map(|item| item.text_that(what, expected, problems, is_usable)).collect()
}
