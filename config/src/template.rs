//! Environment values that name labels of the device they are on: one release for all devices, and each module knows its own.
//!
//! `{{label:NAME}}` is read where the workload file is, and travels in parts: a device never looks for templates in text, and
//! a daemon that does not know them refuses the release. Nothing of it is Compose's: whatever begins with `$` is taken to be a
//! variable of the shell there, or refused, and the same file has to start under `docker compose`, where the text stays as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    limits::LABEL_BYTES,
    workload::{ModuleSpec, Workload},
};

/// A value that begins to be known on a device.
pub type Template = Vec<Part>;

/// One part of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The value of this label of the device.
    Label(String),
}

/// A label that a module names and the device does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{module} wants the label `{label}` in {variable}, and this device was not granted one")]
pub struct Missing {
    /// The module, `workload/module`.
    pub module: String,
    /// Its variable.
    pub variable: String,
    /// The label.
    pub label: String,
}

/// Why a value is no template, though it begins like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTemplate {
    #[error("`{{{{label:` has no `}}}}` after it")]
    Unfinished,
    #[error("`{{{{label:...}}}}` names no label")]
    NoLabel,
}

/// Takes a value apart; `None` for one that names no label.
pub(crate) fn parse(value: &str) -> Result<Option<Template>, BadTemplate> {
    let (mut parts, mut text, mut rest) = (Template::new(), String::new(), value);
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let Some(named) = named(after) else {
            // One bracket alone: the second may be the first of the next two.
            text.push('{');
            rest = &rest[before.len() + 1..];
            continue;
        };
        let (label, after) = named.split_once("}}").ok_or(BadTemplate::Unfinished)?;
        let label = label.trim();
        if label.is_empty() || label.len() > LABEL_BYTES || label.contains(['{', '}']) {
            return Err(BadTemplate::NoLabel);
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(Part::Label(label.to_owned()));
        rest = after;
    }
    text.push_str(rest);
    if parts.is_empty() {
        return Ok(None);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(Some(parts))
}

/// What follows `label:`, with spaces as people may write them.
fn named(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("label")?.trim_start().strip_prefix(':')
}

impl ModuleSpec {
    /// The specification on a device with these labels; `None` when it names one that is not there.
    #[must_use]
    pub fn with_labels(&self, labels: &BTreeMap<String, String>) -> Option<Self> {
        let mut spec = self.clone();
        for (variable, template) in std::mem::take(&mut spec.templates) {
            let mut value = String::new();
            for part in &template {
                value.push_str(match part {
                    Part::Text(text) => text,
                    Part::Label(label) => labels.get(label)?,
                });
            }
            spec.environment.insert(variable, value);
        }
        Some(spec)
    }

    fn missing(&self, labels: &BTreeMap<String, String>) -> Option<(&str, &str)> {
        self.templates.iter().find_map(|(variable, template)| {
            template.iter().find_map(|part| match part {
                Part::Label(label) if !labels.contains_key(label) => {
                    Some((variable.as_str(), label.as_str()))
                }
                Part::Label(_) | Part::Text(_) => None,
            })
        })
    }
}

impl Workload {
    /// The first label that one of its modules names and a device with these labels does not have.
    #[must_use]
    pub fn missing_label(&self, labels: &BTreeMap<String, String>) -> Option<Missing> {
        self.modules.iter().find_map(|(module, spec)| {
            let (variable, label) = spec.missing(labels)?;
            let module = format!("{}/{module}", self.name);
            Some(Missing { module, variable: variable.to_owned(), label: label.to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Part {
        Part::Label(name.into())
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    #[test]
    fn labels_are_found_in_text_and_other_braces_stay() {
        assert_eq!(parse("{{label:plant}}"), Ok(Some(vec![label("plant")])));
        let parts = vec![text("a/"), label("plant"), text("/"), label("line.3"), text("/b")];
        assert_eq!(parse("a/{{label:plant}}/{{ label: line.3 }}/b"), Ok(Some(parts)));
        for plain in ["", "{{name}}", "{{.Node}}", "{label:x}", "{{ labels: x }}", "a}}b{{", "${label:x}"] {
            assert_eq!(parse(plain), Ok(None), "{plain}");
        }
        assert_eq!(parse("{{{label:x}}}"), Ok(Some(vec![text("{"), label("x"), text("}")])));
    }

    #[test]
    fn what_begins_like_a_template_is_one_or_refused() {
        for unfinished in ["{{label:x", "{{label:x}", "a{{ label : x"] {
            assert_eq!(parse(unfinished), Err(BadTemplate::Unfinished), "{unfinished}");
        }
        for nameless in ["{{label:}}", "{{label: }}", "{{label:{{label:x}}}}"] {
            assert_eq!(parse(nameless), Err(BadTemplate::NoLabel), "{nameless}");
        }
    }

    #[test]
    fn a_module_gets_the_labels_of_its_device_or_is_named_with_the_one_that_is_missing() {
        let template = parse("{{label:plant}}-{{label:line}}").unwrap().unwrap();
        let spec = ModuleSpec {
            environment: BTreeMap::from([("A".into(), "1".into())]),
            templates: BTreeMap::from([("WHERE".into(), template)]),
            ..ModuleSpec::default()
        };
        let mut labels = BTreeMap::from([("plant".to_owned(), "p7".to_owned())]);
        assert_eq!(spec.with_labels(&labels), None);
        assert_eq!(spec.missing(&labels), Some(("WHERE", "line")));
        labels.insert("line".into(), "3".into());
        let resolved = spec.with_labels(&labels).unwrap();
        assert_eq!((resolved.environment["WHERE"].as_str(), resolved.environment.len()), ("p7-3", 2));
        assert!(resolved.templates.is_empty() && spec.missing(&labels).is_none());
    }
}
