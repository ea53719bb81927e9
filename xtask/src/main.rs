//! The project's own commands.

mod bench;
mod demo;
mod faults;
mod fuzz;
mod tidy;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows a year of weather on three devices and a cloud, with faults. About a minute and a half.
    Demo(demo::Arguments),
    /// Checks everything: format, lints, rules, unit tests, end-to-end tests.
    Verify(verify::Arguments),
    /// Runs the benchmarks named, or all.
    BenchAll(bench::Arguments),
    /// Does what may happen to a device's disk and power, and counts what was lost.
    Faults(faults::Arguments),
    /// Fuzzes the targets named, or all, one after another.
    Fuzz(fuzz::Arguments),
    /// Checks the rules that lints cannot.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Verify(arguments) => verify::run(&arguments),
        Task::BenchAll(arguments) => bench::run(&arguments),
        Task::Faults(arguments) => faults::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
