//! One route of the `x-wayside` block.

use std::collections::BTreeSet;

use super::{
    NAME_RULE,
    keys::{self, Keys},
    yaml::{Entry, Node, Value},
};
use crate::{
    condition::{self, Condition, Names},
    diagnostic::{Problems, quote},
    limits::{BATCH_MESSAGES, BATCH_WAIT_MS, BUFFER_MAX_BYTES, BUFFER_MIN_BYTES, PRIORITY_MAX},
    settings::is_device_name,
    topic, units,
    workload::{BatchRule, Delivery, Destination, Route, Sample, WhenFull, WhenRemoved, is_name},
};

/// The longest time that a route can name, in milliseconds: ten years.
const LONGEST_MS: u64 = 10 * 366 * 24 * 3_600_000;
const TO_HELP: &str =
    "write `cloud`, `MODULE`, `site/MODULE`, `device/NAME/MODULE` or `{module: MODULE, where: CONDITION}`";

/// Reads a route. `services` are the names that it may use, those of leaves among them.
pub(super) fn read(entry: &Entry, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<Route> {
    let Entry { key: name, key_span: name_span, value } = entry;
    if !is_name(name) {
        let message = format!("{} cannot name a route", quote(name));
        problems.error(name_span, message, format!("write {NAME_RULE}"));
    }
    let (mut from, mut to) = (None, None);
    let mut route = Route::new(name, "", "", Destination::Cloud);
    let entries = value.map(name, problems)?;
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "from" => from = read_from(value, services, problems),
            "to" => to = read_to(value, services, problems),
            "where" => route.condition = read_condition(value, condition::MESSAGE, problems),
            "priority" => {
                let parse = |text: &str| text.parse().ok().filter(|priority| *priority <= PRIORITY_MAX);
                route.priority = value.parsed(key, "0 to 9", problems, parse).unwrap_or(Route::PRIORITY);
            }
            "ttl" => route.ttl_ms = read_time(value, key, LONGEST_MS, problems),
            "delivery" => {
                let expected = "`at-least-once` or `best-effort`";
                route.delivery = value.parsed(key, expected, problems, read_delivery).unwrap_or_default();
            }
            "buffer" => {
                let expected = "a size of 2 MiB to 1 TiB such as `256MiB`";
                let in_bounds = |bytes: &u64| (BUFFER_MIN_BYTES..=BUFFER_MAX_BYTES).contains(bytes);
                let parse = |text: &str| units::bytes(text).filter(in_bounds);
                route.buffer_bytes =
                    value.parsed(key, expected, problems, parse).unwrap_or(Route::BUFFER_BYTES);
            }
            "when_full" => {
                let expected = "`push-back`, `drop-oldest` or `drop-newest`";
                route.when_full = value.parsed(key, expected, problems, read_when_full).unwrap_or_default();
            }
            "batch" => route.batch = read_batch(value, problems),
            "sample" => route.sample = read_sample(value, problems),
            "when_removed" => {
                let parse = |text: &str| match text {
                    "drop" => Some(WhenRemoved::Drop),
                    "drain" => Some(WhenRemoved::Drain),
                    _ => None,
                };
                route.when_removed =
                    value.parsed(key, "`drop` or `drain`", problems, parse).unwrap_or_default();
            }
            other => keys::ROUTE.refuse(other, key_span, problems),
        }
    }
    for wanted in ["from", "to"] {
        if !entries.iter().any(|entry| entry.key == wanted) {
            let help = format!("a route has `from: MODULE/FILTER` and a `to`: {TO_HELP}");
            problems.error(name_span, format!("the route {} has no `{wanted}`", quote(name)), help);
        }
    }
    (route.module, route.filter) = from?;
    route.to = to?;
    refuse_what_is_stored(&route, entries, problems);
    if let (Some(ttl_ms), Some(rule)) = (route.ttl_ms, route.batch)
        && ttl_ms <= rule.within_ms
    {
        let help = "make `ttl` longer than `within`";
        problems.error(name_span, "messages would expire while they wait for their batch", help);
    }
    Some(route)
}

/// What a best-effort route cannot have, for it keeps nothing.
fn refuse_what_is_stored(route: &Route, entries: &[Entry], problems: &mut Problems) {
    if route.delivery != Delivery::BestEffort {
        return;
    }
    for Entry { key, key_span, .. } in entries {
        if matches!(key.as_str(), "ttl" | "buffer" | "when_full" | "batch" | "when_removed" | "priority") {
            let message = format!("{} has no meaning with `delivery: best-effort`", quote(key));
            problems.error(key_span, message, "remove it: a best-effort route keeps nothing");
        }
        if key == "to" && route.to == Destination::Cloud {
            let message = "`delivery: best-effort` does not lead to the cloud";
            problems.error(key_span, message, "remove `delivery`, or lead the route to a module");
        }
    }
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
    if let Value::Map(entries) = &node.value {
        return read_to_where(node, entries, services, problems);
    }
    let text = node.text("to", problems)?;
    if text == "cloud" {
        return Some(Destination::Cloud);
    }
    let (destination, module) = match text.split_once('/') {
        None => (Destination::Module(text.clone()), text.as_str()),
        Some(("site", module)) => (Destination::Site(module.into()), module),
        Some(("device", rest)) => {
            let Some((device, module)) = rest.split_once('/').filter(|(device, _)| is_device_name(device))
            else {
                problems.error(&node.span, format!("{} names no device", quote(&text)), TO_HELP);
                return None;
            };
            (Destination::Device { device: device.into(), module: module.into() }, module)
        }
        Some(_) => {
            problems.error(&node.span, format!("{} is not the end of a route", quote(&text)), TO_HELP);
            return None;
        }
    };
    check_service(module, node, services, problems)?;
    Some(destination)
}

