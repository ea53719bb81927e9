//! Faults from a seed, in numbers that anybody can make again. Each ends with one JSON line, and fails when anything that
//! was acknowledged is lost, doubled or out of order.

mod attacks;
mod bit_flips;
mod disk_errors;
mod documents;
mod engine;
mod kill9;
mod line;
mod power_loss;
mod random;
mod unit_test;
mod update_kill;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// What `cargo faults` takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Which
    #[arg(value_enum)]
    name: Fault,
    /// How many of them
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// The same seed makes the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// After the others of `engine`, two updates with an engine that is gone for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    away: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Fault {
    /// `kill -9` of the daemon, at random and on entering its system calls
    Kill9,
    /// The power goes between any two steps of the store
    PowerLoss,
    /// The power goes between any two steps of the writes of a device's documents
    Documents,
    /// Any write or sync fails, once or from then on, or the disk is full
    DiskErrors,
    /// One bit flips in a file of the store, or the file is cut off
    BitFlips,
    /// `kill -9` of the daemon in the middle of updates, with real containers: one whole version runs afterwards
    UpdateKill,
    /// The engine hangs, is gone or is restarted around updates, with real containers, as one device sees it
    Engine,
    /// Attacks on who distributes what runs: a line for each, and whether it was held
    Attacks,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) runs: u64,
    /// Acknowledged and not there.
    pub(crate) lost: u64,
    /// There twice.
    pub(crate) doubled: u64,
    /// Out of order, or not what was stored.
    pub(crate) misordered: u64,
}

#[derive(Serialize)]
struct Line {
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// `cargo faults kill9`, for those who check everything.
///
/// # Errors
/// As [`run`].
pub(crate) fn kill9(count: u64, seed: u64) -> Result<()> {
    run(&Arguments { name: Fault::Kill9, count, seed, away: 0 })
}

/// Does it and prints the line.
///
/// # Errors
/// When it cannot be done, or anything was lost, doubled or out of order.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { name, count, seed, away } = *arguments;
    let outcome = match name {
        Fault::Kill9 => kill9::run(count, seed),
        Fault::PowerLoss => power_loss::run(count, seed),
        Fault::Documents => documents::run(count, seed),
        Fault::DiskErrors => disk_errors::run(count, seed),
        Fault::BitFlips => bit_flips::run(count, seed),
        Fault::UpdateKill => return update_kill::run(count, seed),
        Fault::Engine => return engine::run(count, seed, Duration::from_secs(away)),
        Fault::Attacks => return attacks::run(),
    }?;
    let name = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    println!("{}", serde_json::to_string(&Line { name, outcome })?);
    ensure!(
        outcome.lost + outcome.doubled + outcome.misordered == 0,
        "what was acknowledged is not as it was"
    );
    Ok(())
}
