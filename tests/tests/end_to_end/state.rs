//! The state directory: one daemon at a time, and a damaged file does not take the rest with it.

use std::{fs, time::Duration};

use anyhow::Result;
use wayside_tests::{
    build::HOST_IMAGE,
    device::{Device, Options},
    engine::try_docker,
    lab::Lab,
    wait::until_true,
};

use crate::workloads::{idle, weather};

#[test]
fn a_second_daemon_is_refused() -> Result<()> {
    let lab = Lab::open()?;
    let device = lab.device("a", &Options::default())?;
    device.wait_up()?;
    let (label, volume) = (lab.label(), format!("{}:/var/lib/wayside", lab.name("a")));
    let second =
        try_docker(["run", "--rm", "--label", &label, "--volume", &volume, HOST_IMAGE, "/wayside", "up"])?;
    assert_ne!(second.code, 0, "{second}");
    assert!(second.to_string().contains("/var/lib/wayside"), "it does not say which: {second}");
    device.status()?;
    Ok(())
}

#[test]
fn a_damaged_file_is_named_saved_aside_and_the_rest_comes_up() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("one", &idle("one"))?])?;
    let device = &devices[0];
    device.wait_running("one/idle")?;
    let key = device.key()?;
    device.signal("KILL")?;
    overwrite(&lab, device, "desired", b"not what was written")?;
    device.start_again()?;
    let status = device.wait_up()?;
    assert_eq!(status["device"], key.as_str(), "the rest came up");
    device.wait_problem("desired")?;
    let in_log = || Ok(device.log()?.contains("desired"));
    until_true("the damaged file in the log", Duration::from_secs(10), in_log)?;
    let folder = lab.folder()?;
    device.copy(&format!("{}:/var/lib/wayside/damaged", device.container()), &folder.to_string_lossy())?;
    assert_eq!(fs::read_dir(folder.join("damaged"))?.count(), 1, "not saved aside");
    // The cloud still wants it: it comes back, in the container that is there.
    device.wait_running("one/idle")?;
    Ok(())
}

#[test]
fn a_damaged_store_is_named_and_new_messages_flow() -> Result<()> {
    const ROWS: usize = 50;
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["ewr"])?;
    let device = &devices[0];
    device.signal("KILL")?;
    device.wait_ended(Duration::from_secs(10))?;
    let folder = lab.folder()?;
    device.copy(&format!("{}:/var/lib/wayside/store", device.container()), &folder.to_string_lossy())?;
    let mut damaged = 0;
    for file in files(&folder.join("store"))? {
        if file.file_name().is_some_and(|name| name == "db" || name == "conf") {
            fs::write(&file, vec![0xa5; 4096])?;
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there is no database in the store");
    let from = format!("{}/.", folder.join("store").to_string_lossy());
    device.copy(&from, &format!("{}:/var/lib/wayside/store", device.container()))?;
    device.start_again()?;
    device.wait_up()?;
    device.wait_problem("store")?;
    until_true("the damage to be counted", Duration::from_secs(10), || {
        Ok(device.status()?["store"]["damages"].as_u64() >= Some(1))
    })?;
    lab.operator().at(&cloud, &["apply", "--no-wait", &lab.compose("weather", &weather(ROWS)?)?])?;
    until_true("new messages", Duration::from_secs(60), || Ok(cloud.messages(0)?.len() >= ROWS))
}

#[test]
fn without_an_engine_the_daemon_stays_up_and_says_so() -> Result<()> {
    let lab = Lab::open()?;
    let device = lab.device("a", &Options { no_engine: true, ..Options::default() })?;
    device.wait_up()?;
    device.wait_problem("docker.sock")
}

fn overwrite(lab: &Lab, device: &Device, file: &str, bytes: &[u8]) -> Result<()> {
    let local = lab.folder()?.join(file);
    fs::write(&local, bytes)?;
    device.copy(&local.to_string_lossy(), &format!("{}:/var/lib/wayside/{file}", device.container()))
}

fn files(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    Ok(all)
}
