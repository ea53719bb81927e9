//! A module has what its release asks for where the device's policy allows it, and nowhere else.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wayside_tests::{
    build::{SHELL_IMAGE, WEATHER_IMAGE, shell_image},
    device::Device,
    engine::docker,
    lab::Lab,
    wait::until,
};

use crate::workloads::idle_with;

/// Gives the device settings, and starts it again with them.
pub(crate) fn set_up(lab: &Lab, device: &Device, settings: &str) -> Result<()> {
    let file = lab.folder()?.join("wayside.toml");
    fs::write(&file, settings)?;
    let to = format!("{}:/var/lib/wayside/wayside.toml", device.container());
    docker(["cp", file.to_str().context("a path")?, &to])?;
    device.signal("KILL")?;
    device.start_again()?;
    device.wait_up()?;
    Ok(())
}

#[test]
fn a_module_has_what_it_asks_for_where_the_device_allows_it() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    let data = lab.folder()?;
    let data = data.to_str().context("a path")?;
    let policy =
        format!("[policy]\ncapabilities = ['NET_ADMIN']\ndevices = ['/dev/null']\npaths = ['{data}:ro']\n");
    set_up(&lab, &device, &policy)?;

    let asks = format!(
        "    cap_add: [NET_ADMIN]\n    devices: ['/dev/null:/dev/nothing:r']\n    volumes: ['{data}:/data:ro']\n"
    );
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("good", &idle_with("good", &asks))?])?;
    device.wait_running("good/idle")?;
    let container = device.module("good/idle")?;
    let host = &container["HostConfig"];
    assert_eq!((&host["CapDrop"], &host["CapAdd"]), (&json!(["ALL"]), &json!(["NET_ADMIN"])));
    assert_eq!(host["Devices"][0]["PathInContainer"], "/dev/nothing");
    // It names no limit: one is there all the same, where the engine can set any.
    let told = docker(["info", "--format", "{{.MemoryLimit}} {{.MemTotal}}"])?;
    let (can, total) = told.trim().split_once(' ').context("two words")?;
    let limit = if can == "true" { total.parse::<u64>()? / 4 * 3 } else { 0 };
    assert_eq!(host["Memory"], limit, "{told}");
    let mount = &container["Mounts"][0];
    assert_eq!(
        (&mount["Type"], &mount["Source"], &mount["RW"]),
        (&json!("bind"), &json!(data), &json!(false))
    );

    // The engine's socket, more than was allowed of what was, and another capability: each is named with its line.
    let asks =
        format!("    cap_add:\n    - SYS_ADMIN\n    volumes: ['/var/run/docker.sock:/s', '{data}:/data']\n");
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("bad", &idle_with("bad", &asks))?])?;
    let says = until("the device to refuse it", Duration::from_secs(60), || {
        let status = device.status()?;
        let text = status.to_string();
        Ok(text.contains("which this device does not allow").then_some(text))
    })?;
    for part in [
        "bad/idle asks in its Compose file for the capability SYS_ADMIN (line 8)",
        "the host's /var/run/docker.sock, to write (line 9)",
        &format!("the host's {data}, to write (line 9)"),
    ] {
        ensure!(says.contains(part), "`{part}` is not in {says}");
    }
    assert!(device.modules("bad/idle")?.is_empty());
    assert_eq!(device.status()?["modules"]["good/idle"]["state"], Value::from("running"));
    Ok(())
}

#[test]
fn a_root_is_read_only_where_the_image_or_the_file_says_so() -> Result<()> {
    let lab = Lab::open()?;
    shell_image()?;
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    let cases = [
        ("image", WEATHER_IMAGE, "", true),
        ("file", WEATHER_IMAGE, "    read_only: false\n", false),
        ("nobody", SHELL_IMAGE, "", false),
        ("both", SHELL_IMAGE, "    read_only: true\n", true),
    ];
    let service = |(name, image, says, _): &(&str, &str, &str, bool)| {
        format!("\x20 {name}:\n\x20   image: {image}\n\x20   command: [none]\n{says}")
    };
    let services: String = cases.iter().map(service).collect();
    let text = format!("name: roots\nservices:\n{services}x-wayside: {{target: all}}\n");
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("roots", &text)?])?;
    for (name, .., is_read_only) in cases {
        let module = format!("roots/{name}");
        let made = until("its container", Duration::from_secs(60), || Ok(device.module(&module).ok()))?;
        assert_eq!(made["HostConfig"]["ReadonlyRootfs"], is_read_only, "{name}");
    }
    Ok(())
}
