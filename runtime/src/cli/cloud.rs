//! A cloud's HTTP API.

use std::{env, fs, io, path::Path, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode},
};

use wayside_config::limits::REPLY_BYTES;

use super::failure::Failure;

/// For a request whose answer is not followed.
const PATIENCE: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(5);
/// The largest answer that is taken whole.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// A cloud and the right to talk to it.
pub(super) struct Cloud {
    agent: Agent,
    url: String,
    token: String,
}

/// A workload that a cloud holds.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// Its release's version.
    pub(super) version: u64,
}

/// What the API says when something does not work.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    help: String,
}

impl Cloud {
    /// `url` may carry the token as `#token=TOKEN`, as the page's address does.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let (url, in_url) = url.split_once("#token=").map_or((url, None), |(url, token)| (url, Some(token)));
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::Usage(format!(
                "`{url}` is no address of a cloud's API: write http://HOST:PORT"
            )));
        }
        let token = match token_file {
            Some(file) => fs::read_to_string(file).map_err(|error| {
                Failure::Usage(format!("cannot read the token file {}: {error}", file.display()))
            })?,
            None => {
                in_url.map(ToOwned::to_owned).or_else(|| env::var("WAYSIDE_TOKEN").ok()).unwrap_or_default()
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .max_redirects(0)
            .build();
        Ok(Self { agent: config.into(), url: url.trim_end_matches('/').into(), token: token.trim().into() })
    }

    /// Gets a JSON document.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Failure> {
        self.document(self.fetch(path, query, Some(PATIENCE))?)
    }

    /// Gets a text.
    pub(super) fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, Failure> {
        let mut response = self.fetch(path, query, Some(PATIENCE))?;
        let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        text.map_err(|error| self.unreachable(&error))
    }

    /// Gets lines as they come.
    pub(super) fn follow(&self, path: &str, query: &[(&str, &str)]) -> Result<impl io::Read, Failure> {
        Ok(self.fetch(path, query, None)?.into_body().into_reader())
    }

    /// Hands over a sealed document, and gives the one that comes back within `patience`.
    pub(super) fn relay(
        &self,
        path: &str,
        query: &[(&str, &str)],
        sealed: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.post(self.at(path)).header("Authorization", self.bearer());
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        let request = request.config().timeout_global(Some(patience)).build();
        let mut response = self.check(request.content_type("application/cose").send(sealed))?;
        let bytes = response.body_mut().with_config().limit(REPLY_BYTES as u64).read_to_vec();
        bytes.map_err(|error| self.unreachable(&error))
    }

    /// Hands over a sealed document.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, sealed: &[u8]) -> Result<T, Failure> {
        let request = self.agent.post(self.at(path)).header("Authorization", self.bearer());
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        let sent = request.content_type("application/cose").send(sealed);
        self.document(self.check(sent)?)
    }

    /// Puts CBOR at the path.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str, cbor: &[u8]) -> Result<T, Failure> {
        let request = self.agent.put(self.at(path)).header("Authorization", self.bearer());
        let request = request.config().timeout_global(Some(PATIENCE)).build();
        self.document(self.check(request.content_type("application/cbor").send(cbor))?)
    }

    /// Deletes what is at the path.
    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.agent.delete(self.at(path)).header("Authorization", self.bearer());
        let sent = request.config().timeout_global(Some(PATIENCE)).build().call();
        self.document(self.check(sent)?)
    }

    fn fetch(
        &self,
        path: &str,
        query: &[(&str, &str)],
        patience: Option<Duration>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(self.at(path)).header("Authorization", self.bearer());
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        self.check(request.config().timeout_global(patience).build().call())
    }

    fn at(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn check(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Failure> {
        let mut response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        let refusal = match serde_json::from_str(&text) {
            Ok(Refusal { error, help }) if help.is_empty() => error,
            Ok(Refusal { error, help }) => format!("{error}\nhelp: {help}"),
            Err(_) => format!("{} answers {status}: is it the API of a wayside-cloud?", self.url),
        };
        if status == StatusCode::UNAUTHORIZED {
            return Err(Failure::Failed(format!(
                "{refusal}\nhelp: give it with WAYSIDE_TOKEN or --token-file"
            )));
        }
        Err(Failure::Failed(refusal))
    }

    fn document<T: DeserializeOwned>(&self, mut response: Response<Body>) -> Result<T, Failure> {
        let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text).map_err(|error| {
            let text = format!(
                "the answer of {} is not understood: {error}; use a `wayside` of its version",
                self.url
            );
            Failure::Failed(text)
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::Unreachable(format!(
            "cannot reach the cloud at {}: {error}; is wayside-cloud running there, and is it its --api address?",
            self.url
        ))
    }
}

/// A name as one part of a path.
pub(super) fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_address_carries_the_token() {
        let cloud = Cloud::new("http://127.0.0.1:8480/#token=abc", None).unwrap();
        assert_eq!(
            (cloud.at("devices"), cloud.bearer()),
            ("http://127.0.0.1:8480/api/v1/devices".into(), "Bearer abc".into())
        );
        assert!(matches!(Cloud::new("127.0.0.1:8480", None), Err(Failure::Usage(_))));
    }

    #[test]
    fn nobody_there_is_said_with_the_address() {
        let cloud = Cloud::new("http://127.0.0.1:9", None).unwrap();
        let failure = cloud.get::<Vec<Listed>>("workloads", &[]).unwrap_err();
        assert!(matches!(failure, Failure::Unreachable(text) if text.contains("127.0.0.1:9")));
    }

    #[test]
    fn names_stay_within_their_part_of_a_path() {
        assert_eq!(encode("a-b.c_1"), "a-b.c_1");
        assert_eq!(encode("../ä?"), "..%2F%C3%A4%3F");
    }
}
