//! What a person wrote wrong is refused by name, file and line, and changes nothing.

use anyhow::Result;
use wayside_tests::{command::capture, lab::Lab};

use crate::workloads::idle;

#[test]
fn an_unsupported_key_is_refused_with_file_and_line() -> Result<()> {
    let lab = Lab::open()?;
    let cloud = lab.cloud()?;
    let text = idle("one").replace("    command:", "    privileged: true\n    command:");
    let line = 1 + text.lines().position(|line| line.contains("privileged")).unwrap_or_default();
    let file = lab.compose("one", &text)?;
    let ended = lab.operator().try_at(&cloud, &["apply", &file])?;
    assert_eq!(ended.code, 2, "{ended}");
    assert!(ended.stderr.contains("privileged"), "{ended}");
    assert!(ended.stderr.contains(&format!("compose.yaml:{line}")), "no line {line} in {ended}");
    assert_eq!(cloud.get("/api/v1/workloads")?.as_array().map(Vec::len), Some(0), "it changed something");
    Ok(())
}

#[test]
fn every_broken_file_gets_an_error_and_exit_code_2() -> Result<()> {
    let lab = Lab::open()?;
    let cloud = lab.cloud()?;
    let deep = format!("name: x\nx-a: {}", "[".repeat(50_000));
    let long = format!("name: x\n# {}\n", "x".repeat(8 << 20));
    for text in ["", "name: [", "- 1\n- 2\n", "name: x\nservices: {}\n", &deep, &long] {
        let file = lab.compose("broken", text)?;
        let ended = lab.operator().try_at(&cloud, &["apply", &file])?;
        let start: String = text.chars().take(20).collect();
        assert_eq!(ended.code, 2, "`{start}`: {ended}");
        assert!(ended.stderr.contains("compose.yaml"), "`{start}`: {ended}");
    }
    Ok(())
}

#[test]
fn usage_and_reach_have_their_own_exit_codes() -> Result<()> {
    let lab = Lab::open()?;
    assert_eq!(capture(lab.operator().command().arg("aply"))?.code, 2);
    let file = lab.compose("one", &idle("one"))?;
    let mut nowhere = lab.operator().command();
    nowhere.args(["apply", &file, "--cloud", "http://127.0.0.1:9"]).env("WAYSIDE_TOKEN", "none");
    let ended = capture(&mut nowhere)?;
    assert_eq!(ended.code, 3, "{ended}");
    assert!(ended.stderr.contains("127.0.0.1:9"), "{ended}");
    let ended = capture(nowhere.args(["--device", "a"]))?;
    assert!(ended.code == 2 && ended.stderr.contains("`target`"), "{ended}");
    Ok(())
}
