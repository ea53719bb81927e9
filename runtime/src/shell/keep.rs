//! Persist effects: one commit of the store for a whole group, and the desired state's file.

use std::{collections::BTreeMap, io, rc::Rc, sync::Arc, time::Duration};

use wayside_actors::{
    device::{
        io::{Io, Store},
        twins::Twin,
        wiring::Out,
    },
    queue::StoreOp,
};
use wayside_config::workload::ModuleId;
use wayside_host::CommitError;
use wayside_mesh::store::StoreError;

use super::{Device, adapters::DESIRED};

/// Between two attempts while there is no room.
const NO_ROOM: Duration = Duration::from_millis(500);

/// Everything in `outs` is on stable storage when this resolves with `Ok`.
pub(super) async fn commit(device: &Rc<Device>, outs: Vec<Out>) -> Result<(), CommitError> {
    let mut ops = Vec::with_capacity(outs.len());
    // Of several changes of one twin the last one is kept.
    let mut twins = BTreeMap::new();
    for out in outs {
        match out {
            Out::Io(Io::Store(Store::Commit(op))) => ops.push(op),
            Out::Io(Io::SaveFloors(floors)) => {
                device.adapters.save_floors(floors).map_err(|error| {
                    let problem = format!("the highest versions could not be written: {error}");
                    device.problem(DESIRED, Some(problem.clone()));
                    CommitError(problem)
                })?;
            }
            Out::Io(Io::SaveDesired(desired)) => {
                device.adapters.save_desired(&desired).map_err(|error| {
                    let problem = format!("the desired state could not be written: {error}");
                    device.problem(DESIRED, Some(problem.clone()));
                    CommitError(problem)
                })?;
                device.problem(DESIRED, None);
            }
            Out::Io(Io::SaveTwin(module, twin)) => drop(twins.insert(module, Some(twin))),
            Out::Io(Io::DropTwin(module)) => drop(twins.insert(module, None)),
            other @ (Out::Tell(_) | Out::Io(_) | Out::End(_)) => {
                return Err(CommitError(format!("{other:?} is nothing to persist")));
            }
        }
    }
    if !twins.is_empty() {
        commit_twins(device, twins).await?;
    }
    if ops.is_empty() { Ok(()) } else { commit_ops(device, ops).await }
}

/// On a thread of its own: several files may have to be synced.
async fn commit_twins(
    device: &Rc<Device>,
    twins: BTreeMap<ModuleId, Option<Box<Twin>>>,
) -> Result<(), CommitError> {
    const SOURCE: &str = "twins on the disk, to write";
    loop {
        let (state, twins) = (Arc::clone(&device.adapters.state), twins.clone());
        let writing =
            device.adapters.blocking.spawn_blocking(move || crate::twins::save(&state, twins)).await;
        let Err(error) = writing.unwrap_or_else(|error| Err(io::Error::other(error))) else {
            device.problem(SOURCE, None);
            return Ok(());
        };
        let problem = format!("a twin could not be written: {error}; make room on the disk");
        device.problem(SOURCE, Some(problem.clone()));
        // What is written twice is the same: a full disk holds up who reports, and nobody else.
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Err(CommitError(problem));
        }
        tokio::time::sleep(NO_ROOM).await;
    }
}

async fn commit_ops(device: &Rc<Device>, ops: Vec<StoreOp>) -> Result<(), CommitError> {
    let store = device.store().ok_or_else(|| CommitError("the queues are not open".into()))?;
    loop {
        match store.commit(ops.clone()).await {
            Ok(()) => break,
            // Nothing was stored. Whoever publishes waits until there is room: that is the policy of
            // a full disk, and better than a machine that is made again and again.
            Err(error @ (StoreError::Full { .. } | StoreError::DiskFull { .. })) => {
                device.problem("store", Some(error.to_string()));
                tokio::time::sleep(NO_ROOM).await;
            }
            Err(error) => {
                device.problem("store", Some(error.to_string()));
                return Err(CommitError(error.to_string()));
            }
        }
    }
    device.problem("store", None);
    device.adapters.view.stored(device.adapters.device, &ops);
    Ok(())
}
