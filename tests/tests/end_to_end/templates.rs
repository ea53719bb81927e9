//! A module's environment names labels of its device.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wayside_tests::{
    build::WEATHER_IMAGE,
    device::{Device, Options},
    lab::Lab,
    wait::until,
};

use crate::policy::set_up;

/// Two modules, of which one names a label.
fn file(label: &str) -> String {
    let service = |name: &str, environment: &str| {
        format!(
            "  {name}:\n    image: {WEATHER_IMAGE}\n    command: [/weather-detector]\n    environment: {{STATION: EWR{environment}}}\n"
        )
    };
    let knows = service("knows", &format!(", WHERE: \"plant/{{{{label:{label}}}}}\""));
    format!("name: grid\nservices:\n{knows}{}x-wayside:\n  target: all\n", service("other", ""))
}

fn is_where(container: &Value, value: &str) -> bool {
    let wanted = format!("WHERE=plant/{value}");
    let environment = container["Config"]["Env"].as_array();
    environment.is_some_and(|all| all.iter().any(|entry| *entry == *wanted))
}

fn apply(lab: &Lab, name: &str, label: &str) -> Result<String> {
    let compose = lab.compose(name, &file(label))?;
    lab.on_lan(lab.operator(), &compose, &["apply", "/compose.yaml", "--lan"])
}

#[test]
fn a_module_knows_the_labels_of_its_device_and_no_other_changes_with_them() -> Result<()> {
    let lab = Lab::open()?;
    let device: Device = lab.device("a", &Options::obeying(&lab)?)?;
    device.wait_up()?;
    set_up(&lab, &device, "labels = { plant = 'p7' }\n")?;
    apply(&lab, "good", "plant")?;
    ensure!(is_where(&device.wait_running("grid/knows")?, "p7"), "the module does not know its label");
    let other = device.wait_running("grid/other")?["Id"].clone();

    let Err(refused) = apply(&lab, "bad", "line") else { bail!("it was sent without the label") };
    let says = "a does not have the label `line`, which grid/knows names in WHERE";
    ensure!(format!("{refused:#}").contains(says), "{refused:#}");
    ensure!(is_where(&device.module("grid/knows")?, "p7"), "what runs was touched");

    set_up(&lab, &device, "labels = { plant = 'p8' }\n")?;
    let compose = lab.compose("good", &file("plant"))?;
    // It says so of itself with the first look, which may come before it is heard.
    until("the other label to be granted", Duration::from_secs(60), || {
        let approved = lab.on_lan(lab.operator(), &compose, &["approve", "a", "--lan"]);
        Ok(approved.is_ok_and(|said| said.contains("1 device(s) are admitted")).then_some(()))
    })?;
    until("the module to know the other label", Duration::from_secs(60), || {
        Ok(is_where(&device.wait_running("grid/knows")?, "p8").then_some(()))
    })?;
    let now = device.wait_running("grid/other")?;
    assert_eq!(now["Id"].as_str().context("an id")?, other.as_str().context("an id")?);
    Ok(())
}
