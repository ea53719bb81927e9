//! `depends_on`: what has to be there before a service is started. Modules start in this order, and are stopped in the
//! opposite one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    keys,
    yaml::{Entry, Node, Value},
};
use crate::{
    diagnostic::{Problems, quote},
    workload::{Condition, Dependency, ModuleSpec, Restart},
};

/// Reads one service's list or mapping.
pub(super) fn read(node: &Node, problems: &mut Problems) -> BTreeMap<String, Dependency> {
    let mut dependencies = BTreeMap::new();
    if let Value::List(items) = &node.value {
        for item in items {
            let Some(name) = item.text("depends_on", problems) else { continue };
            if dependencies.insert(name.clone(), Dependency::default()).is_some() {
                problems.error(&item.span, format!("{} comes twice", quote(&name)), "keep one of them");
            }
        }
        return dependencies;
    }
    for Entry { key, value, .. } in node.map("depends_on", problems).unwrap_or_default() {
        dependencies.insert(key.clone(), long(key, value, problems));
    }
    dependencies
}

fn long(name: &str, node: &Node, problems: &mut Problems) -> Dependency {
    const CONDITIONS: &str = "`service_started`, `service_healthy` or `service_completed_successfully`";
    let mut dependency = Dependency::default();
    let mut has_condition = false;
    for Entry { key, key_span, value } in node.map(name, problems).unwrap_or_default() {
        match key.as_str() {
            "condition" => {
                has_condition = true;
                if let Some(condition) = value.parsed("condition", CONDITIONS, problems, condition) {
                    dependency.condition = condition;
                }
            }
            "restart" => dependency.restart = value.boolean("restart", problems).unwrap_or_default(),
            "required" => dependency.required = value.boolean("required", problems).unwrap_or(true),
            other => keys::DEPENDENCY.refuse(other, key_span, problems),
        }
    }
    if !has_condition {
        let message = format!("{} has no `condition`", quote(name));
        problems.error(&node.span, message, format!("write {CONDITIONS}"));
    }
    dependency
}

fn condition(text: &str) -> Option<Condition> {
    match text {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::Completed),
        _ => None,
    }
}

/// Checks what all services depend on, once they are known. `services` is the mapping of the file.
pub(super) fn check(services: &[Entry], modules: &mut BTreeMap<String, ModuleSpec>, problems: &mut Problems) {
    for Entry { key, value, .. } in services {
        let Some(node) =
            super::entries(value).and_then(|entries| entries.iter().find(|e| e.key == "depends_on"))
        else {
            continue;
        };
        check_names(key, &node.key_span, modules, problems);
        if let Some(way) = way_back(key, modules) {
            let message = format!("{} depends on itself: {}", quote(key), way.join(" -> "));
            problems.error(&node.key_span, message, "remove one of these from its `depends_on`");
        }
    }
    // What is not required and not there is nothing to wait for.
    let names: BTreeSet<String> = modules.keys().cloned().collect();
    for spec in modules.values_mut() {
        spec.depends_on.retain(|name, _| names.contains(name));
    }
}

fn check_names(
    service: &str,
    span: &Range<usize>,
    modules: &BTreeMap<String, ModuleSpec>,
    problems: &mut Problems,
) {
    let Some(spec) = modules.get(service) else { return };
    for (name, dependency) in &spec.depends_on {
        let Some(other) = modules.get(name) else {
            if dependency.required {
                let message =
                    format!("{} depends on {}, and no service is named so", quote(service), quote(name));
                let names = modules.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                problems.error(span, message, format!("write one of: {names}; or `required: false`"));
            }
            continue;
        };
        let is_started_again = matches!(other.restart, Restart::Always | Restart::UnlessStopped);
        if dependency.condition == Condition::Completed && is_started_again {
            let message = format!("{} never ends: it is started again whenever it does", quote(name));
            problems.error(
                span,
                message,
                format!("write `restart: \"no\"` or `on-failure` in {}", quote(name)),
            );
        }
        let is_unchecked = other.healthcheck.as_ref().is_some_and(|check| check.is_none());
        if dependency.condition == Condition::Healthy && is_unchecked {
            let message = format!("{} is never healthy: its health check is disabled", quote(name));
            problems.error(span, message, "write a `healthcheck`, or another `condition`");
        }
    }
}

/// A way from a service to itself.
fn way_back(service: &str, modules: &BTreeMap<String, ModuleSpec>) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![service.to_owned()]];
    while let Some(way) = ways.pop() {
        let spec = modules.get(way.last()?);
        for next in spec.into_iter().flat_map(|spec| spec.depends_on.keys()) {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == service {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}
