//! What the container before the present one of each module wrote last: kept as it is removed, for whoever asks why its version
//! was taken back.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use wayside_config::workload::ModuleId;

use super::{Shared, logs};

/// In the state directory; a file for each module.
const FOLDER: &str = "previous-logs";
/// The most that is kept of one container.
const LINES: u32 = 1000;
const BYTES: usize = 64 << 10;
/// Modules of which something is kept; of more the oldest are forgotten.
const MODULES: usize = 100;

/// Keeps what a container wrote last, before it is removed. It is no loss to anybody's data when that fails.
pub(super) async fn keep(shared: &Shared, module: &ModuleId, container: &str) {
    let Ok(ready) = shared.engine() else { return };
    let text = match logs::last(&ready, container, LINES, 0, BYTES).await {
        Ok(text) if !text.is_empty() => text,
        Ok(_) => return,
        Err(error) => {
            tracing::debug!(%module, %error, "what the last container wrote is not kept");
            return;
        }
    };
    let (state, module) = (shared.settings.state.clone(), module.clone());
    let written = tokio::task::spawn_blocking(move || write(&state, &module, &text)).await;
    if let Ok(Err(error)) = written {
        tracing::debug!(%error, "what the last container wrote is not kept");
    }
}

/// The modules of which something is kept, as `workload/module`.
pub(super) fn modules(state: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(state.join(FOLDER)) else { return Vec::new() };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let module = |file: String| file.split_once('.').map(|(workload, module)| format!("{workload}/{module}"));
    entries.filter_map(name).filter_map(module).collect()
}

/// The last `tail` lines of what is kept of a module.
pub(super) fn read(state: &Path, module: &ModuleId, tail: u32) -> io::Result<String> {
    let text = fs::read_to_string(path(state, module))?;
    let skipped = text.lines().count().saturating_sub(tail as usize);
    Ok(text.split_inclusive('\n').skip(skipped).collect())
}

/// Containers that go at the same time write one after the other, through one file aside.
static WRITING: Mutex<()> = Mutex::new(());

fn write(state: &Path, module: &ModuleId, text: &str) -> io::Result<()> {
    let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = state.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = path(state, module);
    let fresh = folder.join("new");
    // Another's permissions would stay with the file.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&fresh, &path)?;
    let mut kept: Vec<(SystemTime, PathBuf)> = fs::read_dir(&folder)?
        .filter_map(|entry| {
            Some((entry.as_ref().ok()?.metadata().ok()?.modified().ok()?, entry.ok()?.path()))
        })
        .collect();
    kept.sort_unstable();
    let more = kept.len().saturating_sub(MODULES);
    kept.into_iter().take(more).try_for_each(|(_, oldest)| fs::remove_file(oldest))
}

/// `.` is in no name of a workload or a module.
fn path(state: &Path, module: &ModuleId) -> PathBuf {
    state.join(FOLDER).join(format!("{}.{}", module.workload, module.module))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_leave_at_the_same_time_is_each_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    let module = ModuleId::new("w", format!("m{number}"));
                    for turn in 0..50 {
                        let text = format!("{number} {turn}\n").repeat(200);
                        write(state, &module, &text).unwrap();
                        assert_eq!(read(state, &module, 1000).unwrap(), text);
                    }
                });
            }
        });
        assert_eq!(modules(state).len(), 8);
    }

    #[test]
    fn the_last_one_of_each_module_is_kept_and_of_many_modules_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let module = |number: usize| ModuleId::new("w", format!("m{number}"));
        assert!(modules(state).is_empty() && read(state, &module(0), 5).is_err());
        write(state, &module(0), "one\n").unwrap();
        write(state, &module(0), "two\nthree\nfour\n").unwrap();
        assert_eq!(read(state, &module(0), 2).unwrap(), "three\nfour\n");
        assert_eq!(read(state, &module(0), 9).unwrap(), "two\nthree\nfour\n");
        assert_eq!(modules(state), ["w/m0"]);
        for number in 1..=MODULES {
            std::thread::sleep(std::time::Duration::from_millis(5));
            write(state, &module(number), "x\n").unwrap();
        }
        assert_eq!(modules(state).len(), MODULES);
        assert!(read(state, &module(0), 1).is_err() && read(state, &module(MODULES), 1).is_ok());
    }
}
