//! One service of a Compose file becomes one module.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    depends, health, keys, ports, privileges, secret,
    words::{self, BadWords},
    yaml::{Entry, Node, Value},
};
use crate::{
    diagnostic::{Problems, quote},
    limits,
    privilege::{Privilege, Right},
    template::{self, Template},
    units,
    workload::{ModuleSpec, Restart, VolumeMount, is_image},
};

/// As Compose has it.
const DEFAULT_STOP_GRACE_MS: u64 = 10_000;
/// The engine refuses less.
const MIN_MEMORY_BYTES: u64 = 6 << 20;

/// What the top of the file declares, for services to name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) volumes: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
}

/// Reads the service `name`. What is wrong with it goes to `problems`.
pub(super) fn read(
    name: &str,
    name_span: &Range<usize>,
    node: &Node,
    names: &Names,
    problems: &mut Problems,
) -> ModuleSpec {
    let mut spec = ModuleSpec { stop_grace_ms: DEFAULT_STOP_GRACE_MS, ..ModuleSpec::default() };
    let Some(entries) = node.map(name, problems) else { return spec };
    for entry in entries {
        read_key(&mut spec, entry, names, problems);
    }
    if !spec.ports.is_empty() && spec.privileges.iter().any(|asked| asked.right == Right::HostNetwork) {
        let help = "remove `ports`: on the host's network the module listens there itself";
        problems.error(
            name_span,
            format!("the service {} has `ports` and the host's network", quote(name)),
            help,
        );
    }
    let mut paths = spec.volumes.iter().map(|volume| &volume.path).chain(&spec.tmpfs);
    if !spec.secrets.is_empty() && paths.any(|path| secret::is_folder(path)) {
        let message = format!("the service {} has a volume or `tmpfs` where its secrets are", quote(name));
        problems.error(name_span, message, "give it another path than /run/secrets");
    }
    if !entries.iter().any(|entry| matches!(entry.key.as_str(), "image" | "build")) {
        problems.error(name_span, format!("the service {} has no `image`", quote(name)), "add `image: ...`");
    }
    spec
}

fn read_key(spec: &mut ModuleSpec, entry: &Entry, names: &Names, problems: &mut Problems) {
    let Entry { key, key_span, value } = entry;
    let what = key.as_str();
    match what {
        "image" => set(&mut spec.image, value.text_that(what, "an image reference", problems, is_image)),
        "command" => spec.command = command(value, what, problems),
        "entrypoint" => spec.entrypoint = command(value, what, problems),
        "environment" => (spec.environment, spec.templates) = environment(value, problems),
        "working_dir" => spec.working_dir = value.text_that(what, ABSOLUTE, problems, is_absolute),
        "user" => spec.user = value.text_that(what, "`user` or `user:group`", problems, is_word),
        "restart" => set(&mut spec.restart, value.parsed(what, RESTART, problems, restart)),
        "labels" => spec.labels = labels(value, problems),
        "stop_grace_period" => set(
            &mut spec.stop_grace_ms,
            value.parsed(what, "a duration such as `30s` or `1m30s`, of at most an hour", problems, grace),
        ),
        "stop_signal" => {
            spec.stop_signal = value.text_that(what, "a signal such as `SIGINT`", problems, is_signal)
        }
        "init" => set(&mut spec.init, value.boolean(what, problems)),
        "read_only" => spec.read_only = value.boolean(what, problems),
        "tmpfs" => spec.tmpfs = tmpfs(value, problems),
        "mem_limit" => {
            let at_least = |text: &str| units::bytes(text).filter(|bytes| *bytes >= MIN_MEMORY_BYTES);
            spec.memory_bytes =
                value.parsed(what, "a size of at least 6 MiB such as `64m`", problems, at_least);
        }
        "cpus" => {
            let expected = "a number of CPUs above 0 with at most 3 decimals";
            spec.cpu_millis = value.parsed(what, expected, problems, units::cpu_millis);
        }
        "pids_limit" => {
            let bounded = |text: &str| text.parse().ok().filter(|pids| (1..=limits::PIDS).contains(pids));
            spec.pids =
                value.parsed(what, "a number from 1 to 16384, or remove it for 512", problems, bounded);
        }
        "volumes" => spec.volumes = mounts(value, &names.volumes, &mut spec.privileges, problems),
        "cap_add" => privileges::capabilities(value, &mut spec.privileges, problems),
        "devices" => privileges::devices(value, &mut spec.privileges, problems),
        "network_mode" => privileges::network(value, &mut spec.privileges, problems),
        "ports" => spec.ports = ports::read(value, problems),
        "healthcheck" => spec.healthcheck = Some(health::read(value, problems)),
        "depends_on" => spec.depends_on = depends::read(value, problems),
        "secrets" => spec.secrets = secret::read(value, &names.secrets, problems),
        "x-wayside" => keys::SERVICE.refuse(what, key_span, problems),
        extension if extension.starts_with("x-") => {}
        other => keys::SERVICE.refuse(other, key_span, problems),
    }
}

