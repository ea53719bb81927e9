//! A host that runs `wayside-cloud`, and its API from outside.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    engine::docker,
    http,
    lab::Lab,
    wait::{until, until_true},
};

/// The port of the API when it is free; another one otherwise.
const API_PORT: u16 = 8480;

const START_LIMIT: Duration = Duration::from_secs(30);

/// How many messages are asked for at once.
const PAGE: usize = 1000;

/// For reading all of them.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// A running (or killed) cloud.
#[derive(Debug)]
pub struct Cloud {
    container: String,
    api: SocketAddr,
    token: String,
    join: String,
}

/// A message as the cloud stored it.
#[derive(Clone, Debug, Deserialize)]
pub struct Stored {
    /// Counts up in the order of storing.
    pub id: u64,
    /// The origin's name.
    pub device_name: String,
    /// Its route.
    pub route: String,
    /// Its number in the origin's queue.
    pub seq: u64,
    /// Empty when it is not text.
    #[serde(default)]
    pub payload: String,
}

impl Cloud {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let port = free_port()?;
        let (publish, volume) = (format!("127.0.0.1:{port}:8480"), lab.name("cloud"));
        docker(["volume", "create", "--label", &lab.label(), &volume])?;
        let mount = format!("{volume}:/state");
        let container = lab.spawn(
            "cloud",
            "wan",
            &["--network-alias", "cloud", "--publish", &publish, "--volume", &mount],
            &[
                "/wayside-cloud",
                "--listen",
                "0.0.0.0:7443",
                "--api",
                "0.0.0.0:8480",
                "--state",
                "/state",
                "--advertise",
                "cloud",
            ],
        )?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (token, join) = until("the cloud's token and join link", START_LIMIT, || {
            let links = docker(["exec", &container, "/wayside-cloud", "links", "--state", "/state"])?;
            Ok(word_after(&links, "#token=").zip(word_with(&links, "wayside://")))
        })?;
        let cloud = Self { container, api, token, join };
        cloud.wait_ready()?;
        Ok(cloud)
    }

    /// The API's address, as `--cloud` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The page, with its token.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{}/#token={}", self.url(), self.token)
    }

    /// The API's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The link that lets a device join.
    #[must_use]
    pub fn join_link(&self) -> &str {
        &self.join
    }

    /// The engine's name of its container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        docker(["kill", "--signal", "KILL", &self.container]).map(drop)
    }

    /// Starts it again on its state.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&self) -> Result<()> {
        docker(["start", &self.container])?;
        self.wait_ready()
    }

    /// One answer of the API as JSON.
    ///
    /// # Errors
    /// When it does not answer 200 with JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = http::get(self.api, path, Some(&self.token))?;
        ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("GET {path}: {}", answer.body))
    }

    /// One raw answer of the API.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn get_with(&self, path: &str, token: Option<&str>) -> Result<http::Answer> {
        http::get(self.api, path, token)
    }

    /// Everything stored after the message `after` (0 for all), in the order of storing.
    ///
    /// # Errors
    /// When the API does not answer, or more is stored than can be read.
    pub fn messages(&self, mut after: u64) -> Result<Vec<Stored>> {
        let mut all: Vec<Stored> = Vec::new();
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < READ_LIMIT, "no end of messages: {} so far", all.len());
            let path = format!("/api/v1/messages?after={after}&limit={PAGE}");
            let answer = http::get(self.api, &path, Some(&self.token))?;
            ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.body);
            let before = all.len();
            for line in answer.body.lines().filter(|line| !line.is_empty()) {
                all.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
            }
            match all.last() {
                Some(last) if all.len() > before => after = last.id,
                _ => return Ok(all),
            }
        }
    }

    /// Messages stored, by device name and route.
    ///
    /// # Errors
    /// When the API does not answer.
    pub fn counts(&self) -> Result<Vec<Count>> {
        serde_json::from_value(self.get("/api/v1/counts")?).context("counts")
    }

    fn wait_ready(&self) -> Result<()> {
        let is_up = || Ok(http::get(self.api, "/healthz", None)?.status == 200);
        until_true("the cloud's API", START_LIMIT, is_up)
    }
}

/// How much of one route of one device is stored.
#[derive(Clone, Debug, Deserialize)]
pub struct Count {
    /// The origin's name.
    pub device_name: String,
    /// The route.
    pub route: String,
    /// Messages.
    pub stored: u64,
}

/// The API's own for the first cloud of a process, where it is free: others may begin at the same time.
fn free_port() -> Result<u16> {
    static IS_GIVEN: AtomicBool = AtomicBool::new(false);
    let port = if IS_GIVEN.swap(true, Ordering::Relaxed) { 0 } else { API_PORT };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// The word of `text` that begins with `start`.
fn word_with(text: &str, start: &str) -> Option<String> {
    let from = &text[text.find(start)?..];
    from.split_whitespace().next().map(str::to_owned)
}

fn word_after(text: &str, start: &str) -> Option<String> {
    word_with(text, start).and_then(|word| word.strip_prefix(start).map(str::to_owned))
}
