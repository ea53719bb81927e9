//! What operators did on a device is in its log, and the log proves it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wayside_tests::{lab::Lab, operator::Operator};

use crate::calls::running;

fn acts(shown: &Value) -> Result<Vec<String>> {
    let text = |entry: &Value| {
        let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", word("act"), word("way"), word("text"))
    };
    Ok(shown["entries"].as_array().context("entries")?.iter().map(text).collect())
}

fn head(shown: &Value) -> Result<String> {
    Ok(format!("{}:{}", shown["head"]["seq"], shown["head"]["hash"].as_str().context("a hash")?))
}

#[test]
fn what_was_done_by_right_is_recorded_and_proven() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, device) = running(&lab)?;
    let operator = lab.operator();
    let audit = |words: &[&str]| operator.json_at(&cloud, &[&["audit", "a"], words].concat());

    let thief = Operator::new(lab.binaries().path("wayside"))?;
    ensure!(thief.try_at(&cloud, &["call", "a", "ping"])?.code == 1);
    operator.at(&cloud, &["call", "a", "restart", r#"{"module": "probe/idle"}"#, "--deadline", "60s"])?;
    device.wayside(&["logs", "a/idle"])?;
    // What is recorded before it is done, and then is not.
    ensure!(device.try_wayside(&["unlock", "nobody"])?.code == 1);

    let folder = lab.folder()?;
    let file = folder.join("a.audit");
    let path = file.to_str().context("a path")?;
    let shown = audit(&["--out", path])?;
    let said = acts(&shown)?;
    let has = |begin: &str, end: &str| {
        ensure!(
            said.iter().any(|line| line.starts_with(begin) && line.contains(end)),
            "`{begin}`..`{end}` in {said:#?}"
        );
        Ok(())
    };
    has("started own: wayside ", "")?;
    has("fleet cloud: fleet ", "root 1")?;
    has("desired cloud: assignment 1: probe ", "signed by ")?;
    has("refused cloud: signed by ", "whom this device does not trust")?;
    has("call cloud: restart with ", "probe/idle")?;
    has("logs local: idle", "")?;
    has("update local: the lock of nobody is ended", "")?;
    has("refused local: the end of the lock before this was not done: ", "holds no lock")?;
    let by = &shown["entries"]
        .as_array()
        .context("entries")?
        .iter()
        .find(|e| e["act"] == "call")
        .context("the call")?["by"];
    assert_eq!(by[0].as_str().context("a key")?, operator.key()?);

    // It goes on over a daemon that was killed, from the head that was kept.
    let kept = head(&shown)?;
    device.signal("KILL")?;
    device.start_again()?;
    device.wait_up()?;
    let local: Value = serde_json::from_str(&device.wayside(&["audit", "--after", &kept, "--json"])?)?;
    let later = acts(&local)?;
    assert!(later[0].starts_with("started own: wayside "), "{later:?}");

    // A file that was kept proves itself, and not what was made of it.
    let key = device.key()?;
    let check = |file: &str| operator.try_at(&cloud, &["audit", "--check", file, "--of", &key]);
    let checked = check(path)?;
    assert!(checked.code == 0 && checked.stdout.contains("verified: entries 1 to"), "{checked}");
    let mut bytes = fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes)?;
    let checked = check(path)?;
    assert!(checked.code == 1 && checked.stderr.contains("does not prove what it says"), "{checked}");
    Ok(())
}