const ABSOLUTE: &str = "an absolute path";
const RESTART: &str = "`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`";

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['\0', ':']) && !text.split('/').any(|part| part == "..")
}

fn grace(text: &str) -> Option<u64> {
    units::duration_ms(text).filter(|ms| *ms <= limits::STOP_GRACE_MS)
}

fn is_signal(text: &str) -> bool {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    (1..=10).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-'))
}

fn restart(text: &str) -> Option<Restart> {
    match text {
        "no" => Some(Restart::No),
        "always" => Some(Restart::Always),
        "unless-stopped" => Some(Restart::UnlessStopped),
        "on-failure" => Some(Restart::OnFailure { max_retries: None }),
        other => {
            let max_retries = other.strip_prefix("on-failure:")?.parse().ok().filter(|n| *n > 0)?;
            Some(Restart::OnFailure { max_retries: Some(max_retries) })
        }
    }
}

fn command(node: &Node, what: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let words = match &node.value {
        Value::List(_) => node.texts(what, problems)?,
        Value::Scalar { .. } | Value::Map(_) => match words::split(&node.text(what, problems)?) {
            Ok(words) => words,
            Err(BadWords::Unfinished) => {
                problems.error(&node.span, format!("{} has a quote without its end", quote(what)), "");
                return None;
            }
            Err(BadWords::NeedsShell(operator)) => {
                let message = format!("{} uses `{operator}`, but no shell runs it", quote(what));
                problems.error(&node.span, message, r#"quote it, or write ["sh", "-c", "..."]"#);
                return None;
            }
        },
    };
    if words.is_empty() {
        problems.error(
            &node.span,
            format!("{} is empty", quote(what)),
            "remove the key to use the image's own",
        );
        return None;
    }
    Some(words)
}

/// What is known already, and what a device's labels say.
fn environment(
    node: &Node,
    problems: &mut Problems,
) -> (BTreeMap<String, String>, BTreeMap<String, Template>) {
    let (mut variables, mut templates) = (BTreeMap::new(), BTreeMap::new());
    for (name, (value, span)) in node.pairs("environment", problems) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            problems.error(&span, format!("{} cannot name a variable", quote(&name)), "");
        }
        if name.starts_with("WAYSIDE_") {
            let message = format!("{} may be set by the daemon, whose value then holds", quote(&name));
            problems.warning(&span, message, "this one is for `docker compose` only");
        }
        match template::parse(&value) {
            Ok(Some(template)) => drop(templates.insert(name, template)),
            Ok(None) => drop(variables.insert(name, value)),
            Err(error) => {
                let message = format!("{} is no value: {error}", quote(&value));
                problems.error(&span, message, "write `{{label:NAME}}` for the value of a device's label");
            }
        }
    }
    (variables, templates)
}

fn labels(node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, (value, span)) in node.pairs("labels", problems) {
        if name.is_empty() || name.starts_with("wayside.") {
            let message = format!("the label {} cannot be set", quote(&name));
            problems.error(&span, message, "rename it: `wayside.` is the daemon's own");
        }
        labels.insert(name, value);
    }
    labels
}

fn tmpfs(node: &Node, problems: &mut Problems) -> Vec<String> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Scalar { .. } | Value::Map(_) => std::slice::from_ref(node),
    };
    let expected = "an absolute path; options after `:` are not supported yet";
    items.iter().filter_map(|item| item.text_that("tmpfs", expected, problems, is_absolute)).collect()
}

fn mounts(
    node: &Node,
    volumes: &BTreeSet<String>,
    privileges: &mut Vec<Privilege>,
    problems: &mut Problems,
) -> Vec<VolumeMount> {
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for item in node.list("volumes", problems).unwrap_or_default() {
        if privileges::path(item, privileges, problems) {
            continue;
        }
        let Some(mount) = mount(item, problems) else { continue };
        if !volumes.contains(&mount.volume) {
            let message = format!("the volume {} is not declared", quote(&mount.volume));
            problems.error(
                &item.span,
                message,
                format!("add `{}:` under `volumes` at the top of the file", mount.volume),
            );
        }
        if mounts.iter().any(|other| other.path == mount.path) {
            problems.error(&item.span, format!("{} has two volumes", quote(&mount.path)), "keep one of them");
        }
        mounts.push(mount);
    }
    mounts
}

fn mount(item: &Node, problems: &mut Problems) -> Option<VolumeMount> {
    const SHORT: &str = "`NAME:/path` or `NAME:/path:ro`";
    if matches!(item.value, Value::Map(_)) {
        problems.error(&item.span, "the long form of a volume is not supported", format!("write {SHORT}"));
        return None;
    }
    let text = item.text("volumes", problems)?;
    let mut parts = text.split(':');
    let mount = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(volume), Some(path), mode @ (None | Some("ro" | "rw")), None) if is_absolute(path) => {
            Some(VolumeMount { volume: volume.into(), path: path.into(), read_only: mode == Some("ro") })
        }
        (..) => None,
    };
    if mount.is_none() {
        let message = format!("{} is not a volume of a service", quote(&text));
        problems.error(&item.span, message, format!("write {SHORT}"));
    }
    mount
}
