//! Persist effects: one commit of the store for a whole group, and state files. While the disk is full whoever wants something kept waits.

use std::{collections::BTreeMap, io, rc::Rc, sync::Arc, time::Duration};

use wayside_actors::{
    device::{
        io::{Io, Store},
        reconciler::{Floors, Life, Locks, Pulled},
        twins::Twin,
        wiring::Out,
    },
    frame::Desired,
    queue::StoreOp,
};
use wayside_config::workload::ModuleId;
use wayside_host::CommitError;
use wayside_mesh::store::StoreError;

use super::{Device, adapters::DESIRED};
use crate::state::{StateFolder, is_full};

/// Between two attempts while there is no room.
const NO_ROOM: Duration = Duration::from_millis(500);

/// What a group of effects wants on stable storage.
#[derive(Default)]
pub(super) struct ToKeep {
    ops: Vec<StoreOp>,
    /// Of several changes of one twin the last one.
    twins: BTreeMap<ModuleId, Option<Box<Twin>>>,
    /// Who holds updates back, as it was changed last.
    locks: Option<Locks>,
    /// State files, in the order in which they are to be written.
    files: Vec<StateFile>,
}

enum StateFile {
    Versions(Floors),
    Desired(Desired),
    Life(String, Option<Box<Life>>),
    Pulled(Pulled),
}

impl ToKeep {
    /// Sorts what persist effects lead to.
    pub(super) fn sorted(outs: impl Iterator<Item = Out>) -> Result<Self, CommitError> {
        let mut sorted = Self::default();
        for out in outs {
            match out {
                Out::Io(Io::Store(Store::Commit(op))) => sorted.ops.push(op),
                Out::Io(Io::SaveTwin(module, twin)) => drop(sorted.twins.insert(module, Some(twin))),
                Out::Io(Io::DropTwin(module)) => drop(sorted.twins.insert(module, None)),
                Out::Io(Io::SavePulled(pulled)) => sorted.files.push(StateFile::Pulled(pulled)),
                Out::Io(Io::SaveLocks(locks)) => sorted.locks = Some(locks),
                Out::Io(Io::SaveFloors(floors)) => sorted.files.push(StateFile::Versions(floors)),
                Out::Io(Io::SaveDesired(desired)) => sorted.files.push(StateFile::Desired(desired)),
                Out::Io(Io::SaveLife(workload, life)) => {
                    sorted.files.push(StateFile::Life(workload, Some(life)))
                }
                Out::Io(Io::DropLife(workload)) => sorted.files.push(StateFile::Life(workload, None)),
                other @ (Out::Tell(_) | Out::Io(_) | Out::End(_)) => {
                    return Err(CommitError(format!("{other:?} is nothing to persist")));
                }
            }
        }
        Ok(sorted)
    }
}

/// All of it is on stable storage when this resolves with `Ok`.
pub(super) async fn commit(device: &Rc<Device>, sorted: ToKeep) -> Result<(), CommitError> {
    let ToKeep { ops, twins, locks, files } = sorted;
    for file in files {
        write(device, file).await?;
    }
    if !twins.is_empty() {
        let save = move |state: &StateFolder| crate::twins::save(state, twins.clone());
        commit_files(device, ("twins on the disk, to write", "a twin"), save).await?;
    }
    if let Some(locks) = locks {
        let to_write = locks.clone();
        let save = move |state: &StateFolder| crate::locks::save(state, &to_write);
        commit_files(device, ("locks on the disk, to write", "who holds updates back"), save).await?;
        device.adapters.view.locked_by(locks);
    }
    if ops.is_empty() { Ok(()) } else { commit_ops(device, ops).await }
}

async fn write(device: &Rc<Device>, file: StateFile) -> Result<(), CommitError> {
    let adapters = &device.adapters;
    if let StateFile::Desired(desired) = &file {
        // Once, however often there is no room for it.
        adapters.record_desired(desired);
    }
    loop {
        let (source, what, written) = match &file {
            StateFile::Versions(floors) => (
                "versions on the disk, to write",
                "the highest versions",
                adapters.save_floors(floors.clone()),
            ),
            StateFile::Desired(desired) => (DESIRED, "the desired state", adapters.save_desired(desired)),
            StateFile::Pulled(pulled) => (
                "images on the disk, to write",
                "which images were got",
                crate::pulled::save(&adapters.state, pulled),
            ),
            StateFile::Life(workload, life) => (
                "workloads on the disk, to write",
                "the versions of a workload",
                crate::lives::save(&adapters.state, workload, life.as_deref()),
            ),
        };
        if !no_room(device, (source, what), written)? {
            return Ok(());
        }
        tokio::time::sleep(NO_ROOM).await;
    }
}

/// Says how it went. Whether there was no room: then it is to be tried again, for what is written twice is the same, and a
/// full disk holds up who wants something kept and nobody else.
fn no_room(
    device: &Rc<Device>,
    (source, what): (&str, &str),
    written: io::Result<()>,
) -> Result<bool, CommitError> {
    let Err(error) = written else {
        device.problem(source, None);
        return Ok(false);
    };
    let problem = format!("{what} could not be written: {error}; make room on the disk");
    device.problem(source, Some(problem.clone()));
    if is_full(&error) { Ok(true) } else { Err(CommitError(problem)) }
}

/// On a thread of its own: several files may have to be synced, as often as modules say something.
async fn commit_files(
    device: &Rc<Device>,
    (source, what): (&str, &str),
    save: impl Fn(&StateFolder) -> io::Result<()> + Clone + Send + 'static,
) -> Result<(), CommitError> {
    loop {
        let (state, save) = (Arc::clone(&device.adapters.state), save.clone());
        let writing = device.adapters.blocking.spawn_blocking(move || save(&state)).await;
        let written = writing.unwrap_or_else(|error| Err(io::Error::other(error)));
        if !no_room(device, (source, what), written)? {
            return Ok(());
        }
        tokio::time::sleep(NO_ROOM).await;
    }
}

async fn commit_ops(device: &Rc<Device>, ops: Vec<StoreOp>) -> Result<(), CommitError> {
    let store = device.store().ok_or_else(|| CommitError("the queues are not open".into()))?;
    let ops = Arc::new(ops);
    loop {
        match store.commit(Arc::clone(&ops)).await {
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
