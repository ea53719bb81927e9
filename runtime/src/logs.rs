//! An operator's question for the last lines of a module.

use std::collections::BTreeSet;

use wayside_config::workload::ModuleId;

use crate::{engine::Engine, shell::View};

/// The log of the module that `name` means: `workload/module`, or `module` when only one workload has
/// one of that name.
///
/// # Errors
/// In words, with what to do.
pub(crate) async fn read(
    view: &View,
    engine: &Engine,
    name: &str,
    tail: u32,
    since_ms: u64,
) -> Result<String, String> {
    let module = find(view.report().modules.keys(), name)?;
    engine.logs(&module, tail, since_ms).await
}

/// What the container before the present one of that module wrote last.
///
/// # Errors
/// In words, with what to do.
pub(crate) async fn previous(view: &View, engine: &Engine, name: &str, tail: u32) -> Result<String, String> {
    let (engine, name) = (engine.clone(), name.to_owned());
    // What is on the device now is meant before what was on it once.
    let here: BTreeSet<String> = view.report().modules.keys().cloned().collect();
    let read = move || {
        let kept = engine.with_previous_logs();
        let now = find(kept.iter().filter(|module| here.contains(*module)), &name);
        let is_known = |module: &&String| **module == name || module.ends_with(&format!("/{name}"));
        let module = now.or_else(|_| find(kept.iter(), &name)).map_err(|error| {
            if kept.iter().any(|module| is_known(&module)) {
                return error;
            }
            let kept = if kept.is_empty() { "nothing".into() } else { kept.join(", ") };
            format!("nothing is kept of a container of `{name}` before the one that is there: a device keeps what wrote something and was replaced, and has {kept}")
        })?;
        engine
            .previous_logs(&module, tail)
            .map_err(|error| format!("what {module} wrote before cannot be read: {error}"))
    };
    tokio::task::spawn_blocking(read).await.map_err(|_| "the daemon is stopping".to_owned())?
}

/// The module that `name` means among `modules`.
///
/// # Errors
/// In words, with what to do.
pub(crate) fn find<'a>(modules: impl Iterator<Item = &'a String>, name: &str) -> Result<ModuleId, String> {
    let modules: Vec<&str> = modules.map(String::as_str).collect();
    let is_meant =
        |module: &&&str| **module == name || module.split_once('/').is_some_and(|(_, last)| last == name);
    let meant: Vec<&str> = modules.iter().filter(is_meant).copied().collect();
    match meant.as_slice() {
        [only] => only.parse().map_err(|error| format!("{only}: {error}")),
        [] if modules.is_empty() => Err(format!("no module is named `{name}`; this device runs none")),
        [] => Err(format!("no module is named `{name}`; this device runs {}", modules.join(", "))),
        several => Err(format!("several modules are named `{name}`: say which of {}", several.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_what_is_enough() {
        let modules = ["a/sensor", "b/detector", "b/sensor"].map(String::from);
        let find = |name| find(modules.iter(), name);
        assert_eq!(find("b/sensor"), Ok("b/sensor".parse().unwrap()));
        assert_eq!(find("detector"), Ok("b/detector".parse().unwrap()));
        assert_eq!(
            find("sensor").unwrap_err(),
            "several modules are named `sensor`: say which of a/sensor, b/sensor"
        );
        assert_eq!(
            find("pump").unwrap_err(),
            "no module is named `pump`; this device runs a/sensor, b/detector, b/sensor"
        );
    }
}
