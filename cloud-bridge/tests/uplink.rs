//! A device joins, reports and sends; the cloud stores before it confirms.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use support::{Cloud, Device, command};
use wayside_actors::{
    device::io::Uplink,
    frame::{Answer, Question, ToCloud, ToDevice},
    message::Confirm,
};
use wayside_cloud_bridge::device::Event;

const ROUTE: &str = "weather/observations";

fn confirm(upto: u64) -> ToDevice {
    ToDevice::Confirm(Confirm { route: ROUTE.into(), epoch: 7, upto })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_joins_with_the_token_and_then_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    device.client.command(Uplink::Close).await.unwrap();
    assert_eq!(device.lost().await, "closed by this device");

    device.join("ewr", None).await;
    let (status, body) = cloud.get("/api/v1/devices/ewr");
    assert_eq!(status, 200, "{body}");
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown["key"], device.id().to_string());
    assert_eq!(shown["presence"], "online");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_a_device_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    for token in [None, Some("wrong")] {
        let mut device = Device::new(1, cloud.address());
        let ToDevice::Refused { reason } = device.greet("ewr", token).await else { panic!("it was let in") };
        assert!(reason.contains("join it with the link that `wayside-cloud links` shows"), "{reason}");
        let reason = device.lost().await;
        assert!(reason.contains("this cloud does not know the device"), "{reason}");
    }
    assert_eq!(cloud.get("/api/v1/devices").1, "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_stored_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    device.send(device.batch(ROUTE, 7, 1..=100)).await;
    assert_eq!(device.frame().await, confirm(100));
    // Again, and overlapping: nothing is doubled. With a gap: nothing is stored.
    device.send(device.batch(ROUTE, 7, 1..=100)).await;
    assert_eq!(device.frame().await, confirm(100));
    device.send(device.batch(ROUTE, 7, 90..=110)).await;
    assert_eq!(device.frame().await, confirm(110));
    device.send(device.batch(ROUTE, 7, 200..=210)).await;
    assert_eq!(device.frame().await, confirm(110));

    let messages = cloud.messages();
    assert!(messages.iter().all(|(name, route, _)| name == "ewr" && route == ROUTE));
    assert!(messages.iter().map(|(_, _, seq)| *seq).eq(1..=110));
    let counts: serde_json::Value = serde_json::from_str(&cloud.get("/api/v1/counts").1).unwrap();
    assert_eq!((&counts[0]["stored"], &counts[0]["last_seq"]), (&110.into(), &110.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_connection_of_a_device_replaces_the_older() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut first = Device::new(1, cloud.address());
    first.join("ewr", cloud.join.token.as_deref()).await;
    first.send(first.batch(ROUTE, 7, 1..=5)).await;
    assert_eq!(first.frame().await, confirm(5));
    let mut second = Device::new(1, cloud.address());
    second.join("ewr", None).await;
    assert!(first.lost().await.contains("the device connected again"));
    second.send(second.batch(ROUTE, 7, 6..=6)).await;
    assert_eq!(second.frame().await, confirm(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_asks_for_logs_and_the_device_answers() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = std::sync::Arc::new(Cloud::start(folder.path()));
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    let asking = std::sync::Arc::clone(&cloud);
    let asked = tokio::task::spawn_blocking(move || {
        asking.get("/api/v1/devices/ewr/logs?module=weather/sensor&tail=3")
    });
    let ToDevice::Ask(ask) = device.frame().await else { panic!("no question") };
    let Question::Logs { module, tail, since_ms } = ask.question else { panic!("another question") };
    assert_eq!((module.as_str(), tail, since_ms), ("weather/sensor", 3, 0));
    device.send(ToCloud::Answer(Answer { id: ask.id, result: Ok("one\ntwo\n".into()) })).await;
    assert_eq!(asked.await.unwrap(), (200, "one\ntwo\n".into()));

    device.client.command(Uplink::Close).await.unwrap();
    device.lost().await;
    let mut status = 0;
    for _ in 0..100 {
        status = cloud.get("/api/v1/devices/ewr/logs?module=weather/sensor").0;
        if status == 409 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_stops_says_so_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    device.send(device.batch(ROUTE, 7, 1..=10)).await;
    assert_eq!(device.frame().await, confirm(10));
    assert!(cloud.terminate());
    assert!(device.lost().await.contains("the cloud is stopping"));
    let cloud = Cloud::start(folder.path());
    assert_eq!(cloud.messages().len(), 10);
}

/// As when a cable is cut: nothing comes any more, and nothing says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_falls_silent_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut idle = Device::new(1, cloud.address());
    idle.join("idle", cloud.join.token.as_deref()).await;
    let mut busy = Device::new(2, cloud.address());
    busy.join("busy", cloud.join.token.as_deref()).await;
    cloud.signal("-STOP");
    for first in (1..2000).step_by(100) {
        busy.send(busy.batch(ROUTE, 7, first..=first + 99)).await;
    }
    let began = std::time::Instant::now();
    assert_eq!(busy.lost().await, "the connection to the cloud fell silent");
    assert_eq!(idle.lost().await, "the connection to the cloud fell silent");
    assert!(began.elapsed().as_secs() <= 17, "{:?}", began.elapsed());
    cloud.signal("-CONT");
    busy.join("busy", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_out_of_turn_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.send(support::hello("dropped", None)).await;
    device.client.command(Uplink::Close).await.unwrap();
    assert_eq!(device.connect().await, Event::Connected);
    device.client.command(Uplink::Connect).await.unwrap();
    device.send(support::hello("ewr", cloud.join.token.as_deref())).await;
    assert_eq!(device.frame().await, ToDevice::Welcome);
}

#[test]
fn what_prevents_a_start_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let fails = |state: &std::path::Path, listen: &str| {
        let output = command(state, listen).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let words = fails(folder.path(), "127.0.0.1:0");
    assert!(words.contains("is in use by another wayside-cloud"), "{words}");
    let other = tempfile::tempdir().unwrap();
    let words = fails(other.path(), &format!("127.0.0.1:{}", cloud.join.port));
    assert!(words.contains("something else listens there: stop it, or choose another port"), "{words}");
    let words = fails(std::path::Path::new("/proc/nowhere"), "127.0.0.1:0");
    assert!(words.contains("/proc/nowhere cannot be used"), "{words}");
}
