//! The attacks on who distributes what runs, each by name, tried against what a device really asks.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;
use wayside_tests::command::{capture_within, run_within};

use super::unit_test::binary;

/// Where the device's tests try them.
const ATTACKS: &str = "trust::attacks::";

/// All of them, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10 * 60);

#[derive(Serialize)]
struct Line<'a> {
    attack: &'a str,
    held: bool,
}

/// Tries each and prints a line.
pub(super) fn run() -> Result<()> {
    let tests = binary("wayside-runtime")?;
    let listed = run_within(Command::new(&tests).args([ATTACKS, "--list"]), LIMIT)?;
    let names: Vec<&str> = names(&listed).collect();
    ensure!(!names.is_empty(), "there are no tests of attacks");
    let mut through = Vec::new();
    for name in names {
        let ended = capture_within(Command::new(&tests).args(["--exact", name]), LIMIT)?;
        let attack = name.trim_start_matches(ATTACKS);
        let held = ended.code == 0;
        println!("{}", serde_json::to_string(&Line { attack, held })?);
        if !held {
            eprintln!("{ended}");
            through.push(attack);
        }
    }
    ensure!(through.is_empty(), "not held: {}", through.join(", "));
    Ok(())
}

fn names(listed: &str) -> impl Iterator<Item = &str> {
    listed.lines().filter_map(|line| line.strip_suffix(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_what_their_program_lists() {
        let listed =
            "trust::attacks::rollback: test\ntrust::attacks::fast_forward: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(
            names(listed).collect::<Vec<_>>(),
            ["trust::attacks::rollback", "trust::attacks::fast_forward"]
        );
    }
}
