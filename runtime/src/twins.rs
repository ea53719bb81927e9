//! Twins on this device's own disk: a file for each, so that a change costs what changed.

use std::{collections::BTreeMap, fs, io};

use wayside_actors::device::twins::Twin;
use wayside_config::workload::ModuleId;

use crate::state::{Found, StateFolder};

const FOLDER: &str = "twins";
const VERSION: u16 = 1;

/// Keeps the twins that there are, and forgets those that are `None`.
///
/// # Errors
/// Each is as it was before, or as it should be.
pub(crate) fn save(state: &StateFolder, twins: BTreeMap<ModuleId, Option<Box<Twin>>>) -> io::Result<()> {
    state.folder(FOLDER)?;
    for (module, twin) in twins {
        match twin {
            Some(twin) => state.write(&file(&module), VERSION, &*twin)?,
            None => state.remove(&file(&module))?,
        }
    }
    Ok(())
}

/// Reads them all. What is damaged is saved aside; the texts are problems to show.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn load(state: &StateFolder) -> io::Result<(BTreeMap<ModuleId, Twin>, Vec<String>)> {
    const MEANING: &str = "the module's twin begins anew, and what was desired of it has to be set again";
    let (mut twins, mut problems) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(state.folder(FOLDER)?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A name has no dot, so what is left of a write that did not end is no module's.
        let module = name.split_once('.').and_then(|(w, m)| format!("{w}/{m}").parse::<ModuleId>().ok());
        let Some(module) = module else { continue };
        match state.read::<Twin>(&file(&module), VERSION) {
            Found::Whole(twin) => drop(twins.insert(module, twin)),
            Found::Damaged(problem) => problems.push(format!("{problem}; {MEANING}")),
            Found::Nothing => {}
        }
    }
    Ok((twins, problems))
}

/// Names of workloads and modules have no dot.
fn file(module: &ModuleId) -> String {
    format!("{FOLDER}/{}.{}", module.workload, module.module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_kept_each_for_itself_and_a_damaged_one_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let [a, b, c] = ["w/a", "w/b", "w2/a"].map(|name| name.parse::<ModuleId>().unwrap());
        let twin = |life| Some(Box::new(Twin::new(life)));
        let all = BTreeMap::from([(a.clone(), twin(1)), (b.clone(), twin(2)), (c.clone(), twin(3))]);
        save(&state, all).unwrap();
        save(&state, BTreeMap::from([(b.clone(), None)])).unwrap();
        let (loaded, problems) = load(&state).unwrap();
        assert_eq!(loaded, BTreeMap::from([(a, Twin::new(1)), (c.clone(), Twin::new(3))]));
        assert_eq!(problems, [""; 0]);
        fs::write(folder.path().join("twins/w.a"), "x").unwrap();
        fs::write(folder.path().join("twins/w2.a.new"), "half").unwrap();
        let (loaded, problems) = load(&state).unwrap();
        assert_eq!(loaded, BTreeMap::from([(c, Twin::new(3))]));
        assert!(
            problems[0].contains("damaged/twins-w.a-") && problems[0].contains("set again"),
            "{problems:?}"
        );
    }
}
