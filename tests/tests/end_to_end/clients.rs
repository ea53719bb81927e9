//! Clients that people have: mosquitto's commands as leaf devices, and the example in Python with paho-mqtt.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use wayside_tests::{
    alone::{Alone, LEAVES, PASSWORD},
    build::{Binaries, example},
    command::{Ended, capture, run, run_within, wait},
    ensure::{bring, program},
    wait::until_true,
};

const INSTALL: Duration = Duration::from_secs(600);

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = wait(&mut self.0, Duration::from_secs(10));
    }
}

/// `mosquitto_pub` or `mosquitto_sub` as a leaf of `climate`.
fn mosquitto(alone: &Alone, command: &str, leaf: &str, arguments: &[&str]) -> Command {
    let (host, port) = LEAVES.split_once(':').unwrap();
    let mut client = alone.namespace().command(command);
    client.args(["-h", host, "-p", port, "-u", &format!("climate/{leaf}"), "-P", PASSWORD]).args(arguments);
    client
}

fn publish(alone: &Alone, celsius: u32) -> Ended {
    let message = format!("{{\"celsius\": {celsius}}}");
    let arguments = ["-q", "1", "-t", "temperature", "-m", &message];
    capture(&mut mosquitto(alone, "mosquitto_pub", "thermometer", &arguments)).unwrap()
}

/// A Python with what the example requires.
fn python() -> PathBuf {
    program("python3", &["python3"]).unwrap();
    let folder = env::temp_dir().join("wayside-lab-python");
    let python = folder.join("bin/python");
    let requirements = example("python").join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(folder.join("requirements.txt")).is_ok_and(|have| have == wanted) {
        return python;
    }
    let venv = || run_within(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), INSTALL);
    if venv().is_err() {
        // Debian keeps the half of it that brings pip in a package of its own.
        bring("python3 -m venv", &["python3-venv"]).unwrap();
        venv().unwrap();
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    run_within(&mut install, INSTALL).unwrap();
    fs::write(folder.join("requirements.txt"), wanted).unwrap();
    python
}

#[test]
fn the_python_example_and_mosquitto_get_everything_over_a_killed_daemon() {
    program("mosquitto_pub", &["mosquitto-clients"]).unwrap();
    let python = python();
    let mut alone = Alone::start(&Binaries::build(false).unwrap()).unwrap();
    let leaves = ["thermometer", "smooth", "display"];
    let routes = [
        "temperatures: { from: thermometer/temperature, to: smooth }",
        "averages: { from: smooth/average, to: display }",
    ];
    alone.apply_workload("climate", &leaves, &routes).unwrap();
    until_true("the workload to be there", Duration::from_secs(30), || Ok(publish(&alone, 20).code == 0))
        .unwrap();
    // What the daemon sets for a module; here a leaf, for there is no registry with a Python image.
    let (host, port) = LEAVES.split_once(':').unwrap();
    let mut module = alone.namespace().command(&python);
    module.arg(example("python").join("smooth.py")).stdin(Stdio::null());
    module.env("WAYSIDE_MQTT_HOST", host).env("WAYSIDE_MQTT_PORT", port);
    module.env("WAYSIDE_MQTT_USERNAME", "climate/smooth").env("WAYSIDE_MQTT_PASSWORD", PASSWORD);
    let _module = Running(module.spawn().unwrap());
    assert_eq!(publish(&alone, 22).code, 0);
    // Nothing reads yet: the average of the first waits for the display. Then everything is killed.
    alone.kill().unwrap();
    alone.start_again(&[]).unwrap();
    until_true("the daemon to take messages again", Duration::from_secs(30), || {
        Ok(publish(&alone, 27).code == 0)
    })
    .unwrap();
    let arguments = ["-i", "display", "-c", "-q", "1", "-t", "average", "-C", "3", "-W", "60"];
    let shown = run(&mut mosquitto(&alone, "mosquitto_sub", "display", &arguments)).unwrap();
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown, [r#"{"celsius": 20.0}"#, r#"{"celsius": 21.0}"#, r#"{"celsius": 23.0}"#]);
}

#[test]
fn a_leaf_with_a_wrong_password_or_topic_is_told_so() {
    program("mosquitto_pub", &["mosquitto-clients"]).unwrap();
    let alone = Alone::start(&Binaries::build(false).unwrap()).unwrap();
    let routes = ["temperatures: { from: thermometer/temperature, to: cloud }"];
    alone.apply_workload("climate", &["thermometer"], &routes).unwrap();
    until_true("the workload to be there", Duration::from_secs(30), || Ok(publish(&alone, 20).code == 0))
        .unwrap();
    let other = ["-V", "mqttv5", "-q", "1", "-t", "humidity", "-m", "1", "-d"];
    let told = capture(&mut mosquitto(&alone, "mosquitto_pub", "thermometer", &other)).unwrap();
    // Reason code 135, 0x87: not authorized.
    let text = format!("{}{}", told.stdout, told.stderr);
    assert!(text.contains("RC:135") || text.contains("Not authorized"), "{told}");
    let (host, port) = LEAVES.split_once(':').unwrap();
    let mut wrong = alone.namespace().command("mosquitto_pub");
    wrong.args([
        "-h",
        host,
        "-p",
        port,
        "-u",
        "climate/thermometer",
        "-P",
        "guess",
        "-t",
        "temperature",
        "-m",
        "1",
    ]);
    let told = capture(&mut wrong).unwrap();
    assert!(told.code != 0 && told.stderr.contains("bad user name or password"), "{told}");
}
