//! What a service asks for beyond what every container has: `cap_add`, `devices`, `network_mode: host`, paths of the host.
//! Reading it asks nobody; each device's policy says whether it may be had.

use std::ops::Range;

use super::yaml::{Node, Value};
use crate::{
    diagnostic::{Problems, quote},
    privilege::{Privilege, Right, capability_help, is_capability, is_host_path},
};

/// With the place in the file where the line will be: the text is not at hand while it is read.
fn asked(right: Right, span: &Range<usize>) -> Privilege {
    Privilege { right, line: u32::try_from(span.start).unwrap_or(u32::MAX) }
}

/// Puts lines where places were.
pub(super) fn number_lines(privileges: &mut [Privilege], text: &str) {
    for privilege in privileges {
        let before = text.get(..privilege.line as usize).unwrap_or(text);
        privilege.line = u32::try_from(before.matches('\n').count() + 1).unwrap_or(u32::MAX);
    }
}

/// Reads `cap_add`.
pub(super) fn capabilities(node: &Node, into: &mut Vec<Privilege>, problems: &mut Problems) {
    for item in node.list("cap_add", problems).unwrap_or_default() {
        let Some(text) = item.text("cap_add", problems) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if is_capability(name) {
            into.push(asked(Right::Capability(name.to_owned()), &item.span));
        } else {
            problems.error(
                &item.span,
                format!("{} is not a capability", quote(&text)),
                capability_help(&text),
            );
        }
    }
}

/// Reads `devices`.
pub(super) fn devices(node: &Node, into: &mut Vec<Privilege>, problems: &mut Problems) {
    for item in node.list("devices", problems).unwrap_or_default() {
        let Some(text) = item.text("devices", problems) else { continue };
        match device(&text) {
            Some(right) => into.push(asked(right, &item.span)),
            None => {
                let help = "write `/dev/HOST`, `/dev/HOST:/dev/CONTAINER` or `/dev/HOST:/dev/CONTAINER:rwm`";
                problems.error(&item.span, format!("{} is not a device", quote(&text)), help);
            }
        }
    }
}

fn device(text: &str) -> Option<Right> {
    let mut parts = text.split(':');
    let host = parts.next()?;
    let container = parts.next().unwrap_or(host);
    let permissions = parts.next().unwrap_or("rwm");
    let known = !permissions.is_empty() && permissions.chars().all(|c| "rwm".contains(c));
    if parts.next().is_some() || !known || !is_host_path(host) || !is_host_path(container) {
        return None;
    }
    let [host, container, permissions] = [host, container, permissions].map(ToOwned::to_owned);
    Some(Right::Device { host, container, permissions })
}

/// Reads `network_mode`.
pub(super) fn network(node: &Node, into: &mut Vec<Privilege>, problems: &mut Problems) {
    let Some(text) = node.text("network_mode", problems) else { return };
    if text == "host" {
        into.push(asked(Right::HostNetwork, &node.span));
    } else {
        let help = "remove it: the modules of a workload share one network on each device; or write `host`";
        problems.error(&node.span, format!("the network mode {} is not supported", quote(&text)), help);
    }
}

/// Reads an entry of `volumes` that begins with a path. `false` when it does not.
pub(super) fn path(item: &Node, into: &mut Vec<Privilege>, problems: &mut Problems) -> bool {
    if matches!(item.value, Value::Map(_) | Value::List(_)) {
        return false;
    }
    let mut ignored = Problems::default();
    let Some(text) = item.text("volumes", &mut ignored) else { return false };
    if !text.starts_with(['.', '/', '~']) || !text.contains(':') {
        return false;
    }
    let mut parts = text.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(container), mode @ (None | Some("ro" | "rw")), None)
            if is_host_path(host) && is_host_path(container) =>
        {
            let (host, container) = (host.to_owned(), container.to_owned());
            into.push(asked(Right::HostPath { host, container, read_only: mode == Some("ro") }, &item.span));
        }
        (..) => {
            let help =
                "write `/path/of/the/host:/path` or `/path/of/the/host:/path:ro`, or use a named volume";
            problems.error(&item.span, format!("{} is not a path of the host", quote(&text)), help);
        }
    }
    true
}
