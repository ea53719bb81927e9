//! The twins of the `x-wayside` block: what is desired of modules at the beginning, and routes of what they report.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use serde_json::{Map, Value as Json};

use super::yaml::{Entry, Node, Value};
use crate::{
    diagnostic::{Problems, quote},
    leaf::Leaf,
    patch::Properties,
    topic::{self, TWIN_REPORTED},
    workload::{Destination, Route},
};

/// Reads what is desired, by module.
pub(super) fn read(
    node: &Node,
    services: &BTreeSet<&str>,
    problems: &mut Problems,
) -> BTreeMap<String, Properties> {
    let mut twins = BTreeMap::new();
    if node.is_null() {
        return twins;
    }
    for Entry { key, key_span, value } in node.map("twins", problems).unwrap_or_default() {
        if !services.contains(key.as_str()) {
            let names = services.iter().copied().collect::<Vec<_>>().join(", ");
            let help = format!("modules have twins, and leaves have none; there are: {names}");
            problems.error(key_span, format!("no service is named {}", quote(key)), help);
        }
        let Some(members) = value.map(key, problems) else { continue };
        let Some(object) = object(members, problems) else { continue };
        match Properties::try_from(Json::Object(object).to_string()) {
            Ok(properties) => drop(twins.insert(key.clone(), properties)),
            Err(error) => {
                let message = format!("{} is no twin: {error}", quote(key));
                problems.error(key_span, message, "leave out what the module can fetch itself");
            }
        }
    }
    twins
}

/// Refuses routes of `$wayside/` that bring nothing.
pub(super) fn check_route(
    route: &Route,
    leaves: &BTreeMap<String, Leaf>,
    span: &Range<usize>,
    problems: &mut Problems,
) {
    if !route.filter.starts_with("$wayside") {
        return;
    }
    if !topic::matches(&route.filter, TWIN_REPORTED) {
        let message = format!("no message has a topic that {} matches", quote(&route.filter));
        let help = format!("of what begins with `$wayside/`, routes take `MODULE/{TWIN_REPORTED}` alone");
        return problems.error(span, message, help);
    }
    if leaves.contains_key(&route.module) {
        let message = format!("{} is a leaf, and leaves have no twins", quote(&route.module));
        return problems.error(span, message, "begin the route at a module");
    }
    let to = match &route.to {
        Destination::Module(to)
        | Destination::Site(to)
        | Destination::Device { module: to, .. }
        | Destination::Where { module: to, .. } => to,
        Destination::Cloud => return,
    };
    if leaves.contains_key(to) {
        let message = format!("the leaf {} cannot subscribe to {}", quote(to), quote(TWIN_REPORTED));
        problems.error(span, message, "lead the route to a module, which tells the leaf what it needs");
    }
}

fn object(members: &[Entry], problems: &mut Problems) -> Option<Map<String, Json>> {
    let mut object = Some(Map::new());
    for Entry { key, value, .. } in members {
        match (json(key, value, problems), &mut object) {
            (Some(value), Some(object)) => drop(object.insert(key.clone(), value)),
            // All that is wrong is said at once.
            (Some(_) | None, _) => object = None,
        }
    }
    object
}

fn json(key: &str, node: &Node, problems: &mut Problems) -> Option<Json> {
    match &node.value {
        Value::Map(members) => object(members, problems).map(Json::Object),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| json(key, item, problems)).collect();
            items.into_iter().collect()
        }
        Value::Scalar { text, plain: true } if !node.is_null() => match serde_json::from_str(text) {
            Ok(value @ (Json::Bool(_) | Json::Number(_))) => Some(value),
            // YAML reads numbers and booleans that JSON does not.
            _ => node.literal(key, problems).map(Json::String),
        },
        Value::Scalar { .. } => node.text(key, problems).map(Json::String),
    }
}
