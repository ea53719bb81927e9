//! Where a program keeps its state when nobody says otherwise: for the device and the cloud alike.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The usual state directory of `program`: `/var/lib/PROGRAM` for root, else below `$XDG_STATE_HOME` or
/// `~/.local/state`, and where there is no home either, `PROGRAM-state` in the current directory.
#[must_use]
pub fn state_folder(program: &str) -> PathBuf {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    usual(program, is_root(), absolute("XDG_STATE_HOME"), absolute("HOME"))
}

fn usual(program: &str, is_root: bool, state_home: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    if is_root {
        return Path::new("/var/lib").join(program);
    }
    let base = state_home.or_else(|| Some(home?.join(".local/state")));
    base.map_or_else(|| format!("{program}-state").into(), |base| base.join(program))
}

fn is_root() -> bool {
    // The owner of a process's own entry is its effective user.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_one_place_and_others_have_theirs() {
        let usual = |is_root, state_home: Option<&str>, home: Option<&str>| {
            usual("wayside", is_root, state_home.map(Into::into), home.map(Into::into))
        };
        let (state, home) = (Some("/s"), Some("/h"));
        assert_eq!(usual(true, state, home), Path::new("/var/lib/wayside"));
        assert_eq!(usual(false, state, home), Path::new("/s/wayside"));
        assert_eq!(usual(false, None, home), Path::new("/h/.local/state/wayside"));
        assert_eq!(usual(false, None, None), Path::new("wayside-state"));
    }
}
