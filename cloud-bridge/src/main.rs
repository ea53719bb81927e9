//! The binary `wayside-cloud`.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use tracing_subscriber::EnvFilter;
use wayside_cloud_bridge::cloud::{
    options::{LogFormat, Options},
    service,
};

fn main() -> ExitCode {
    let options = Options::parse();
    log_to_stderr(&options);
    let started = |started: &service::Started| {
        println!("page  {}", started.page);
        println!("join  {}", started.join);
    };
    match service::run(&options, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wayside-cloud: {error}");
            ExitCode::FAILURE
        }
    }
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
