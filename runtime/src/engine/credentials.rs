//! Which passwords modules have: each container its own, and none that outlives it.
//!
//! A password is derived from the device's key and a number that the container's label carries, so that nothing secret is
//! written down but in the container. Which numbers count is kept on the disk too: modules find their daemon
//! also while the engine does not answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use wayside_config::workload::ModuleId;

use crate::state::{Found, StateFolder};

const FILE: &str = "credentials";
const VERSION: u16 = 1;

/// The numbers that count, by module.
#[derive(Debug, Default)]
pub struct Credentials {
    held: Mutex<Held>,
    state: Option<Arc<StateFolder>>,
}

#[derive(Debug, Default)]
struct Held {
    issued: Vec<Issued>,
    /// How often one was issued or its container made.
    count: u64,
}

/// One container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    module: String,
    /// Empty for a container that was made before each had its own.
    number: String,
    /// `None` until the engine has made it.
    container: Option<String>,
    /// When it was issued or its container made, counted by this daemon; 0 for those of before.
    #[serde(skip)]
    order: u64,
}

/// A container that the engine has.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) module: ModuleId,
    pub(super) number: String,
    pub(super) container: String,
}

impl Credentials {
    /// As they were kept.
    #[must_use]
    pub fn load(state: Arc<StateFolder>) -> Self {
        let issued = match state.read::<Vec<Issued>>(FILE, VERSION) {
            Found::Whole(issued) => issued,
            Found::Nothing => Vec::new(),
            Found::Damaged(problem) => {
                tracing::warn!(problem, "modules connect again once the engine has listed them");
                Vec::new()
            }
        };
        Self { held: Mutex::new(Held { issued, count: 0 }), state: Some(state) }
    }

    /// The numbers that count for a module.
    #[must_use]
    pub fn numbers(&self, module: &ModuleId) -> Vec<String> {
        let name = module.to_string();
        self.held()
            .issued
            .iter()
            .filter(|issued| issued.module == name)
            .map(|issued| issued.number.clone())
            .collect()
    }

    /// A new one, which counts from now on.
    pub(super) fn issue(&self, module: &ModuleId) -> Result<String, String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| format!("no randomness for a password: {error}"))?;
        let number = wayside_config::hash::hex(&bytes);
        let mut held = self.held();
        held.count += 1;
        let order = held.count;
        held.issued.push(Issued {
            module: module.to_string(),
            number: number.clone(),
            container: None,
            order,
        });
        self.keep(&held);
        Ok(number)
    }

    /// What became of it: it is of this container, or of none.
    pub(super) fn made(&self, number: &str, container: Option<&str>) {
        let mut held = self.held();
        match container {
            Some(container) => {
                // A list that has begun may not have it.
                held.count += 1;
                let order = held.count;
                for issued in held.issued.iter_mut().filter(|issued| issued.number == number) {
                    (issued.container, issued.order) = (Some(container.to_owned()), order);
                }
            }
            None => held.issued.retain(|issued| issued.number != number),
        }
        self.keep(&held);
    }

    /// The container is gone, and its password with it.
    pub(super) fn gone(&self, container: &str) {
        let mut held = self.held();
        let before = held.issued.len();
        held.issued.retain(|issued| issued.container.as_deref() != Some(container));
        if held.issued.len() != before {
            self.keep(&held);
        }
    }

    /// What has happened so far: what happens later is not on a list that begins now.
    pub(super) fn count(&self) -> u64 {
        self.held().count
    }

    /// The engine has these, by a list that began when so much had happened.
    pub(super) fn listed(&self, containers: Vec<Listed>, count: u64) {
        let mut held = self.held();
        let is_later =
            |issued: &&Issued| issued.order > count || (issued.order > 0 && issued.container.is_none());
        let later = held.issued.iter().filter(is_later).cloned();
        let listed = containers.into_iter().map(|Listed { module, number, container }| Issued {
            module: module.to_string(),
            number,
            container: Some(container),
            order: 0,
        });
        let by_number: BTreeMap<_, _> = later
            .chain(listed)
            .map(|issued| ((issued.module.clone(), issued.number.clone()), issued))
            .collect();
        let issued: Vec<_> = by_number.into_values().collect();
        if issued != held.issued {
            held.issued = issued;
            self.keep(&held);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, held: &Held) {
        if let Some(state) = &self.state
            && let Err(error) = state.write(FILE, VERSION, &held.issued)
        {
            tracing::warn!(%error, "which credentials count could not be kept: after a restart modules wait for the engine");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor() -> ModuleId {
        "weather/sensor".parse().unwrap()
    }

    fn listed(number: &str, container: &str) -> Listed {
        Listed { module: sensor(), number: number.into(), container: container.into() }
    }

    #[test]
    fn a_new_container_has_its_own_and_the_old_one_ends_with_its_container() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFolder::open(folder.path()).unwrap());
        let credentials = Credentials::load(Arc::clone(&state));
        let first = credentials.issue(&sensor()).unwrap();
        credentials.made(&first, Some("c1"));
        let second = credentials.issue(&sensor()).unwrap();
        credentials.made(&second, Some("c2"));
        assert_ne!(first, second);
        assert_eq!(credentials.numbers(&sensor()), [first, second.clone()]);
        credentials.gone("c1");
        assert_eq!(credentials.numbers(&sensor()), std::slice::from_ref(&second));
        let failed = credentials.issue(&sensor()).unwrap();
        credentials.made(&failed, None);
        assert_eq!(Credentials::load(state).numbers(&sensor()), [second]);
        assert!(credentials.numbers(&"weather/other".parse().unwrap()).is_empty());
    }

    #[test]
    fn what_the_engine_does_not_have_counts_no_more_unless_it_is_being_made() {
        let credentials = Credentials::default();
        let gone = credentials.issue(&sensor()).unwrap();
        credentials.made(&gone, Some("c1"));
        let [being_made, made] = [(), ()].map(|()| credentials.issue(&sensor()).unwrap());
        let count = credentials.count();
        let new = credentials.issue(&sensor()).unwrap();
        credentials.made(&made, Some("c4"));
        credentials.listed(vec![listed("", "c0"), listed("5e", "c3")], count);
        let mut expected = vec![String::new(), "5e".to_owned(), new, being_made, made];
        expected.sort();
        let mut numbers = credentials.numbers(&sensor());
        numbers.sort();
        assert_eq!(numbers, expected);
    }
}
