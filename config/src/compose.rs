//! Reads a Compose file with an `x-wayside` block; refuses by name, file and line what it does not support.
//!
//! All findings of a file are reported at once. What passes means the same to `docker compose` on a
//! laptop and to Wayside on a device; what would not is refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    diagnostic::{Problems, Report, quote},
    limits::{COMPOSE_BYTES, MODULES},
    workload::{ModuleSpec, Workload, is_name},
};

mod depends;
mod health;
mod keys;
mod leaf;
mod ports;
mod privileges;
mod route;
mod secret;
mod service;
#[cfg(test)]
mod tests;
mod twin;
mod value;
mod wayside;
mod words;
mod yaml;

pub(crate) use keys::closest;
use yaml::{Entry, Node};

/// Reads the text of a Compose file. `file_name` is what the findings call it. Gives the workload
/// and the warnings.
///
/// # Errors
/// A report of everything that is wrong.
pub fn parse(file_name: &str, text: &str) -> Result<(Workload, Report), Report> {
    parse_in_folder("", file_name, text)
}

/// [`parse`] for a file in a folder, whose name the workload has where the file gives none: as in Compose.
///
/// # Errors
/// As [`parse`].
pub fn parse_in_folder(folder: &str, file_name: &str, text: &str) -> Result<(Workload, Report), Report> {
    let mut problems = Problems::default();
    if text.len() > COMPOSE_BYTES {
        let message = format!("the file has {} bytes, more than the limit of {COMPOSE_BYTES}", text.len());
        problems.error(&(0..0), message, "split the workload");
        return Err(problems.into_report(file_name, ""));
    }
    let workload = yaml::parse(text, &mut problems).and_then(|root| read(&root, folder, &mut problems));
    match workload {
        Some(mut workload) if !problems.has_errors() => {
            for spec in workload.modules.values_mut() {
                privileges::number_lines(&mut spec.privileges, text);
            }
            Ok((workload, problems.into_report(file_name, text)))
        }
        Some(_) | None => {
            if !problems.has_errors() {
                problems.error(
                    &(0..0),
                    "the file is empty",
                    "write a Compose file with `name` and `services`",
                );
            }
            Err(problems.into_report(file_name, text))
        }
    }
}

/// What the top of a file holds, until all of it has been seen.
#[derive(Default)]
struct Top<'a> {
    name: Option<String>,
    has_name: bool,
    services: Option<&'a Entry>,
    names: service::Names,
    wayside: Option<&'a Entry>,
}

/// `None` only after an error was reported.
fn read(root: &Node, folder: &str, problems: &mut Problems) -> Option<Workload> {
    if root.is_null() {
        return None;
    }
    let mut top = Top::default();
    for entry in root.map("the file", problems)? {
        top.read(entry, problems);
    }
    if !top.has_name && is_name(folder) {
        top.name = Some(folder.to_owned());
    } else if !top.has_name {
        problems.error(&(0..0), "the workload has no `name`", "add `name: ...` at the top of the file");
    }
    let modules = top.modules(problems);
    let names: BTreeSet<&str> = top
        .services
        .and_then(|entry| entries(&entry.value))
        .unwrap_or_default()
        .iter()
        .map(|e| e.key.as_str())
        .collect();
    let block = match top.wayside {
        Some(entry) => wayside::read(&entry.value, &names, problems),
        None => {
            let help =
                "add `x-wayside:` with `target` and `routes`, or `target: all` to say that this is meant";
            problems.warning(&(0..0), "no `x-wayside` block: every device runs this workload", help);
            wayside::Block::default()
        }
    };
    let wayside::Block { target, leaves, routes, twins, update, priority } = block;
    let priority = priority.unwrap_or(Workload::PRIORITY);
    if let Some(entry) = top.services
        && entries(&entry.value).is_some_and(<[Entry]>::is_empty)
        && leaves.is_empty()
    {
        let help = "write a service; only a workload with leaves under `x-wayside` may do without";
        problems.error(&entry.key_span, "`services` has 0 entries", help);
    }
    Some(Workload { name: top.name?, target, modules, leaves, routes, twins, update, priority })
}

impl<'a> Top<'a> {
    fn read(&mut self, entry: &'a Entry, problems: &mut Problems) {
        let Entry { key, key_span, value } = entry;
        match key.as_str() {
            "name" => {
                self.has_name = true;
                self.name = value.text_that("name", NAME_RULE, problems, is_name);
            }
            "services" => self.services = Some(entry),
            "volumes" => self.names.volumes = volumes(value, problems),
            "secrets" => self.names.secrets = secret::declared(value, problems),
            "x-wayside" => self.wayside = Some(entry),
            "version" => {
                problems.warning(key_span, "`version` has no meaning any more", "remove it");
            }
            extension if extension.starts_with("x-") => {
                if keys::closest(extension, &["x-wayside"]).is_some() {
                    let message = format!("{} is ignored, as Compose ignores extensions", quote(extension));
                    problems.warning(key_span, message, "did you mean `x-wayside`?");
                }
            }
            other => keys::TOP.refuse(other, key_span, problems),
        }
    }

    fn modules(&self, problems: &mut Problems) -> BTreeMap<String, ModuleSpec> {
        let Some(entry) = self.services else {
            problems.error(&(0..0), "the workload has no `services`", "add at least one service");
            return BTreeMap::new();
        };
        let Some(services) = entry.value.map("services", problems) else { return BTreeMap::new() };
        if services.len() > MODULES {
            let message = format!("`services` has {} entries", services.len());
            problems.error(&entry.key_span, message, format!("write at most {MODULES} services"));
        }
        let mut modules = BTreeMap::new();
        for Entry { key, key_span, value } in services {
            if !is_name(key) {
                problems.error(
                    key_span,
                    format!("{} cannot name a service", quote(key)),
                    format!("write {NAME_RULE}"),
                );
            } else if key == "cloud" {
                let help = "rename it: in a route, `to: cloud` means the cloud";
                problems.error(key_span, "a service cannot be named `cloud`", help);
            }
            if key == BROKER {
                let message = format!("a service cannot be called `{BROKER}`");
                problems.error(key_span, message, "modules find their daemon by that name: choose another");
            }
            modules.insert(key.clone(), service::read(key, key_span, value, &self.names, problems));
        }
        depends::check(services, &mut modules, problems);
        modules
    }
}

/// The name by which modules find their daemon on their network.
const BROKER: &str = "wayside";

const NAME_RULE: &str = "1 to 63 of a-z, 0-9, `-` and `_`, beginning with a letter or digit";

fn entries(node: &Node) -> Option<&[Entry]> {
    match &node.value {
        yaml::Value::Map(entries) => Some(entries),
        yaml::Value::List(_) | yaml::Value::Scalar { .. } => None,
    }
}

fn volumes(node: &Node, problems: &mut Problems) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if node.is_null() {
        return names;
    }
    for Entry { key, key_span, value } in node.map("volumes", problems).unwrap_or_default() {
        if !is_name(key) {
            problems.error(
                key_span,
                format!("{} cannot name a volume", quote(key)),
                format!("write {NAME_RULE}"),
            );
        }
        if !value.is_null() {
            for option in value.map(key, problems).unwrap_or_default() {
                if !option.key.starts_with("x-") {
                    keys::VOLUME.refuse(&option.key, &option.key_span, problems);
                }
            }
        }
        names.insert(key.clone());
    }
    names
}
