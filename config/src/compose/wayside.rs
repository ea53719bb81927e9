//! The `x-wayside` block: which devices run the workload, what connects to them, and where messages go.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    keys, leaf, route, twin,
    yaml::{Entry, Node, Value},
};
use crate::{
    diagnostic::Problems,
    leaf::Leaf,
    limits::{PRIORITY_MAX, PROBATION_MS, PULL_MAX_BYTES, ROUTES, WINDOWS},
    patch::Properties,
    settings::{DEVICE_NAME_RULE, is_device_name},
    units,
    window::{WINDOW_FORM, Window},
    workload::{Route, Target, Update},
};

/// What the block says.
#[derive(Default)]
pub(super) struct Block {
    pub(super) target: Target,
    pub(super) leaves: BTreeMap<String, Leaf>,
    pub(super) routes: Vec<Route>,
    pub(super) twins: BTreeMap<String, Properties>,
    pub(super) update: Update,
    pub(super) priority: Option<u8>,
}

/// Reads the block. `services` are names that routes may use, beside those of leaves.
pub(super) fn read(node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Block {
    let mut block = Block::default();
    let entries = node.map("x-wayside", problems).unwrap_or_default();
    // Routes may stand before the leaves that they name.
    let leaves = entries.iter().find(|entry| entry.key == "leaves");
    if let Some(Entry { value, .. }) = leaves {
        block.leaves = leaf::read(value, services, problems);
    }
    let names = leaves.and_then(|entry| super::entries(&entry.value)).unwrap_or_default();
    let names = services.iter().copied().chain(names.iter().map(|entry| entry.key.as_str())).collect();
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "target" => block.target = read_target(value, problems),
            "leaves" => {}
            "routes" => block.routes = read_routes(value, &names, &block.leaves, problems),
            "twins" => block.twins = twin::read(value, services, problems),
            "update" => block.update = read_update(value, problems),
            "priority" => {
                let parse = |text: &str| text.parse().ok().filter(|priority| *priority <= PRIORITY_MAX);
                block.priority = value.parsed(key, "0 to 9", problems, parse);
            }
            other => keys::WAYSIDE.refuse(other, key_span, problems),
        }
    }
    block
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

fn read_update(node: &Node, problems: &mut Problems) -> Update {
    const PULL_MAX: &str = "a size of at most 64 GiB such as `300MiB`";
    const EXPECTED: &str = "a duration of at most 1h such as `60s`, or `0s` for none";
    let mut update = Update::default();
    for Entry { key, key_span, value } in node.map("update", problems).unwrap_or_default() {
        match key.as_str() {
            "probation" => {
                let bounded = |text: &str| units::duration_ms(text).filter(|ms| *ms <= PROBATION_MS);
                if let Some(ms) = value.parsed("probation", EXPECTED, problems, bounded) {
                    update.probation_ms = ms;
                }
            }
            "pull_max" => {
                let bounded =
                    |text: &str| units::bytes(text).filter(|max| (1..=PULL_MAX_BYTES).contains(max));
                update.pull_max_bytes = value.parsed("pull_max", PULL_MAX, problems, bounded);
            }
            "windows" => update.windows = read_windows(value, problems),
            other => keys::UPDATE.refuse(other, key_span, problems),
        }
    }
    update
}

fn read_windows(node: &Node, problems: &mut Problems) -> Vec<Window> {
    let items = node.list("windows", problems).unwrap_or_default();
    if items.len() > WINDOWS {
        let message = format!("there are {} windows", items.len());
        problems.error(&node.span, message, format!("at most {WINDOWS} are supported"));
    }
    let read =
        items.iter().map(|item| item.parsed("window", WINDOW_FORM, problems, |text| text.parse().ok()));
    read.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn read_routes(
    node: &Node,
    names: &BTreeSet<&str>,
    leaves: &BTreeMap<String, Leaf>,
    problems: &mut Problems,
) -> Vec<Route> {
    if node.is_null() {
        return Vec::new();
    }
    let entries = node.map("routes", problems).unwrap_or_default();
    if entries.len() > ROUTES {
        let message = format!("the workload has {} routes", entries.len());
        problems.error(&node.span, message, format!("at most {ROUTES} are supported; use wildcards"));
    }
    let routes = entries.iter().filter_map(|entry| {
        let route = route::read(entry, names, problems)?;
        twin::check_route(&route, leaves, &entry.key_span, problems);
        Some(route)
    });
    routes.collect()
}
