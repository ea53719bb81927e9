//! A new version comes to a device that runs one: what fails is taken back whole, what runs well is kept, and what did
//! not change is never touched.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wayside_tests::{build::WEATHER_IMAGE, device::Device, engine::docker, lab::Lab, wait::until};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_update_whose_module_ends_is_taken_back_whole() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = &devices[0];
    let apply = |module: &str| {
        let file = lab.compose("line", &workload(module))?;
        lab.operator().at(&cloud, &["apply", "--no-wait", &file])
    };
    apply(&good("1"))?;
    wait_phase(device, "running")?;
    let version = device.status()?["versions"]["line"]["version"].clone();
    let (kept, changed) = (device.module("line/keep")?, device.module("line/change")?);

    // It ends at once with code 1; and it brings a module that was not there.
    apply(&format!("{}\x20 more:\n{}", BAD, body("1")))?;
    let status = wait_problem(device, "was taken back: change exited with 1 three times")?;
    ensure!(status["versions"]["line"]["version"] == version, "{status}");
    wait_phase(device, "running")?;
    device.wait_running("line/change")?;
    device.wait_gone("line/more")?;
    let wrote = until("what the version that was taken back wrote", PATIENCE, || {
        device.wayside(&["logs", "a/change", "--previous"]).map(Some)
    })?;
    ensure!(wrote.contains("SENSOR_RATE"), "{wrote}");
    let by_cloud = lab.operator().at(&cloud, &["logs", "a/line/change", "--previous", "--tail", "1"])?;
    ensure!(wrote.lines().last() == Some(by_cloud.trim()), "{by_cloud}");
    ensure!(device.module("line/keep")?["Id"] == kept["Id"], "what did not change was made anew");
    ensure!(
        device.module("line/keep")?["State"]["StartedAt"] == kept["State"]["StartedAt"],
        "it was started anew"
    );
    ensure!(
        device.module("line/change")?["Config"]["Env"] != changed["Config"]["Env"],
        "a new container has new credentials"
    );
    let told = until("the cloud to be told", PATIENCE, || {
        let device = lab.operator().json_at(&cloud, &["status", "a"])?;
        Ok(device["problems"].to_string().contains("was taken back").then_some(device))
    })?;
    ensure!(told["versions"]["line"]["version"] == version, "{told}");

    // Over a restart of the daemon it is not tried again; and what a daemon before could not remove any more goes.
    device.signal("KILL")?;
    let of_device = format!("wayside.device={}", device.key()?);
    for what in ["leaving", "coming"] {
        let left = lab.name(&format!("change.{what}-0123456789ab"));
        let labels =
            ["--label", &of_device, "--label", "wayside.module=line/change", "--label", &lab.label()];
        docker([&["create", "--name", &left], labels.as_slice(), &[WEATHER_IMAGE]].concat())?;
    }
    device.start_again()?;
    device.wait_up()?;
    let only_modules = || {
        let names =
            docker(["ps", "--all", "--filter", &format!("label={of_device}"), "--format", "{{.Names}}"])?;
        ensure!(
            !names.contains(".leaving-") && !names.contains(".coming-") && names.lines().count() == 2,
            "{names}"
        );
        Ok(Some(()))
    };
    until("all that has ended or is not wanted any more to be removed", PATIENCE, only_modules)?;
    wait_problem(device, "was taken back: change exited with 1 three times")?;
    ensure!(device.status()?["versions"]["line"]["version"] == version);

    // What mends it is.
    let (old, since) = (device.module("line/change")?, now_s()?.to_string());
    apply(&good("2"))?;
    let mended = version.as_u64().map(|version| version + 2);
    until("the version that mends it to be committed", PATIENCE, || {
        let status = device.status()?;
        let line = &status["versions"]["line"];
        Ok((line["version"].as_u64() == mended && line["phase"] == "running").then_some(()))
    })?;
    ensure!(device.status()?["problems"] == serde_json::json!([]), "{}", device.status()?);
    ensure!(device.module("line/keep")?["Id"] == kept["Id"], "what did not change was made anew");
    until("nothing else to be left", PATIENCE, only_modules)?;

    // The module was away only as long as the engine takes to start a container: the next one was there.
    let (new, until_now) = (device.module("line/change")?, (now_s()? + 1).to_string());
    let range = ["events", "--since", &since, "--until", &until_now];
    let filter = format!("label={of_device}");
    let form = ["--filter", &filter, "--format", "{{.Action}} {{.Actor.ID}}"];
    let happened = docker([range.as_slice(), &form].concat())?;
    let at = |what: &str, container: &Value| {
        let line = format!("{what} {}", container["Id"].as_str().unwrap_or_default());
        happened.lines().position(|happened| happened == line).with_context(|| format!("{line}: {happened}"))
    };
    let order = [at("create", &new)?, at("die", &old)?, at("rename", &new)?, at("start", &new)?];
    ensure!(order.is_sorted(), "{order:?} in {happened}");
    Ok(())
}

