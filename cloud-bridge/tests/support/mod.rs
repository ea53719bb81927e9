//! A cloud in a process of its own, and devices that talk to it.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use wayside_actors::{
    device::io::Uplink,
    frame::{Hello, PROTOCOL, ToCloud, ToDevice},
    message::{Batch, Message},
    report::Report,
};
use wayside_cloud_bridge::device::{CloudAddress, Event, UplinkClient};
use wayside_config::{identity::PublicKey, join::JoinLink};

const LIMIT: Duration = Duration::from_secs(20);

/// A running `wayside-cloud`. Killed when dropped.
pub struct Cloud {
    child: Child,
    /// What it printed when it was up.
    pub said: String,
    pub page: String,
    pub join: JoinLink,
}

impl Cloud {
    /// Starts one on ports of the system's choice.
    pub fn start(state: &std::path::Path) -> Self {
        Self::start_on(state, "127.0.0.1:0")
    }

    pub fn start_on(state: &std::path::Path, listen: &str) -> Self {
        Self::start_with(state, listen, &[])
    }

    /// Starts one with more options.
    pub fn start_with(state: &std::path::Path, listen: &str, options: &[&str]) -> Self {
        let mut child = command(state, listen).args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Vec<String> = (0..2).map(|_| lines.next().unwrap().unwrap()).collect();
        let links = links(state);
        let mut words = links.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
        let (page, join) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        Self { child, said: said.join("\n"), page, join }
    }

    /// The API's address and token.
    pub fn api(&self) -> (String, String) {
        let (url, token) = self.page.split_once("/#token=").unwrap();
        (url.to_owned(), token.to_owned())
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let (url, token) = self.api();
        answer(agent().get(format!("{url}{path}")).header("Authorization", format!("Bearer {token}")).call())
    }

    pub fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let (url, token) = self.api();
        let request = agent().post(format!("{url}{path}"));
        let request = request.header("Authorization", format!("Bearer {token}"));
        answer(request.header("Content-Type", "application/cose").send(body))
    }

    pub fn put(&self, path: &str, body: &[u8]) -> (u16, String) {
        let (url, token) = self.api();
        let request = agent().put(format!("{url}{path}"));
        let request = request.header("Authorization", format!("Bearer {token}"));
        answer(request.header("Content-Type", "application/cbor").send(body))
    }

    pub fn delete(&self, path: &str) -> (u16, String) {
        let (url, token) = self.api();
        answer(
            agent().delete(format!("{url}{path}")).header("Authorization", format!("Bearer {token}")).call(),
        )
    }

    /// All messages, as (device name, route, seq).
    pub fn messages(&self) -> Vec<(String, String, u64)> {
        let (status, body) = self.get("/api/v1/messages?limit=10000");
        assert_eq!(status, 200, "{body}");
        lines(&body)
    }

    pub fn address(&self) -> CloudAddress {
        CloudAddress { host: self.join.host.clone(), port: self.join.port, key: self.join.key }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// SIGTERM; gives whether it ended well.
    pub fn terminate(mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().unwrap().success()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of `/api/v1/messages`, as (device name, route, seq).
pub fn lines(body: &str) -> Vec<(String, String, u64)> {
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        (text("device_name"), text("route"), value["seq"].as_u64().unwrap())
    };
    body.lines().map(line).collect()
}

pub fn command(state: &std::path::Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside-cloud"));
    command
        .args(["--listen", listen, "--api", "127.0.0.1:0", "--advertise", "127.0.0.1", "--state"])
        .arg(state);
    command
}

/// What `wayside-cloud links` shows.
pub fn links(state: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside-cloud"));
    let output = command.args(["links", "--state"]).arg(state).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LIMIT)).build().into()
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, String) {
    let mut response = result.unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// A device as far as the cloud can tell.
pub struct Device {
    pub key: SigningKey,
    pub client: UplinkClient,
    pub events: mpsc::Receiver<Event>,
}

impl Device {
    pub fn new(seed: u8, cloud: CloudAddress) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let (client, events) = UplinkClient::start(&Handle::current(), cloud, &key).unwrap();
        Self { key, client, events }
    }

    pub fn id(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.verifying_key().to_bytes())
    }

    pub async fn event(&mut self) -> Event {
        timeout(LIMIT, self.events.recv()).await.expect("nothing came").expect("the uplink ended")
    }

    pub async fn frame(&mut self) -> ToDevice {
        match self.event().await {
            Event::Frame(frame) => frame,
            other => panic!("expected a frame: {other:?}"),
        }
    }

    /// The reason why the connection ended, after whatever came before.
    pub async fn lost(&mut self) -> String {
        loop {
            if let Event::Lost { reason } = self.event().await {
                return reason;
            }
        }
    }

    pub async fn send(&self, frame: ToCloud) {
        self.client.command(Uplink::Send(frame)).await.unwrap();
    }

    pub async fn connect(&mut self) -> Event {
        self.client.command(Uplink::Connect).await.unwrap();
        self.event().await
    }

    /// Connects and greets; gives the cloud's answer.
    pub async fn greet(&mut self, name: &str, token: Option<&str>) -> ToDevice {
        assert_eq!(self.connect().await, Event::Connected);
        self.send(hello(name, token)).await;
        self.frame().await
    }

    /// Joins and says what it holds, which is nothing.
    pub async fn join(&mut self, name: &str, token: Option<&str>) {
        assert_eq!(self.greet(name, token).await, ToDevice::Welcome);
        self.send(ToCloud::Report(Box::new(Report { number: 1, full: true, ..Report::default() }))).await;
    }

    pub fn batch(&self, route: &str, epoch: u64, seqs: std::ops::RangeInclusive<u64>) -> ToCloud {
        let message = |seq: u64| Message {
            origin: self.id(),
            source: "sensor".into(),
            topic: "observations".into(),
            properties: [("unit".into(), "C".into())].into(),
            payload: Bytes::from(format!("{{\"row\":{seq}}}")),
            accepted_ms: 1_000 + seq,
        };
        ToCloud::Batch(Batch {
            route: route.into(),
            epoch,
            after: seqs.start() - 1,
            first_seq: *seqs.start(),
            messages: seqs.map(message).collect(),
        })
    }
}

pub fn hello(name: &str, token: Option<&str>) -> ToCloud {
    ToCloud::Hello(Hello {
        protocol: PROTOCOL,
        name: name.into(),
        version: "0.1.0".into(),
        labels: Vec::new(),
        token: token.map(str::to_owned),
        run: 1,
        grant: None,
    })
}
