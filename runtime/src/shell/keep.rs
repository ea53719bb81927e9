//! Persist effects: one commit of the store for a whole group, and the desired state's file.

use std::{rc::Rc, time::Duration};

use wayside_actors::{
    device::{
        io::{Io, Store},
        wiring::Out,
    },
    queue::StoreOp,
};
use wayside_host::CommitError;
use wayside_mesh::store::StoreError;

use super::{Device, adapters::DESIRED};

/// Between two attempts while there is no room.
const NO_ROOM: Duration = Duration::from_millis(500);

/// Everything in `outs` is on stable storage when this resolves with `Ok`.
pub(super) async fn commit(device: &Rc<Device>, outs: Vec<Out>) -> Result<(), CommitError> {
    let mut ops = Vec::with_capacity(outs.len());
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
            other @ (Out::Tell(_) | Out::Io(_) | Out::End(_)) => {
                return Err(CommitError(format!("{other:?} is nothing to persist")));
            }
        }
    }
    if ops.is_empty() { Ok(()) } else { commit_ops(device, ops).await }
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
