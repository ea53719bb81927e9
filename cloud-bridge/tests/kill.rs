//! The cloud is killed again and again, and every message is stored once and in order.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::time::Duration;

use support::{Cloud, Device};
use wayside_actors::{device::io::Uplink, frame::ToDevice, message::Confirm};
use wayside_cloud_bridge::device::Event;

const ROUTE: &str = "weather/observations";
const MESSAGES: u64 = 8_000;
const BATCH: u64 = 50;
const WINDOW: u64 = 200;
const KILLS: usize = 6;
/// Between two batches: all of them together take longer than the cloud lives until the last kill.
const PACE: Duration = Duration::from_millis(12);

/// Sends everything, going back to what was confirmed whenever the connection is lost.
async fn send_all(mut device: Device, name: String, token: Option<String>) {
    let mut confirmed = 0;
    while confirmed < MESSAGES {
        device.client.command(Uplink::Connect).await.unwrap();
        confirmed = send_some(&mut device, &name, token.as_deref(), confirmed).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends on one connection; gives how far all is confirmed when it is lost or all is done.
async fn send_some(device: &mut Device, name: &str, token: Option<&str>, mut confirmed: u64) -> u64 {
    let (mut sent, mut welcome) = (confirmed, false);
    loop {
        match device.event().await {
            Event::Connected => device.send(support::hello(name, token)).await,
            Event::Lost { .. } => return confirmed,
            Event::Frame(ToDevice::Welcome) => welcome = true,
            Event::Frame(ToDevice::Confirm(Confirm { upto, .. })) => confirmed = confirmed.max(upto),
            Event::Frame(other) => panic!("{other:?}"),
            Event::Unreadable { reason } => panic!("{reason}"),
        }
        while welcome && sent < MESSAGES && sent - confirmed < WINDOW {
            let last = (sent + BATCH).min(MESSAGES);
            device.send(device.batch(ROUTE, 7, sent + 1..=last)).await;
            sent = last;
            tokio::time::sleep(PACE).await;
        }
        if confirmed == MESSAGES {
            device.client.command(Uplink::Close).await.unwrap();
            device.lost().await;
            return confirmed;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_each_message_is_there_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::start(folder.path());
    let listen = format!("127.0.0.1:{}", cloud.join.port);
    let senders: Vec<_> = (1..=3)
        .map(|seed| {
            let device = Device::new(seed, cloud.address());
            tokio::spawn(send_all(device, format!("d{seed}"), cloud.join.token.clone()))
        })
        .collect();
    for round in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(100 + 60 * round as u64)).await;
        assert!(
            !senders.iter().all(tokio::task::JoinHandle::is_finished),
            "all was sent before kill {round}"
        );
        cloud.kill();
        cloud = Cloud::start_on(folder.path(), &listen);
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let mut all = cloud.messages();
    let mut after = all.len();
    while after as u64 != 3 * MESSAGES {
        let (_, body) = cloud.get(&format!("/api/v1/messages?limit=10000&after={after}"));
        assert!(!body.is_empty(), "{after} messages are stored, not {}", 3 * MESSAGES);
        all.extend(support::lines(&body));
        after = all.len();
    }
    for seed in 1..=3 {
        let seqs = all.iter().filter(|(name, _, _)| *name == format!("d{seed}")).map(|(_, _, seq)| *seq);
        assert!(seqs.eq(1..=MESSAGES), "d{seed} is not complete and in order");
    }
}
