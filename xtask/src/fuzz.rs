//! Fuzzing with the project's own stable compiler: libFuzzer needs coverage counters in the code, not a nightly.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use wayside_tests::{
    build::workspace,
    command::{capture_within, watch},
};

/// What `cargo xtask fuzz` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Which targets; all when none is named
    targets: Vec<String>,
    /// How long each one runs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Build and list them only
    #[arg(long)]
    list: bool,
}

/// What the compiler adds: a counter for each edge, and the values that are compared. As cargo-fuzz does it,
/// without a sanitizer: there is no `unsafe` code of ours.
const FLAGS: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// How long a target may take to build: the first one of the mesh brings Zenoh.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);
/// What a fuzzer may take beyond its time, to read what it found of use before.
const SPARE: Duration = Duration::from_secs(120);
/// The most memory that an input may take.
const RSS_LIMIT_MB: u32 = 2048;

/// One target: `CRATE/fuzz/fuzz_targets/NAME.rs`.
struct Target {
    folder: PathBuf,
    name: String,
}

/// Builds the targets and runs them one after another.
///
/// # Errors
/// When one does not build, or finds something: the input is named.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = workspace();
    let targets = targets(&root)?;
    let known = targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
    for name in &arguments.targets {
        if !targets.iter().any(|target| target.name == *name) {
            bail!("no fuzz target is called `{name}`; there are {known}");
        }
    }
    let wanted = |target: &&Target| arguments.targets.is_empty() || arguments.targets.contains(&target.name);
    println!("{:<12}{:>14}{:>9}", "target", "executions", "seconds");
    for target in targets.iter().filter(wanted) {
        let binary = build(&root, target)?;
        if arguments.list {
            println!("{:<12}", target.name);
            continue;
        }
        let began = Instant::now();
        let executions = fuzz(&binary, target, arguments.seconds)?;
        let (name, seconds) = (&target.name, began.elapsed().as_secs());
        println!("{name:<12}{executions:>14}{seconds:>9}");
    }
    Ok(())
}

fn targets(root: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for member in ["cloud-bridge", "config", "mesh"] {
        let folder = root.join(member).join("fuzz");
        for entry in fs::read_dir(folder.join("fuzz_targets"))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            targets.push(Target { folder: folder.clone(), name });
        }
    }
    targets.sort_by(|one, other| (&one.folder, &one.name).cmp(&(&other.folder, &other.name)));
    Ok(targets)
}

/// Each folder is a workspace of its own; with the project's lock it takes the versions that the products take.
fn build(root: &Path, target: &Target) -> Result<PathBuf> {
    let lock = target.folder.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root.join("Cargo.lock"), &lock).context("Cargo.lock")?;
    }
    let all = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let built = all.join("fuzz");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&target.folder).env("CARGO_TARGET_DIR", &built);
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    cargo.args(["build", "--quiet", "--release", "--bin", &target.name]);
    watch(&mut cargo, BUILD_LIMIT)
        .with_context(|| format!("the fuzz target {} does not build", target.name))?;
    let found = built_binary(&built, &target.name);
    found.with_context(|| format!("{} was built, but is not in {}", target.name, built.display()))
}

/// Below the folder of whatever system this is.
fn built_binary(built: &Path, name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(built).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    folders.map(|folder| folder.join("release").join(name)).find(|path| path.is_file())
}

/// Gives how many inputs were tried. Begins with the seeds, and keeps what it finds of use beside them.
fn fuzz(binary: &Path, target: &Target, seconds: u64) -> Result<u64> {
    let at = |kind: &str| target.folder.join(kind).join(&target.name);
    let (corpus, artifacts, seeds) = (at("corpus"), at("artifacts"), at("seeds"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut fuzzer = Command::new(binary);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display())).arg("-print_final_stats=1");
    fuzzer.arg(&corpus).args(Some(seeds).filter(|seeds| seeds.is_dir()));
    let ended = capture_within(&mut fuzzer, Duration::from_secs(seconds) + SPARE)?;
    let said = ended.stderr;
    if ended.code != 0 {
        let from = said.len().saturating_sub(4000);
        bail!("{} found something:\n{}", target.name, &said[said.ceil_char_boundary(from)..]);
    }
    executions(&said).context("the fuzzer did not say how many inputs it tried")
}

fn executions(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read() {
        let said = "Done 12 runs in 3 second(s)\nstat::number_of_executed_units: 12\nstat::peak_rss_mb: 40\n";
        assert_eq!(executions(said), Some(12));
        assert_eq!(executions("nothing"), None);
    }

    #[test]
    fn every_target_is_found() {
        let found = targets(&workspace()).unwrap();
        assert!(found.iter().any(|target| target.name == "mqtt"));
    }
}
