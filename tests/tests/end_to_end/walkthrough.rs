//! The walk-through of the documentation, command by command as it is written: what it says comes out.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use wayside_tests::{
    build::{SHELL_IMAGE, shell_image, workspace},
    command::{Ended, capture_within},
    device::{Device, Options},
    lab::Lab,
    wait::until,
};

/// One command waits for a probation, or for a version to be taken back.
const LIMIT: Duration = Duration::from_secs(120);

/// A command that goes on is stopped after this.
const FOLLOWED: &str = "timeout 8";

/// What the page has people do in their editor.
const GOOD: &str = r#"["sh", "-c", "while sleep 1; do date; done"]"#;
const BAD: &str = r#"["sh", "-c", "echo no sensor; exit 3"]"#;
const MENDED: &str = r#"["sh", "-c", "while sleep 2; do date; done"]"#;

/// What stands in the page for what is different each time, and what it was this time.
struct Walk {
    folder: PathBuf,
    /// What the commands before have set.
    prelude: Vec<String>,
    bens_key: Option<String>,
    fleet: Option<String>,
    device: Option<String>,
}

#[test]
fn what_the_walkthrough_says_comes_out() -> Result<()> {
    shell_image()?;
    let lab = Lab::open()?;
    let folder = lab.folder()?;
    let state = lab.folder()?;
    let page = fs::read_to_string(workspace().join("docs/walkthrough.md"))?;
    fs::write(folder.join("passphrase"), "a passphrase of the laboratory")?;
    let mut walk = Walk {
        prelude: vec![
            format!("export PATH={}:$PATH", lab.binaries().path("").display()),
            format!("export WAYSIDE_PASSPHRASE_FILE={}/passphrase HOME={0}", folder.display()),
        ],
        folder: folder.clone(),
        bens_key: None,
        fleet: None,
        device: None,
    };
    let compose = folder.join("walk/compose.yaml");
    let mut ewr = None::<Device>;
    for (section, block) in blocks(&page) {
        let of = || format!("section {section}, `{}`", block.lines().next().unwrap_or_default());
        match block.split_once('\n') {
            Some(("yaml", text)) => {
                ensure!(text.contains("image: alpine:3") && text.contains(GOOD), "{}", of());
                let text = text.replace("alpine:3", SHELL_IMAGE).replace("probation: 20s", "probation: 3s");
                fs::write(&compose, text)?;
            }
            Some(("console", text)) if text.starts_with("# wayside up") => {
                let wanted = "# wayside up --name ewr --fleet 9f31c0… --state /tmp/walk-state";
                ensure!(text.trim() == wanted, "{text}");
                let arguments = vec!["--fleet".to_owned(), walk.fleet.clone().context("no fleet")?];
                let state = Some(state.to_string_lossy().into_owned());
                let device = lab.device("ewr", &Options { arguments, state, ..Options::default() })?;
                device.wait_up()?;
                walk.device = Some(device.key()?);
                ewr = Some(device);
            }
            Some(("console", text)) => {
                let text = text.replace("/tmp/walk-state", &state.to_string_lossy());
                match section {
                    "4. An update that fails" => {
                        committed(ewr.as_ref(), 1)?;
                        edit(&compose, GOOD, BAD)?;
                    }
                    "6. Put the device out" => {
                        // Section 5 is words: the same three commands.
                        edit(&compose, BAD, MENDED)?;
                        for command in [
                            "wayside apply compose.yaml --out clock.release",
                            "wayside sign clock.release --operator-key ben.key",
                            "wayside apply clock.release",
                        ] {
                            walk.step(command, &[])?;
                        }
                        committed(ewr.as_ref(), 3)?;
                    }
                    _ => {}
                }
                walk.all(&text).with_context(of)?;
            }
            Some((_, _)) | None => bail!("a block of another kind: {}", of()),
        }
    }
    let ewr = ewr.context("no device was started")?;
    ensure!(ewr.module("clock/clock")?["State"]["Running"] == true, "what runs does not run on");
    Ok(())
}

