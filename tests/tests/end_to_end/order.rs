//! Modules start when what they depend on is there, stop in the opposite order, and are as well as their checks say.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use wayside_tests::{
    build::{HOST_IMAGE, WEATHER_IMAGE},
    lab::Lab,
    wait::until,
};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn modules_start_in_order_and_an_unhealthy_version_is_taken_back() -> Result<()> {
    let lab = Lab::open()?;
    let (cloud, devices) = lab.fleet(&["a"])?;
    let device = &devices[0];
    let apply = |check: &str| {
        let file = lab.compose("order", &workload(check))?;
        lab.operator().at(&cloud, &["apply", "--no-wait", &file])
    };
    apply("--version")?;
    let web = device.wait_running("order/web")?;
    let (base, once) = (device.module("order/base")?, device.module("order/once")?);
    let started = text(&web["State"]["StartedAt"]);
    ensure!(text(&once["State"]["FinishedAt"]) <= started, "web did not wait for the end of once: {once}");
    ensure!(
        text(&base["State"]["Health"]["Log"][0]["Start"]) <= started,
        "web did not wait for base: {base}"
    );
    ensure!(base["State"]["Health"]["Status"] == "healthy", "{base}");
    let committed = until("the first version to be committed", PATIENCE, || {
        let status = device.status()?;
        Ok((status["versions"]["order"]["phase"] == "running").then_some(status))
    })?;
    ensure!(committed["modules"]["order/base"]["health"] == "healthy", "{committed}");

    apply("nonsense")?;
    let status = until("the version to be taken back", PATIENCE, || {
        let status = device.status()?;
        let problems = status["problems"].to_string();
        ensure!(
            problems.contains("was taken back: base is unhealthy") && problems.contains("nonsense"),
            "{status}"
        );
        Ok(Some(status))
    })?;
    ensure!(status["versions"]["order"]["version"] == committed["versions"]["order"]["version"], "{status}");
    until("base to be healthy again", PATIENCE, || {
        Ok((device.status()?["modules"]["order/base"]["health"] == "healthy").then_some(()))
    })?;
    ensure!(device.module("order/web")?["Id"] == web["Id"], "what did not change was made anew");

    // Who depends on others goes first.
    lab.operator().at(&cloud, &["remove", "order"])?;
    let mut is_wrong = false;
    until("web to go", PATIENCE, || {
        let (web, base) = (device.modules("order/web")?, device.modules("order/base")?);
        is_wrong |= base.is_empty() && !web.is_empty();
        Ok(web.is_empty().then_some(()))
    })?;
    ensure!(!is_wrong, "base went before web");
    device.wait_gone("order/base")
}

/// `web` waits for `base`, whose check runs a program with this argument, and for the end of `once`.
fn workload(check: &str) -> String {
    format!(
        r#"name: order
services:
  web:
    image: {WEATHER_IMAGE}
    command: [/weather-detector]
    environment: {{STATION: EWR}}
    depends_on:
      base: {{condition: service_healthy}}
      once: {{condition: service_completed_successfully}}
  base:
    image: {HOST_IMAGE}
    command: [/wayside-cloud, --listen, "127.0.0.1:7443", --api, "127.0.0.1:8480", --state, /state]
    tmpfs: [/state]
    healthcheck:
      test: ["CMD", "/wayside", "{check}"]
      interval: 1s
      retries: 2
  once:
    image: {HOST_IMAGE}
    command: [/wayside, --version]
    restart: "no"
x-wayside:
  target: all
  update: {{probation: 5s}}
"#
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