fn read_to_where(
    node: &Node,
    entries: &[Entry],
    services: &BTreeSet<&str>,
    problems: &mut Problems,
) -> Option<Destination> {
    let (mut module, mut condition) = (None, None);
    for Entry { key, key_span, value } in entries {
        match key.as_str() {
            "module" => {
                module = value.text("module", problems);
                check_service(module.as_ref()?, value, services, problems)?;
            }
            "where" => condition = Some(read_condition(value, condition::DEVICE, problems)?),
            other => keys::TO.refuse(other, key_span, problems),
        }
    }
    if module.is_none() || condition.is_none() {
        problems.error(&node.span, "`to` needs `module` and `where`", TO_HELP);
    }
    Some(Destination::Where { condition: condition?, module: module? })
}

fn read_condition(node: &Node, names: Names, problems: &mut Problems) -> Option<Condition> {
    let source = node.text("where", problems)?;
    let condition = Condition::new(&source, names);
    if let Err(error) = &condition {
        problems.error(
            &node.span,
            format!("the condition is refused: {error}"),
            "it is written in CEL, such as `body.celsius > 30.0`; see https://cel.dev",
        );
    }
    condition.ok()
}

fn read_batch(node: &Node, problems: &mut Problems) -> Option<BatchRule> {
    let (mut messages, mut within_ms) = (None, None);
    for Entry { key, key_span, value } in node.map("batch", problems)? {
        match key.as_str() {
            "messages" => {
                let parse = |text: &str| text.parse().ok().filter(|n| (2..=BATCH_MESSAGES).contains(n));
                messages = Some(value.parsed(key, "2 to 1024", problems, parse)?);
            }
            "within" => within_ms = Some(read_time(value, key, BATCH_WAIT_MS, problems)?),
            other => refuse(&keys::BATCH, other, key_span, problems)?,
        }
    }
    let rule = messages.zip(within_ms).map(|(messages, within_ms)| BatchRule { messages, within_ms });
    if rule.is_none() {
        let help = "write `{messages: 100, within: 5s}`: a batch goes when it is full or its first message has waited so long";
        problems.error(&node.span, "`batch` needs `messages` and `within`", help);
    }
    rule
}

fn read_sample(node: &Node, problems: &mut Problems) -> Option<Sample> {
    let mut samples = Vec::new();
    for Entry { key, key_span, value } in node.map("sample", problems)? {
        match key.as_str() {
            "every" => {
                let parse = |text: &str| text.parse().ok().filter(|n| *n >= 2);
                let every = value.parsed(key, "a whole number from 2", problems, parse)?;
                samples.push(Sample::Every(every));
            }
            "interval" => samples.push(Sample::IntervalMs(read_time(value, key, LONGEST_MS, problems)?)),
            other => refuse(&keys::SAMPLE, other, key_span, problems)?,
        }
    }
    if samples.len() != 1 {
        let help =
            "write `{every: 10}` for every tenth message or `{interval: 5s}` for at most one in five seconds";
        problems.error(&node.span, "`sample` needs one of `every` and `interval`", help);
        return None;
    }
    samples.pop()
}

/// Refuses the key, and with it what it stands in.
fn refuse(keys: &Keys, key: &str, span: &std::ops::Range<usize>, problems: &mut Problems) -> Option<()> {
    keys.refuse(key, span, problems);
    None
}

/// A time of 1 ms to `most_ms`.
fn read_time(node: &Node, what: &str, most_ms: u64, problems: &mut Problems) -> Option<u64> {
    let expected = format!("a time of up to {} h such as `90s` or `1h30m`", most_ms / 3_600_000);
    let parse = |text: &str| units::duration_ms(text).filter(|ms| (1..=most_ms).contains(ms));
    node.parsed(what, &expected, problems, parse)
}

fn check_service(name: &str, node: &Node, services: &BTreeSet<&str>, problems: &mut Problems) -> Option<()> {
    if services.contains(name) {
        return Some(());
    }
    let names: Vec<&str> = services.iter().copied().collect();
    let help = keys::closest(name, &names)
        .map_or_else(|| format!("there are: {}", names.join(", ")), |name| format!("did you mean `{name}`?"));
    problems.error(&node.span, format!("no service or leaf is named {}", quote(name)), help);
    None
}

fn read_delivery(text: &str) -> Option<Delivery> {
    match text {
        "at-least-once" => Some(Delivery::AtLeastOnce),
        "best-effort" => Some(Delivery::BestEffort),
        _ => None,
    }
}

fn read_when_full(text: &str) -> Option<WhenFull> {
    match text {
        "push-back" => Some(WhenFull::PushBack),
        "drop-oldest" => Some(WhenFull::DropOldest),
        "drop-newest" => Some(WhenFull::DropNewest),
        _ => None,
    }
}
