//! Who may know whom: the crates' dependencies beside the map in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;
use wayside_tests::command::{cargo, run};

use super::Source;

/// What a crate of ours may know of ours, also in its tests.
const MAY_KNOW: [(&str, &[&str]); 12] = [
    ("wayside-config", &[]),
    ("wayside-actors", &["wayside-config"]),
    ("wayside-host", &["wayside-actors"]),
    ("wayside-mesh", &["wayside-config", "wayside-actors", "zenoh-link-tls"]),
    ("wayside-cloud-bridge", &["wayside-config", "wayside-actors", "wayside-host"]),
    (
        "wayside-runtime",
        &["wayside-config", "wayside-actors", "wayside-host", "wayside-mesh", "wayside-cloud-bridge"],
    ),
    (
        "wayside-bench",
        &["wayside-config", "wayside-actors", "wayside-host", "wayside-mesh", "wayside-cloud-bridge"],
    ),
    ("wayside-simulations", &["wayside-config", "wayside-actors"]),
    ("wayside-example-weather", &[]),
    ("wayside-tests", &["wayside-config"]),
    ("xtask", &["wayside-tests"]),
    ("zenoh-link-tls", &[]),
];

/// Crates that bring clocks, sockets, threads or randomness: not in the pure ones.
const IMPURE: [&str; 12] = [
    "actix",
    "async-std",
    "bollard",
    "getrandom",
    "quinn",
    "rand",
    "sled",
    "socket2",
    "tokio",
    "tracing",
    "ureq",
    "zenoh",
];

const PURE: [&str; 2] = ["wayside-actors", "wayside-config"];

/// Only the host may use actix's actors; the programs name it to start its system.
const ACTIX: [&str; 4] = ["wayside-host", "wayside-cloud-bridge", "wayside-runtime", "wayside-bench"];

/// How many packages `Cargo.lock` may hold.
const MAX_PACKAGES: usize = 480;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub(super) fn check(files: &[Source]) -> Result<Vec<String>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: Metadata = serde_json::from_str(&run(&mut command)?).context("cargo metadata")?;
    let mut wrong = Vec::new();
    let rules: BTreeMap<&str, &[&str]> = MAY_KNOW.into_iter().collect();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        check_package(package, &rules, &ours, &mut wrong);
    }
    let locked = files
        .iter()
        .find(|file| file.path == "Cargo.lock")
        .map_or(0, |file| file.text.lines().filter(|line| *line == "[[package]]").count());
    if locked > MAX_PACKAGES {
        wrong.push(format!("Cargo.lock holds {locked} packages, more than {MAX_PACKAGES}"));
    }
    Ok(wrong)
}

fn check_package(
    package: &Package,
    rules: &BTreeMap<&str, &[&str]>,
    ours: &BTreeSet<&str>,
    wrong: &mut Vec<String>,
) {
    let name = package.name.as_str();
    let Some(may_know) = rules.get(name) else {
        wrong.push(format!("{name} is not in the list of who may know whom"));
        return;
    };
    for dependency in &package.dependencies {
        let other = dependency.name.as_str();
        if ours.contains(other) && !may_know.contains(&other) {
            wrong.push(format!("{name} must not know {other}"));
        }
        let ships = dependency.kind.as_deref() != Some("dev");
        if ships && PURE.contains(&name) && IMPURE.contains(&other) {
            wrong.push(format!("{name} is pure and must not depend on {other}"));
        }
        if other == "actix" && !ACTIX.contains(&name) {
            wrong.push(format!("{name} must not depend on actix; wayside-host does"));
        }
    }
    let folder = package.manifest_path.rsplit('/').nth(1).unwrap_or_default();
    let bare = name.strip_prefix("wayside-").unwrap_or(name);
    let bare = bare.strip_prefix("example-").unwrap_or(bare);
    if folder != bare {
        wrong.push(format!("{name} is in the folder `{folder}` and not in `{bare}`"));
    }
}
