//! The API as a client sees it: its door, its errors, its streams.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use support::{Cloud, Device};
use wayside_actors::frame::ToDevice;

/// A plain request, so that streams can be read as they come.
fn open(cloud: &Cloud, request: &str, authorization: Option<&str>) -> BufReader<TcpStream> {
    let address = cloud.api().0.replace("http://", "");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n").unwrap();
    BufReader::new(stream)
}

fn answer(cloud: &Cloud, request: &str, authorization: Option<&str>) -> String {
    let mut text = String::new();
    open(cloud, request, authorization).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn only_the_token_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let token = cloud.api().1;
    for request in [
        "GET devices",
        "GET devices/ewr",
        "GET devices/ewr/logs",
        "GET devices/ewr/twins",
        "GET devices/ewr/twins/grid/pump",
        "POST devices/ewr/twins/grid/pump",
        "POST devices/ewr/requests",
        "GET drift",
        "GET fleet",
        "PUT fleet",
        "GET workloads",
        "POST workloads",
        "DELETE workloads/grid",
        "GET messages",
        "GET counts",
        "GET events",
        "GET nowhere",
        "DELETE devices",
    ] {
        let request = request.replace(' ', " /api/v1/");
        for wrong in [None, Some("Bearer "), Some("Bearer wrong"), Some(token.as_str())] {
            let text = answer(&cloud, &request, wrong);
            assert!(text.starts_with("HTTP/1.1 401 "), "{request}: {text}");
            assert!(text.contains(r#""help":"send `Authorization: Bearer TOKEN`"#), "{text}");
        }
    }
    let good = format!("Bearer {token}");
    assert!(answer(&cloud, "GET /api/v1/devices", Some(&good)).ends_with("[]"));
    assert!(answer(&cloud, "GET /healthz", None).ends_with("ok\n"));
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    for (path, status, word) in [
        ("/api/v1/devices/nobody", 404, "there is no device nobody"),
        ("/api/v1/nowhere", 404, "docs/api.md"),
        ("/api/v1/messages?limit=x", 400, "docs/api.md"),
        ("/api/v1/messages?colour=red", 400, "unknown field"),
        ("/api/v1/messages?device=nobody", 404, "there is no device nobody"),
        ("/elsewhere", 404, "the page is at /"),
    ] {
        let (found, body) = cloud.get(path);
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(word) && body.contains("\"help\""), "{path}: {body}");
    }
    assert_eq!(cloud.delete("/api/v1/devices").0, 405);
    assert_eq!(cloud.delete("/api/v1/workloads/none").0, 404);
}

#[test]
fn the_page_comes_with_a_strict_policy() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let text = answer(&cloud, "GET /", None);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'";
    assert!(text.contains(policy), "{text}");
    assert!(!text.contains("unsafe-inline") && !text.contains("https://"), "{text}");
    for file in ["/page.css", "/page.js"] {
        assert!(answer(&cloud, &format!("GET {file}"), None).starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_show_what_comes_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let good = format!("Bearer {}", cloud.api().1);
    let mut events = open(&cloud, "GET /api/v1/events", Some(&good)).lines();
    let mut follow = open(&cloud, "GET /api/v1/messages?follow=true&route=w/r", Some(&good)).lines();
    assert!(events.any(|line| line.unwrap().contains(r#""full":true"#)));

    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    let began = Instant::now();
    assert!(events.any(|line| line.unwrap().contains(r#""presence":"online""#)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    for route in ["w/other", "w/r"] {
        device.send(device.batch(route, 7, 1..=2)).await;
        assert!(matches!(device.frame().await, ToDevice::Confirm(_)));
    }
    let began = Instant::now();
    let line = follow.find(|line| line.as_ref().unwrap().starts_with('{')).unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&value["route"], &value["seq"]), (&"w/r".into(), &1.into()));
    assert_eq!(value["payload"], "{\"row\":1}");
    assert_eq!(value["properties"], serde_json::json!({ "unit": "C" }));
    assert!(events.any(|line| line.unwrap().contains(r#""route":"w/r""#)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
