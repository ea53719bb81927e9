//! Devices are strangers to each other until an operator admits them, and again when they are put out.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use wayside_tests::{
    device::{Device, Options},
    lab::Lab,
    wait::until_true,
};

use crate::workloads::idle;

const LIMIT: Duration = Duration::from_secs(30);

fn peers(device: &Device) -> Result<usize> {
    Ok(device.status()?["peers"].as_array().map_or(0, Vec::len))
}

/// The standing of each device that this one sees, by name.
fn standing(device: &Device, of: &str) -> Result<String> {
    let text = device.wayside(&["devices", "--json"])?;
    let devices: Vec<Value> = serde_json::from_str(&text).context(text)?;
    let found = devices.iter().find(|device| device["name"] == of);
    Ok(found.map_or("nowhere".into(), |found| found["standing"].as_str().unwrap_or_default().to_owned()))
}

#[test]
fn a_stranger_is_out_until_it_is_admitted_and_again_when_it_is_revoked() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::default() };
    let devices =
        ["a", "b", "c"].iter().map(|name| lab.device(name, &options)).collect::<Result<Vec<Device>>>()?;
    let [a, b, c] = devices.as_slice() else { unreachable!("there are three") };
    devices.iter().try_for_each(|device| device.wait_up().map(drop))?;
    // Everybody sees who waits, and nobody links.
    until_true("all in the lobby", LIMIT, || {
        Ok(standing(a, "b")? == "waits" && standing(a, "c")? == "waits")
    })?;
    a.wayside(&["approve", "a", "b", "--yes"])?;
    until_true("a and b to link", LIMIT, || Ok(peers(a)? == 1 && peers(b)? == 1))?;
    assert_eq!((standing(a, "b")?.as_str(), standing(a, "c")?.as_str()), ("member", "waits"));
    assert_eq!(peers(c)?, 0, "a stranger has neighbours");
    let problems = c.status()?["problems"].to_string();
    assert!(problems.contains("waits to be admitted"), "{problems}");

    a.wayside(&["approve", "c", "--yes"])?;
    until_true("all to link", LIMIT, || {
        Ok(devices.iter().all(|device| peers(device).is_ok_and(|peers| peers == 2)))
    })?;

    // One is away when another is put out, and hears it when it is back.
    b.signal("KILL")?;
    let key = c.status()?["device"].as_str().unwrap_or_default().to_owned();
    a.wayside(&["revoke", "--device", &key])?;
    until_true("c to be out", Duration::from_secs(10), || Ok(peers(a)? == 0 && peers(c)? == 0))?;
    b.start_again()?;
    b.wait_up()?;
    until_true("b to be back", LIMIT, || Ok(peers(b)? == 1 && peers(a)? == 1))?;
    until_true("b to hear who was put out", LIMIT, || {
        Ok(b.wayside(&["audit"])?.contains("list 1 of what is revoked"))
    })?;
    let problems = c.status()?["problems"].to_string();
    assert!(problems.contains("revoked"), "{problems}");
    assert_eq!(peers(c)?, 0);
    Ok(())
}

#[test]
fn who_is_revoked_is_out_of_the_cloud_at_once() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a", "b"])?;
    lab.operator().at(&cloud, &["apply", &lab.compose("one", &idle("one"))?])?;
    for device in &devices {
        device.wait_running("one/idle")?;
        until_true("the two to link", LIMIT, || Ok(peers(device)? == 1))?;
    }
    let key = devices[1].status()?["device"].as_str().unwrap_or_default().to_owned();
    lab.operator().at(&cloud, &["revoke", "--device", &key])?;
    until_true("b to be out of the cloud and of the mesh", Duration::from_secs(15), || {
        let of_cloud = devices[1].status()?["cloud"]["connected"] == Value::Bool(false);
        Ok(of_cloud && peers(&devices[0])? == 0 && peers(&devices[1])? == 0)
    })?;
    // The cloud knows it as gone, and does not take it when it comes again, nor when it starts anew.
    let is_online = || -> Result<bool> {
        let known = cloud.get("/api/v1/devices")?;
        let known = known.as_array().context("no list")?.iter().find(|known| known["device"] == key.as_str());
        Ok(known.is_some_and(|known| known["presence"] == "online"))
    };
    until_true("b to be gone at the cloud", LIMIT, || Ok(!is_online()?))?;
    devices[1].signal("KILL")?;
    devices[1].start_again()?;
    devices[1].wait_up()?;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        assert!(!is_online()?, "the cloud took it again");
    }
    // What it runs, it runs on.
    devices[1].wait_running("one/idle")?;
    Ok(())
}

