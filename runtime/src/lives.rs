//! What is kept of workloads on this device's own disk: a file for each, so that a phase of one costs one small write.
//! Releases lie there as they were signed.

use std::{collections::BTreeMap, fs, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_actors::device::reconciler::{Life, TakenBack, Version};
use wayside_config::{
    cosign::{self, CosignError},
    document::Release,
    identity::FleetId,
    workload::is_name,
};

use crate::state::{Found, StateFolder};

const FOLDER: &str = "workloads";
const VERSION: u16 = 1;

/// The form on the disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    committed: Option<Bytes>,
    trial: Option<Bytes>,
    starts: u32,
    taken_back: Option<TakenBack>,
}

/// Keeps what is known of a workload, or forgets it.
///
/// # Errors
/// It is as it was before.
pub(crate) fn save(state: &StateFolder, workload: &str, life: Option<&Life>) -> io::Result<()> {
    state.folder(FOLDER)?;
    let Some(Life { committed, trial, starts, taken_back }) = life else {
        return state.remove(&file(workload));
    };
    let sealed = |version: &Option<Version>| version.as_ref().map(|version| version.sealed.clone());
    let (committed, trial) = (sealed(committed), sealed(trial));
    let kept = Kept { committed, trial, starts: *starts, taken_back: taken_back.clone() };
    state.write(&file(workload), VERSION, &kept)
}

/// Reads them all; those of another fleet count for nothing. What is damaged is saved aside; the texts are problems to show.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn load(
    state: &StateFolder,
    fleet: Option<FleetId>,
) -> io::Result<(BTreeMap<String, Life>, Vec<String>)> {
    const MEANING: &str =
        "the version that runs is taken for the first one of its workload: there is none to go back to";
    let (mut lives, mut problems) = (BTreeMap::new(), Vec::new());
    let Some(fleet) = fleet else { return Ok((lives, problems)) };
    for entry in fs::read_dir(state.folder(FOLDER)?)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // What is left of a write that did not end has a dot.
        if !is_name(&name) {
            continue;
        }
        match state.read::<Kept>(&file(&name), VERSION) {
            Found::Whole(kept) => match reopen(kept, &fleet) {
                Ok(life) => drop(lives.insert(name, life)),
                Err(error) => {
                    let aside = state.set_aside(&file(&name), &error.to_string());
                    problems.push(format!("{aside}; {MEANING}"));
                }
            },
            Found::Damaged(problem) => problems.push(format!("{problem}; {MEANING}")),
            Found::Nothing => {}
        }
    }
    Ok((lives, problems))
}

/// It was verified when it came, so whether who signed it still may is not asked again; that it is unchanged is.
fn reopen(kept: Kept, fleet: &FleetId) -> Result<Life, CosignError> {
    let open = |sealed: Bytes| {
        let opened = cosign::inspect::<Release>(fleet, &sealed);
        opened.map(|(_, release)| Version { sealed, release })
    };
    let committed = kept.committed.map(open).transpose()?;
    let trial = kept.trial.map(open).transpose()?;
    Ok(Life { committed, trial, starts: kept.starts, taken_back: kept.taken_back })
}

fn file(workload: &str) -> String {
    format!("{FOLDER}/{workload}")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::{fleet::Fleet, workload::Workload};

    use super::*;

    fn version(number: u64, fleet: &Fleet, operator: &SigningKey) -> Version {
        let workload = Workload {
            name: "w".into(),
            target: Default::default(),
            modules: BTreeMap::new(),
            leaves: BTreeMap::new(),
            routes: Vec::new(),
            twins: BTreeMap::new(),
            update: Default::default(),
            priority: Workload::PRIORITY,
        };
        let release = Release { version: number, issued_ms: 1, expires_ms: None, workload };
        let sealed = cosign::seal(&fleet.id(), &release, operator).unwrap().into();
        Version { sealed, release }
    }

    #[test]
    fn both_versions_are_kept_as_they_were_signed_and_a_damaged_file_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let operator = SigningKey::from_bytes(&[5; 32]);
        let fleet = Fleet::of_one(&operator).unwrap();
        let life = Life {
            committed: Some(version(6, &fleet, &operator)),
            trial: Some(version(7, &fleet, &operator)),
            starts: 2,
            taken_back: Some(TakenBack { version: 5, why: "sensor exited with 3".into() }),
        };
        for name in ["w", "w2", "w3"] {
            save(&state, name, Some(&life)).unwrap();
        }
        save(&state, "w2", None).unwrap();
        let whole = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), life.clone())).collect();
        assert_eq!(load(&state, Some(fleet.id())).unwrap(), (whole(&["w", "w3"]), Vec::new()));
        assert_eq!(load(&state, None).unwrap().0, BTreeMap::new());
        fs::write(folder.path().join("workloads/w"), "x").unwrap();
        fs::write(folder.path().join("workloads/w9.new"), "half").unwrap();
        let (lives, problems) = load(&state, Some(fleet.id())).unwrap();
        assert_eq!(lives, whole(&["w3"]));
        assert!(problems[0].contains("none to go back to"), "{problems:?}");
        // Of another fleet: nothing of it is what this device verified.
        let other = Fleet::of_one(&SigningKey::from_bytes(&[6; 32])).unwrap();
        assert_eq!(load(&state, Some(other.id())).unwrap().0, BTreeMap::new());
    }
}
