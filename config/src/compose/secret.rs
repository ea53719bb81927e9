//! Secrets of a Compose file: their names, and which service gets which. Values are never in the file.

use std::{collections::BTreeSet, ops::Range};

use super::{
    keys,
    yaml::{Entry, Node, Value},
};
use crate::{
    diagnostic::{Problems, quote},
    limits::SECRETS,
    secret::{MODE, SecretMount, is_secret_name},
};

/// Where they are in a container.
const FOLDER: &str = "/run/secrets";

const NAME_RULE: &str = "1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit";

/// Reads `secrets` at the top of the file.
pub(super) fn declared(node: &Node, problems: &mut Problems) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if node.is_null() {
        return names;
    }
    for Entry { key, key_span, value } in node.map("secrets", problems).unwrap_or_default() {
        if !is_secret_name(key) {
            problems.error(
                key_span,
                format!("{} cannot name a secret", quote(key)),
                format!("write {NAME_RULE}"),
            );
        }
        source(key, key_span, value, problems);
        names.insert(key.clone());
    }
    names
}

/// Where a laptop has it from; a device has it from its operators.
fn source(name: &str, span: &Range<usize>, node: &Node, problems: &mut Problems) {
    let mut has_source = false;
    let entries = if node.is_null() { None } else { node.map(name, problems) };
    for entry in entries.unwrap_or_default() {
        match entry.key.as_str() {
            "external" => has_source |= entry.value.boolean("external", problems) == Some(true),
            key @ ("file" | "environment") => {
                has_source = true;
                let _ = entry.value.text(key, problems);
                let help = format!("on devices it is what `wayside secret set {name}` gives them");
                let message =
                    format!("the `{key}` of the secret {} is for `docker compose` only", quote(name));
                problems.warning(&entry.key_span, message, help);
            }
            extension if extension.starts_with("x-") => {}
            other => keys::SECRET.refuse(other, &entry.key_span, problems),
        }
    }
    if !has_source {
        let help = "write `external: true`, or `file: PATH` to have one under `docker compose` too";
        problems.error(span, format!("the secret {} does not say where it comes from", quote(name)), help);
    }
}

/// Reads `secrets` of a service.
pub(super) fn read(node: &Node, declared: &BTreeSet<String>, problems: &mut Problems) -> Vec<SecretMount> {
    let mut mounts: Vec<SecretMount> = Vec::new();
    for item in node.list("secrets", problems).unwrap_or_default() {
        let Some(mount) = mount(item, problems) else { continue };
        if !declared.contains(&mount.secret) {
            let help =
                format!("add `{}: {{external: true}}` under `secrets` at the top of the file", mount.secret);
            problems.error(&item.span, format!("the secret {} is not declared", quote(&mount.secret)), help);
        }
        if mounts.iter().any(|other| other.file == mount.file) {
            let message = format!("two secrets are the file {}", quote(&mount.file));
            problems.error(&item.span, message, "give one of them another `target`");
        }
        mounts.push(mount);
    }
    if mounts.len() > SECRETS {
        let message = format!("a service has {} secrets", mounts.len());
        problems.error(&node.span, message, format!("write at most {SECRETS}"));
    }
    mounts
}

fn mount(item: &Node, problems: &mut Problems) -> Option<SecretMount> {
    let named =
        |secret: String| SecretMount { file: secret.clone(), secret, uid: None, gid: None, mode: MODE };
    let Value::Map(entries) = &item.value else {
        return item.text_that("secrets", NAME_RULE, problems, is_secret_name).map(named);
    };
    let mut mount = named(String::new());
    let mut target = None;
    for Entry { key, key_span, value } in entries {
        let what = key.as_str();
        let number = |text: &str| text.parse::<u32>().ok();
        match what {
            "source" => mount.secret = value.text_that(what, NAME_RULE, problems, is_secret_name)?,
            "target" => target = Some(value.parsed(what, TARGET, problems, file)?),
            "uid" => mount.uid = Some(value.parsed(what, "a number such as `\"103\"`", problems, number)?),
            "gid" => mount.gid = Some(value.parsed(what, "a number such as `\"103\"`", problems, number)?),
            "mode" => mount.mode = value.parsed(what, "an octal number such as `0440`", problems, mode)?,
            extension if extension.starts_with("x-") => {}
            other => keys::SERVICE_SECRET.refuse(other, key_span, problems),
        }
    }
    if mount.secret.is_empty() {
        problems.error(&item.span, "a secret of a service has no `source`", "add `source: NAME`");
        return None;
    }
    mount.file = target.unwrap_or_else(|| mount.secret.clone());
    Some(mount)
}

const TARGET: &str = "the name of a file, which is then in /run/secrets: a file elsewhere could not be replaced while the module runs";

fn file(text: &str) -> Option<String> {
    let name = text.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    is_secret_name(name).then(|| name.to_owned())
}

/// As Compose reads it: octal, and written so.
fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'))?;
    u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777)
}

/// Whether something else is to be where secrets are.
pub(super) fn is_folder(path: &str) -> bool {
    path.trim_end_matches('/') == FOLDER || path.starts_with("/run/secrets/")
}
