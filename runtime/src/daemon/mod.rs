//! The daemon: puts the parts together, and takes them apart again in order.

mod call;
mod control;
mod diagnostics;
mod leaves;
mod lobby;
mod mesh;
mod mqtt;
mod offers;
mod options;
mod recorded;
mod relayed;
mod run;
mod secret;
mod store;
mod system;
mod twin;
mod uplink;

use anyhow::{Context, anyhow};

pub use options::UpOptions;

use crate::{
    state::{Identity, StateFolder, default_folder},
    trust::check_age,
    undumped::leave_no_core,
};

/// Threads of the I/O runtime: engine, MQTT and uplink. The actors have the main thread, the mesh its
/// own.
const IO_THREADS: usize = 2;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start at all, or a part failed that it cannot do without. In words, with what to do.
pub fn up(options: UpOptions) -> anyhow::Result<()> {
    leave_no_core();
    let path = options.settings.state.clone().unwrap_or_else(default_folder);
    let state = StateFolder::open(&path)?;
    check_age(&state).map_err(|reason| anyhow!(reason))?;
    let (identity, problem) = Identity::load(&state).with_context(|| {
        format!(
            "cannot write this device's key to {}: free some space, or choose another directory with --state",
            path.display()
        )
    })?;
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .thread_name("io")
        .enable_all()
        .build()
        .context("cannot start threads: free memory or raise the limit of processes")?;
    let result = actix::System::new().block_on(run::run(run::Parts {
        options,
        state: state.into(),
        identity,
        problem,
        io: io.handle().clone(),
    }));
    // What was taken is committed by now; what is left waits for nobody.
    io.shutdown_background();
    result
}