#[test]
fn a_device_with_a_token_comes_in_by_itself_and_no_more_than_the_token_is_for() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::default() };
    let a = lab.device("a", &options)?;
    a.wait_up()?;
    a.wayside(&["approve", "a", "--yes"])?;
    let token = a.wayside(&["token", "new", "--label", "plant=p7"])?.trim().to_owned();
    let with_token = Options { arguments: vec!["--join-token".into(), token.clone()], ..options };
    let (b, mut others) = (lab.device("b", &with_token)?, Vec::new());
    b.wait_up()?;
    until_true("b to come in and link", LIMIT, || Ok(peers(&a)? == 1 && peers(&b)? == 1))?;
    assert_eq!(standing(&a, "b")?, "member");
    let rules: Vec<Value> = serde_json::from_str(&a.wayside(&["rule", "list", "--json"])?)?;
    assert_eq!(rules[0]["used"].as_array().map(Vec::len), Some(1), "{rules:?}");

    // The token was for one; nobody links with the next that has it.
    others.push(lab.device("c", &with_token)?);
    others[0].wait_up()?;
    until_true("c in the lobby", LIMIT, || Ok(standing(&a, "c")? == "waits"))?;
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!((peers(&others[0])?, standing(&a, "c")?.as_str()), (0, "waits"));

    // Both daemons start again, and b is out when the token is ended.
    b.signal("KILL")?;
    b.start_again()?;
    b.wait_up()?;
    until_true("b to be back", LIMIT, || Ok(peers(&a)? == 1 && peers(&b)? == 1))?;
    let rule = rules[0]["id"].as_str().unwrap_or_default().to_owned();
    a.wayside(&["revoke", "--rule", &rule])?;
    until_true("b to be out", LIMIT, || Ok(peers(&a)? == 0 && peers(&b)? == 0))?;
    let log = b.wayside(&["audit"])?;
    assert!(!log.contains(token.rsplit('.').next().unwrap_or_default()), "the token is in the log");
    Ok(())
}

#[test]
fn a_standing_rule_admits_who_asks_by_its_labels() -> Result<()> {
    let lab = Lab::open()?;
    let options = Options { no_wan: true, ..Options::default() };
    let a = lab.device("a", &options)?;
    a.wait_up()?;
    a.wayside(&["approve", "a", "--yes"])?;
    a.wayside(&["rule", "add", "--when", "plant=p7"])?;
    let labelled = Options { arguments: vec!["--label".into(), "plant=p7".into()], ..options.clone() };
    let (b, c) = (lab.device("b", &labelled)?, lab.device("c", &options)?);
    b.wait_up()?;
    c.wait_up()?;
    until_true("b to come in and link", LIMIT, || Ok(peers(&a)? == 1 && peers(&b)? == 1))?;
    until_true("c in the lobby", LIMIT, || Ok(standing(&a, "c")? == "waits"))?;
    assert_eq!(peers(&c)?, 0);
    Ok(())
}

/// Who has a device cannot have it take the place of another at the cloud by what it says there.
#[test]
fn a_device_is_at_its_cloud_what_it_was_granted_and_not_what_it_says() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, operator) = (lab.cloud()?, lab.operator());
    let joining = Options { no_engine: true, ..Options::joining(&lab, cloud.join_link())? };
    let says = |plant: &str| Options {
        state: Some(lab.name("state")),
        arguments: [joining.arguments.clone(), vec!["--label".into(), format!("plant={plant}")]].concat(),
        ..joining.clone()
    };
    let at_cloud = |name: &str| -> Result<(String, String)> {
        let known = cloud.get(&format!("/api/v1/devices/{name}"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&known["labels"]["plant"]), text(&known["presence"])))
    };
    let is_there = |name: &str, plant: &str| {
        until_true("the device at the cloud", LIMIT, || {
            Ok(at_cloud(name)? == (plant.to_owned(), "online".to_owned()))
        })
    };
    let first = lab.device("a", &says("p7"))?;
    is_there("a", "p7")?;
    operator.at(&cloud, &["approve", "a", "--name", "ewr", "--yes"])?;
    // It shows its grant when it connects the next time.
    first.signal("KILL")?;
    first.start_again()?;
    is_there("ewr", "p7")?;
    assert_eq!(operator.json_at(&cloud, &["call", "ewr", "ping"])?["name"], "ewr");

    // Another daemon with its key and other words. The cloud knows that the first one is gone, so that who is online is the other.
    first.signal("TERM")?;
    first.wait_ended(LIMIT)?;
    until_true("the cloud to know", LIMIT, || Ok(at_cloud("ewr")?.1 != "online"))?;
    let second = lab.device("b", &says("p8"))?;
    until_true("its own words", LIMIT, || Ok(second.status()?["labels"]["plant"] == "p8"))?;
    is_there("ewr", "p7")?;
    let meant_otherwise = operator.try_at(&cloud, &["call", "b", "ping"])?;
    assert_ne!(meant_otherwise.code, 0, "{meant_otherwise}");

    // What operators grant anew counts.
    operator.at(&cloud, &["approve", "ewr", "--name", "jfk", "--yes"])?;
    second.signal("KILL")?;
    second.start_again()?;
    is_there("jfk", "p8")
}

#[test]
fn two_machines_with_one_key_are_named_by_the_cloud_and_by_each_other() -> Result<()> {
    let lab = Lab::open()?;
    let cloud = lab.cloud()?;
    let options = Options { no_engine: true, ..Options::joining(&lab, cloud.join_link())? };
    let first = lab.device("a", &options)?;
    let says = |words: &str| Ok(cloud.get("/api/v1/devices")?.to_string().contains(words));
    until_true("the device at the cloud", LIMIT, || says("online"))?;
    // Started again it is no second one.
    first.signal("KILL")?;
    let folder = lab.folder()?;
    first.copy(&format!("{}:/var/lib/wayside", first.container()), &folder.to_string_lossy())?;
    first.start_again()?;
    first.wait_up()?;
    until_true("it to be back", LIMIT, || says("online"))?;
    assert!(!says("two machines")?, "one machine that was started again is taken for two");

    let state = Some(folder.join("wayside").to_string_lossy().into_owned());
    let second = lab.device("b", &Options { state, ..options })?;
    until_true("the cloud to name it", Duration::from_secs(90), || {
        says("two machines have this device's key")
    })?;
    for device in [&first, &second] {
        until_true("each to name the other", LIMIT, || {
            Ok(device.status()?["problems"].to_string().contains("has this device's key"))
        })?;
    }
    Ok(())
}
