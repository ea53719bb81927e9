//! The binary `wayside-cloud`.

use std::{
    io::{IsTerminal, Write, stdout},
    process::ExitCode,
};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use wayside_cloud_bridge::cloud::{
    links::Links,
    options::{Command, LogFormat, Options},
    service,
    state::read_links,
};

fn main() -> ExitCode {
    let options = Options::parse();
    log_to_stderr(&options);
    let result = match options.command {
        None => service::run(&options, tell).map_err(|error| error.to_string()),
        Some(Command::Links) => {
            read_links(&options.state_folder()).map(|text| say(&text)).map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wayside-cloud: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A terminal shows secrets to who sits there; anything else may keep them.
fn tell(links: &Links) {
    say(&if stdout().is_terminal() { links.whole() } else { links.public() });
}

/// A reader that went away is no failure.
fn say(text: &str) {
    let _ = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush());
}

fn log_to_stderr(options: &Options) {
    let level = match options.verbose {
        0 => "info",
        1 => "info,wayside=debug,wayside_cloud_bridge=debug,wayside_host=debug",
        2.. => "info,wayside=trace,wayside_cloud_bridge=trace,wayside_host=trace",
    };
    let filter = EnvFilter::try_from_env("WAYSIDE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
