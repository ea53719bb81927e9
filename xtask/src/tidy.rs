//! The rules that lints cannot keep. Each is a function from the sources to what is wrong.

mod dependencies;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use wayside_tests::{build::workspace, command::run as command};

/// A text file under version control.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    text: String,
}

/// Checks every rule.
///
/// # Errors
/// When one is broken: all of what is wrong, a line each.
pub(crate) fn run() -> Result<()> {
    let root = workspace();
    let files = read(&root)?;
    let mut wrong = sources::check(&files);
    wrong.extend(dependencies::check(&files)?);
    for line in &wrong {
        eprintln!("tidy: {line}");
    }
    ensure!(wrong.is_empty(), "{} rules are broken", wrong.len());
    Ok(())
}

/// Every file that git knows or would take, as text. Files that are not text are left out.
fn read(root: &Path) -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let list = command(&mut git)?;
    let existing = list.lines().filter(|path| root.join(path).is_file());
    Ok(existing
        .filter_map(|path| {
            let text = fs::read_to_string::<PathBuf>(root.join(path)).ok()?;
            Some(Source { path: path.to_owned(), text })
        })
        .collect())
}
