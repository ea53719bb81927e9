//! Images come from a real registry by their digests, are what was signed, and go when nothing needs them.

use std::time::Duration;

use anyhow::{Result, ensure};
use wayside_tests::{
    build::WEATHER_IMAGE,
    cloud::Cloud,
    command::Ended,
    device::Device,
    engine::try_docker,
    lab::Lab,
    registry::{Pushed, Registry},
    wait::until,
};

use crate::policy::set_up;

/// A device looks once a minute at the least, and first a minute after its daemon started.
const PATIENCE: Duration = Duration::from_secs(120);

fn apply(lab: &Lab, cloud: &Cloud, image: &Pushed, probation: &str) -> Result<()> {
    let update = format!("probation: {probation}");
    let applied = apply_named(lab, cloud, &image.reference, &update, &["--no-wait"])?;
    ensure!(applied.code == 0, "{applied}");
    Ok(())
}

fn apply_named(lab: &Lab, cloud: &Cloud, image: &str, update: &str, more: &[&str]) -> Result<Ended> {
    let text = format!(
        "name: pulled\nservices:\n\x20 idle:\n\x20   image: {}\n\x20   command: [/weather-detector]\n\x20   environment: {{STATION: EWR}}\nx-wayside:\n\x20 target: all\n\x20 update: {{{update}}}\n",
        image
    );
    let file = lab.compose("pulled", &text)?;
    lab.operator().try_at(cloud, &[&["apply", &file], more].concat())
}

fn wait_runs(device: &Device, image: &str) -> Result<()> {
    until(&format!("{image} to run"), PATIENCE, || {
        let container = device.module("pulled/idle")?;
        let is_it = container["Config"]["Image"] == image;
        Ok((is_it && container["State"]["Running"] == true).then_some(()))
    })
}

fn is_there(image: &str) -> Result<bool> {
    Ok(try_docker(["image", "inspect", "--format", "{{.Id}}", image])?.code == 0)
}

#[test]
fn an_image_is_pulled_by_its_digest_and_goes_when_no_version_needs_it() -> Result<()> {
    let lab = Lab::open()?;
    let registry = Registry::start(&lab)?;
    let [first, second, third] = [registry.push()?, registry.push()?, registry.push()?];
    ensure!(!is_there(&first.reference)?, "the engine has it before it is pulled");
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    for (image, probation) in [(&first, "0s"), (&second, "0s"), (&third, "1h")] {
        apply(&lab, &cloud, image, probation)?;
        wait_runs(&device, &image.reference)?;
    }
    ensure!(is_there(&first.reference)?, "it went at once");
    set_up(&lab, &device, "[images]\nkeep_unused = '0s'\n")?;
    until("the image that no version needs to go", PATIENCE, || {
        Ok((!is_there(&first.reference)?).then_some(()))
    })?;
    // What runs, what it would go back to, and what others brought.
    for image in [&second.reference, &third.reference, WEATHER_IMAGE] {
        ensure!(is_there(image)?, "{image} is gone");
    }
    Ok(())
}

#[test]
fn an_operator_signs_the_digest_that_a_tag_means_today() -> Result<()> {
    let lab = Lab::open()?;
    let registry = Registry::start(&lab)?;
    let image = registry.push()?;
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    let apply = |image: &str, more: &[&str]| apply_named(&lab, &cloud, image, "probation: 0s", more);
    let nowhere = image.tag.replace("probe:", "nothing:");
    let refused = apply(&nowhere, &["--pin"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("no registry tells the digest of"), "{refused}");
    // Without a word about it the same is tried, and said where it fails.
    let file = lab.folder()?.join("signed").display().to_string();
    for (image, why) in [(&*nowhere, ""), (WEATHER_IMAGE, "made or loaded on this machine")] {
        let signed = apply(image, &["--out", &file])?;
        let says =
            format!("{image} is signed by its tag, which may mean another image on another device: {why}");
        ensure!(signed.code == 0 && signed.stderr.contains(&says), "{signed}");
    }
    let applied = apply(&image.tag, &["--no-wait"])?;
    ensure!(applied.code == 0 && applied.stderr.contains(&format!("is {}", image.reference)), "{applied}");
    wait_runs(&device, &image.reference)?;
    let applied = apply(&image.tag, &["--no-wait", "--no-pin"])?;
    ensure!(applied.code == 0 && !applied.stderr.contains(&image.tag), "{applied}");
    wait_runs(&device, &image.tag)
}

#[test]
fn an_image_larger_than_was_signed_is_not_downloaded() -> Result<()> {
    let lab = Lab::open()?;
    let registry = Registry::start(&lab)?;
    let image = registry.push_with(3 << 20)?;
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    let at_most = |max: &str| {
        let applied =
            apply_named(&lab, &cloud, &image.reference, &format!("pull_max: {max}"), &["--no-wait"])?;
        ensure!(applied.code == 0, "{applied}");
        Ok(())
    };
    at_most("1MiB")?;
    until("the device to say that it is too large", PATIENCE, || {
        let status = device.status()?;
        let text = status["versions"]["pulled"]["problem"].to_string();
        ensure!(text.contains("and the release allows 1048576: raise `pull_max`"), "{status}");
        Ok(Some(()))
    })?;
    ensure!(!is_there(&image.reference)?, "the engine has got it all the same");
    ensure!(device.modules("pulled/idle")?.is_empty(), "something of it was made");
    at_most("4MiB")?;
    wait_runs(&device, &image.reference)
}

#[test]
fn a_registry_that_serves_other_bytes_is_refused_until_it_serves_the_right_ones() -> Result<()> {
    let lab = Lab::open()?;
    let registry = Registry::start(&lab)?;
    let image = registry.push()?;
    registry.alter(&image)?;
    let (cloud, mut devices) = lab.fleet(&["a"])?;
    let device = devices.remove(0);
    apply(&lab, &cloud, &image, "0s")?;
    until("the device to say that it is not what was signed", PATIENCE, || {
        let status = device.status()?;
        let text = status["versions"]["pulled"]["problem"].to_string();
        ensure!(
            text.contains("waits: the image") && text.contains("verification failed for digest"),
            "{status}"
        );
        Ok(Some(()))
    })?;
    ensure!(device.modules("pulled/idle")?.is_empty(), "something of it was made");
    registry.alter(&image)?;
    wait_runs(&device, &image.reference)
}
