//! A module has its secrets in memory, gets new values while it runs, and nobody else ever sees one.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wayside_tests::{
    build::WEATHER_IMAGE,
    cloud::Cloud,
    device::{Device, Options},
    engine::{docker, try_docker},
    lab::Lab,
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Both values have it, and nothing else does.
const MARK: &str = "hunter2";

fn file() -> String {
    let service = |name: &str, lines: &str| {
        format!(
            "  {name}:\n    image: {WEATHER_IMAGE}\n    command: [/weather-detector]\n    environment: {{STATION: EWR}}\n{lines}"
        )
    };
    let holds =
        service("holds", "    read_only: true\n    secrets: [{source: token, target: key, mode: 0400}]\n");
    let other = service("other", "");
    format!(
        "name: grid\nsecrets: {{token: {{external: true}}}}\nservices:\n{holds}{other}x-wayside:\n  target: all\n"
    )
}

/// What the module has, as its own container sees it.
fn has(device: &Device, folder: &Path) -> Result<Option<String>> {
    let id = device.module("grid/holds")?["Id"].as_str().context("an id")?.to_owned();
    let to = folder.join("key");
    let from = format!("{id}:/run/secrets/key");
    let copied = try_docker(["cp", &from, to.to_str().context("a path")?])?;
    if copied.code != 0 {
        return Ok(None);
    }
    let text = fs::read_to_string(&to)?;
    fs::remove_file(&to)?;
    Ok(Some(text))
}

fn await_value(device: &Device, folder: &Path, value: Option<&str>) -> Result<()> {
    until(&format!("the module to have {value:?}"), LIMIT, || {
        Ok((has(device, folder)?.as_deref() == value).then_some(()))
    })
}

fn run(container: &Value) -> (&Value, &Value) {
    (&container["Id"], &container["State"]["StartedAt"])
}

/// Nothing that others may see has a value.
fn leaks_nothing(lab: &Lab, cloud: &Cloud, device: &Device) -> Result<()> {
    let mut seen = vec![
        ("the daemon's log", device.log()?),
        ("the audit log", device.wayside(&["audit"])?),
        ("the module", device.module("grid/holds")?.to_string()),
        ("the other module", device.module("grid/other")?.to_string()),
        ("the status", device.status()?.to_string()),
    ];
    let cloud_log = try_docker(["logs", cloud.container()])?;
    seen.push(("the cloud's log", cloud_log.stdout + &cloud_log.stderr));
    for (what, text) in &seen {
        ensure!(!text.contains(MARK), "{what} has it: {text}");
    }
    for (whose, from) in [
        ("device", format!("{}:/var/lib/wayside", device.container())),
        ("cloud", format!("{}:/state", cloud.container())),
    ] {
        let folder = lab.folder()?;
        docker(["cp", &from, folder.to_str().context("a path")?])?;
        let files = files(&folder)?;
        ensure!(files.len() > 3, "the {whose} keeps only {files:?}");
        for path in files {
            let bytes = fs::read(&path)?;
            let found = bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes());
            ensure!(!found, "{} of the {whose} has it", path.display());
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let (path, kind) =
            (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::file_type));
        match (path, kind) {
            (Ok(path), Ok(Ok(kind))) if kind.is_dir() => all.extend(files(&path)?),
            (Ok(path), Ok(Ok(kind))) if kind.is_file() => all.push(path),
            (..) => {}
        }
    }
    Ok(all)
}

#[test]
fn a_module_has_its_secret_in_memory_and_a_new_value_without_a_restart_and_nobody_else_sees_one() -> Result<()>
{
    let lab = Lab::open()?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let cloud = lab.cloud()?;
    let mut options = Options::joining(&lab, cloud.join_link())?;
    options.arguments.push("-vv".into());
    options.memory = Some(memory.path().to_str().context("a path")?.to_owned());
    let device = lab.device("a", &options)?;
    device.wait_up()?;
    let compose = lab.compose("grid", &file())?;
    lab.on_lan(lab.operator(), &compose, &["apply", "/compose.yaml", "--lan", "--no-wait"])?;
    device.wait_running("grid/other")?;
    until("the device to say what is missing", LIMIT, || {
        Ok(device.status()?.to_string().contains("grid/holds has the secret `token`").then_some(()))
    })?;
    ensure!(device.modules("grid/holds")?.is_empty(), "it was made without its secret");

    let folder = lab.folder()?;
    let value = |name: &str| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, format!("{MARK}-{name}"))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let (first, second) = (value("first")?, value("second")?);
    lab.operator().at(&cloud, &["secret", "set", "token", "--device", "a", "--file", &first])?;
    let container = device.wait_running("grid/holds")?;
    await_value(&device, &folder, Some("hunter2-first"))?;

    let set = ["secret", "set", "token", "--all", "--lan", "--file", "/compose.yaml"];
    lab.on_lan(lab.operator(), &second, &set)?;
    await_value(&device, &folder, Some("hunter2-second"))?;
    assert_eq!(run(&device.module("grid/holds")?), run(&container), "it was started again for that");
    leaks_nothing(&lab, &cloud, &device)?;

    device.signal("KILL")?;
    device.start_again()?;
    device.wait_up()?;
    lab.on_lan(lab.operator(), &first, &set)?;
    await_value(&device, &folder, Some("hunter2-first"))?;
    assert_eq!(run(&device.module("grid/holds")?), run(&container), "it was started again for that");
    lab.on_lan(lab.operator(), &first, &["secret", "remove", "token", "--device", "a", "--lan"])?;
    await_value(&device, &folder, None)?;
    device.wait_problem("grid/holds has the secret `token`, which was not set")?;

    device.wait_up()?;
    lab.on_lan(lab.operator(), &first, &set)?;
    await_value(&device, &folder, Some("hunter2-first"))?;
    let key = device.key()?;
    let kept_bytes = || -> Result<u64> {
        let folder = lab.folder()?;
        device
            .copy(&format!("{}:/var/lib/wayside/secrets", device.container()), &folder.to_string_lossy())?;
        Ok(fs::metadata(folder.join("secrets"))?.len())
    };
    let before = kept_bytes()?;
    ensure!(before > 300, "what was set is not kept: {before} bytes");
    lab.on_lan(lab.operator(), &first, &["revoke", "--device", &key, "--lan"])?;
    await_value(&device, &folder, None)?;
    until("what it kept to go", LIMIT, || Ok((kept_bytes()? < 100).then_some(())))
}
