//! The `x-wayside` block: which devices run the workload, and where its messages go.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    NAME_RULE, keys,
    yaml::{Entry, Node, Value},
};
use crate::{
    diagnostic::{Problems, quote},
    limits::{BUFFER_MAX_BYTES, BUFFER_MIN_BYTES, ROUTES},
    settings::{DEVICE_NAME_RULE, is_device_name},
    topic, units,
    workload::{Destination, Route, Target, WhenFull, is_name},
};

const DEFAULT_BUFFER_BYTES: u64 = 256 << 20;

/// Reads the block. `services` are the names that routes may use.
pub(super) fn read(node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> (Target, Vec<Route>) {
    let (mut target, mut routes) = (Target::default(), Vec::new());
    for Entry { key, key_span, value } in node.map("x-wayside", problems).unwrap_or_default() {
        match key.as_str() {
            "target" => target = read_target(value, problems),
            "routes" => routes = read_routes(value, services, problems),
            other => keys::WAYSIDE.refuse(other, key_span, problems),
        }
    }
    (target, routes)
}

fn read_target(node: &Node, problems: &mut Problems) -> Target {
    let mut target = Target::default();
    if let Value::Scalar { .. } = node.value {
        let expected = "`all`, `{devices: [NAME, ...]}` or `{labels: {KEY: VALUE}}`";
        node.text_that("target", expected, problems, |text| text == "all");
        return target;
    }
    let entries = node.map("target", problems).unwrap_or_default();
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "devices" => target.devices = devices(value, problems),
            "labels" => target.labels = labels(value, problems),
            other => keys::TARGET.refuse(other, key_span, problems),
        }
    }
    if entries.is_empty() && matches!(node.value, Value::Map(_)) {
        problems.error(&node.span, "`target` is empty", "write `target: all` for every device");
    }
    target
}

fn devices(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = node.list("devices", problems).unwrap_or_default();
    if items.is_empty() {
        problems.error(&node.span, "`devices` names no device", "write `target: all` for every device");
    }
    let mut names = Vec::new();
    for item in items {
        names.extend(item.text_that("device", DEVICE_NAME_RULE, problems, is_device_name));
    }
    names
}

fn labels(node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let pairs = node.pairs("labels", problems);
    if pairs.is_empty() {
        problems.error(&node.span, "`labels` names no label", "write `target: all` for every device");
    }
    pairs.into_iter().map(|(name, (value, _))| (name, value)).collect()
}

fn read_routes(node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Vec<Route> {
    if node.is_null() {
        return Vec::new();
    }
    let entries = node.map("routes", problems).unwrap_or_default();
    if entries.len() > ROUTES {
        let message = format!("the workload has {} routes", entries.len());
        problems.error(&node.span, message, format!("at most {ROUTES} are supported; use wildcards"));
    }
    entries.iter().filter_map(|entry| read_route(entry, services, problems)).collect()
}

fn read_route(entry: &Entry, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<Route> {
    let Entry { key: name, key_span: name_span, value } = entry;
    if !is_name(name) {
        problems.error(
            name_span,
            format!("{} cannot name a route", quote(name)),
            format!("write {NAME_RULE}"),
        );
    }
    let (mut from, mut to) = (None, None);
    let (mut buffer_bytes, mut when_full) = (DEFAULT_BUFFER_BYTES, WhenFull::default());
    let entries = value.map(name, problems)?;
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "from" => from = read_from(value, services, problems),
            "to" => to = read_to(value, services, problems),
            "buffer" => {
                let expected = "a size of 2 MiB to 1 TiB such as `256MiB`";
                let in_bounds = |bytes: &u64| (BUFFER_MIN_BYTES..=BUFFER_MAX_BYTES).contains(bytes);
                let bytes =
                    value.parsed("buffer", expected, problems, |text| units::bytes(text).filter(in_bounds));
                buffer_bytes = bytes.unwrap_or(buffer_bytes);
            }
            "when_full" => {
                let expected = "`push-back`, `drop-oldest` or `drop-newest`";
                when_full = value.parsed("when_full", expected, problems, read_when_full).unwrap_or_default();
            }
            other => keys::ROUTE.refuse(other, key_span, problems),
        }
    }
    for wanted in ["from", "to"] {
        if !entries.iter().any(|entry| entry.key == wanted) {
            let help = "a route has `from: MODULE/FILTER` and `to: cloud`, `to: MODULE` or `to: site/MODULE`";
            problems.error(name_span, format!("the route {} has no `{wanted}`", quote(name)), help);
        }
    }
    let (module, filter) = from?;
    Some(Route { name: name.clone(), module, filter, to: to?, buffer_bytes, when_full })
}

fn read_from(node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<(String, String)> {
    let text = node.text("from", problems)?;
    let Some((module, filter)) = text.split_once('/') else {
        let message = format!("{} is not the beginning of a route", quote(&text));
        problems.error(
            &node.span,
            message,
            "write `MODULE/FILTER`, such as `sensor/observations` or `sensor/#`",
        );
        return None;
    };
    check_service(module, node, services, problems)?;
    if !topic::is_filter(filter) {
        let message = format!("{} is not an MQTT topic filter", quote(filter));
        problems.error(&node.span, message, "`+` stands alone in its level, `#` alone in the last one");
        return None;
    }
    Some((module.to_owned(), filter.to_owned()))
}

fn read_to(node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<Destination> {
    let text = node.text("to", problems)?;
    if text == "cloud" {
        return Some(Destination::Cloud);
    }
    let (module, destination): (&str, fn(String) -> Destination) = match text.strip_prefix("site/") {
        Some(module) => (module, Destination::Site),
        None => (text.as_str(), Destination::Module),
    };
    check_service(module, node, services, problems)?;
    Some(destination(module.to_owned()))
}

fn check_service(name: &str, node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<()> {
    if services.contains(name) {
        return Some(());
    }
    let names: Vec<&str> = services.iter().copied().collect();
    let help = keys::closest(name, &names).map_or_else(
        || format!("the services are: {}", names.join(", ")),
        |name| format!("did you mean `{name}`?"),
    );
    problems.error(&node.span, format!("no service is named {}", quote(name)), help);
    None
}

fn read_when_full(text: &str) -> Option<WhenFull> {
    match text {
        "push-back" => Some(WhenFull::PushBack),
        "drop-oldest" => Some(WhenFull::DropOldest),
        "drop-newest" => Some(WhenFull::DropNewest),
        _ => None,
    }
}
