//! The last lines of a module, from the engine's own log files.

use std::collections::VecDeque;

use bollard::{errors::Error, query_parameters::LogsOptions};
use futures_util::StreamExt;
use wayside_config::workload::ModuleId;

use super::{Ready, Shared, errors, names, timestamp};

/// The most lines of one answer.
const MAX_LINES: u32 = 10_000;
/// The most text of one answer.
const MAX_BYTES: usize = 1 << 20;

pub(super) async fn read(
    shared: &Shared,
    module: &ModuleId,
    tail: u32,
    since_ms: u64,
) -> Result<String, String> {
    let ready = shared.engine()?;
    let name = names::container(&shared.settings.identity.device(), module);
    last(&ready, &name, tail, since_ms, MAX_BYTES).await.map_err(|error| {
        if errors::is_missing(&error) {
            format!("the module {module} has no container here (yet): see `wayside status`")
        } else {
            errors::other(&format!("give the log of {module}"), &error)
        }
    })
}

/// The last lines of a container, of at most so many bytes: older lines make room for newer ones.
pub(super) async fn last(
    ready: &Ready,
    container: &str,
    tail: u32,
    since_ms: u64,
    most: usize,
) -> Result<String, Error> {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        // Whole seconds; the rest is cut off below.
        since: i32::try_from(since_ms / 1000).unwrap_or(i32::MAX),
        tail: tail.min(MAX_LINES).to_string(),
        ..Default::default()
    };
    let mut output = std::pin::pin!(ready.docker.logs(container, Some(options)));
    let (mut lines, mut bytes) = (VecDeque::<String>::new(), 0);
    while let Some(piece) = output.next().await {
        let line = piece?.to_string();
        if time_ms(&line).is_none_or(|ms| ms < since_ms) {
            continue;
        }
        bytes += line.len() + 1;
        lines.push_back(line);
        while bytes > most {
            bytes -= lines.pop_front().map_or(bytes, |line| line.len() + 1);
        }
    }
    Ok(lines
        .iter()
        .map(|line| line.trim_end_matches(['\r', '\n']))
        .fold(String::new(), |text, line| text + line + "\n"))
}

/// Each line begins with its time.
fn time_ms(line: &str) -> Option<u64> {
    timestamp::parse_ms(line.split_once(' ')?.0)
}