/// Fenced blocks with their language, and the heading that they stand under.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut blocks = Vec::new();
    for (index, part) in page.split("```").enumerate() {
        if index % 2 == 1 {
            blocks.push((section, part));
        } else if let Some(heading) = part.lines().rev().find_map(|line| line.strip_prefix("## ")) {
            section = heading;
        }
    }
    blocks
}

fn edit(file: &PathBuf, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(from), "{text}");
    Ok(fs::write(file, text.replace(from, to))?)
}

fn committed(device: Option<&Device>, version: u64) -> Result<()> {
    let device = device.context("no device")?;
    until(&format!("version {version} to be past its probation"), LIMIT, || {
        let status = device.status()?;
        let clock = &status["versions"]["clock"];
        ensure!(clock["phase"] == "running" && clock["version"] == version, "{clock}");
        Ok(Some(()))
    })
}

impl Walk {
    /// Commands, each with the lines that follow it.
    fn all(&mut self, text: &str) -> Result<()> {
        let mut commands = Vec::<(&str, Vec<&str>)>::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, Vec::new())),
                (None, Some((_, expected))) => expected.push(line),
                (None, None) => bail!("output before a command: {line}"),
            }
        }
        commands.into_iter().try_for_each(|(command, expected)| self.step(command, &expected))
    }

    fn step(&mut self, command: &str, expected: &[&str]) -> Result<()> {
        let (command, _) = command.split_once(" # ").unwrap_or((command, ""));
        let mut command = command.trim().to_owned();
        for (name, value) in [("BENS-PUBLIC-KEY", &self.bens_key), ("KEY-OF-EWR", &self.device)] {
            if let Some(value) = value {
                command = command.replace(name, value);
            }
        }
        if command.ends_with(" -f") {
            command = format!("{FOLLOWED} {command}");
        }
        let ended = self.run(&command)?;
        // Also where it is only said that more have to sign.
        let fails = expected
            .iter()
            .any(|line| line.starts_with("error:") || line.contains("signatures that it needs"));
        let is_right = match ended.code {
            0 => !fails,
            124 => command.starts_with(FOLLOWED),
            _ => fails,
        };
        ensure!(is_right, "`{command}`: {ended}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        for line in expected {
            check(line, &said).with_context(|| format!("`{command}`"))?;
        }
        match command.as_str() {
            "wayside key new --operator-key ben.key" => {
                let key = ended.stdout.split_whitespace().find(|word| word.len() == 52);
                self.bens_key = Some(key.with_context(|| said.clone())?.to_owned());
            }
            "wayside fleet --operator-key anna.key" => {
                self.fleet = Some(ended.stdout.trim().lines().last().context("no fleet")?.to_owned());
            }
            // What a shell would keep.
            "mkdir walk && cd walk" => self.prelude.push("cd walk".into()),
            set if set.starts_with("export ") => self.prelude.push(command.clone()),
            _ => {}
        }
        Ok(())
    }

    fn run(&self, command: &str) -> Result<Ended> {
        let script = [&self.prelude[..], &[command.to_owned()]].concat().join("\n");
        let mut shell = Command::new("sh");
        shell.current_dir(&self.folder).args(["-ec", &script]);
        capture_within(&mut shell, LIMIT)
    }
}

/// Whether a line of the page is in what was said: the words of it, but for keys and hashes, and what it leaves out.
fn check(line: &str, said: &str) -> Result<()> {
    let varies = |word: &str| {
        let word = word.trim_end_matches([',', ':', ';']);
        word == "..."
            || word.contains('…')
            || (word.len() == 8 && word.chars().all(|c| c.is_ascii_alphanumeric()))
    };
    let mut rest = said;
    for word in line.split_whitespace().filter(|word| !varies(word)) {
        let at = rest.find(word).with_context(|| format!("`{word}` of `{line}` is not in:\n{said}"))?;
        rest = rest.get(at + word.len()..).unwrap_or_default();
    }
    Ok(())
}