#[test]
fn the_version_before_runs_on_while_an_image_cannot_be_had() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = &devices[0];
    let apply = |text: &str| {
        let file = lab.compose("line", text)?;
        lab.operator().at(&cloud, &["apply", "--no-wait", &file])
    };
    apply(&workload(&good("1")))?;
    wait_phase(device, "running")?;
    let before = [device.module("line/keep")?, device.module("line/change")?];
    let absent = good("2").replace(WEATHER_IMAGE, "wayside-nowhere.invalid/absent:1");
    apply(&workload(&absent))?;
    let status =
        wait_problem(device, "waits: the image wayside-nowhere.invalid/absent:1 is not on this device")?;
    ensure!(status["versions"]["line"]["phase"] == "preparing", "{status}");
    for container in &before {
        let now = wayside_tests::engine::inspect(container["Id"].as_str().unwrap_or_default())?;
        ensure!(now["State"] == container["State"], "it was touched: {now}");
    }
    // Something newer replaces what waits.
    apply(&workload(&good("3")))?;
    until("the newest version to run", PATIENCE, || {
        let change = device.module("line/change")?;
        Ok((change["Config"]["Env"].to_string().contains("RELEASE=r3") && change["State"]["Running"] == true)
            .then_some(()))
    })
}

/// `keep`, and what else the text has.
fn workload(module: &str) -> String {
    format!(
        "name: line\nservices:\n\x20 keep:\n{}{module}x-wayside:\n\x20 target: all\n\x20 update: {{probation: 3s}}\n",
        body("0")
    )
}

/// The module that changes, in a version that stays up.
fn good(release: &str) -> String {
    format!("\x20 change:\n{}", body(release))
}

fn body(release: &str) -> String {
    format!(
        "\x20   image: {WEATHER_IMAGE}\n\x20   command: [/weather-detector]\n\x20   environment: {{STATION: EWR, RELEASE: r{release}}}\n"
    )
}

/// The module that changes, in a version that ends: a rate that is no number.
const BAD: &str = "\x20 change:\n\x20   image: wayside-weather:demo\n\x20   command: [/weather-sensor]\n\x20   environment: {SENSOR_RATE: x}\n";

/// Seconds since 1970, as the engine names times: it runs on this machine.
fn now_s() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn wait_phase(device: &Device, phase: &str) -> Result<Value> {
    until(&format!("phase {phase}"), PATIENCE, || {
        let status = device.status()?;
        Ok((status["versions"]["line"]["phase"] == phase).then_some(status))
    })
}

fn wait_problem(device: &Device, words: &str) -> Result<Value> {
    until(&format!("a problem with `{words}`"), PATIENCE, || {
        let status = device.status()?;
        ensure!(status["problems"].to_string().contains(words), "{status}");
        Ok(Some(status))
    })
}
