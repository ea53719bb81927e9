//! Strangers cannot keep out devices that the cloud knows.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use quinn::{Connection, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use support::{Cloud, Device, hello};
use tokio::time::{Instant, timeout};
use wayside_actors::frame::{ToCloud, ToDevice};
use wayside_cloud_bridge::{
    tls,
    wire::{Frame, MAX_FRAME_BYTES, read_frame},
};

/// As many as the cloud lets wait of one address.
const STRANGERS: usize = 32;

/// Somebody who speaks the protocol as far as it suits them.
struct Stranger {
    _endpoint: Endpoint,
    connection: Connection,
    to_cloud: SendStream,
    from_cloud: RecvStream,
}

impl Stranger {
    async fn new(cloud: &Cloud, number: u8, from: &str) -> Self {
        let key = SigningKey::from_bytes(&[number; 32]);
        let crypto = QuicClientConfig::try_from(tls::client_config(&key, cloud.join.key).unwrap()).unwrap();
        let endpoint = Endpoint::client(format!("{from}:0").parse().unwrap()).unwrap();
        let to: SocketAddr = format!("127.0.0.1:{}", cloud.join.port).parse().unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connection = endpoint.connect_with(config, to, tls::SERVER_NAME).unwrap().await.unwrap();
        let (to_cloud, from_cloud) = connection.open_bi().await.unwrap();
        Self { _endpoint: endpoint, connection, to_cloud, from_cloud }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.to_cloud.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, frame: ToCloud) {
        self.write(&frame.encode().unwrap()).await;
    }

    async fn frame(&mut self) -> ToDevice {
        read_frame(&mut self.from_cloud, MAX_FRAME_BYTES).await.unwrap().unwrap()
    }

    /// Why the cloud closed the connection.
    async fn closed(&self) -> String {
        timeout(Duration::from_secs(20), self.connection.closed()).await.unwrap().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_take_only_the_places_of_strangers_of_their_address() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start_with(folder.path(), "127.0.0.1:0", &["--max-devices", "8"]);
    let token = cloud.join.token.as_deref();
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", token).await;

    let began = Instant::now();
    let mut strangers = Vec::new();
    for number in 0..STRANGERS {
        let mut stranger = Stranger::new(&cloud, 100 + number as u8, "127.0.0.1").await;
        // The beginning of a frame: the cloud waits for the rest.
        stranger.write(&[0]).await;
        strangers.push(stranger);
    }
    let mut late = Stranger::new(&cloud, 99, "127.0.0.1").await;
    late.write(&[0]).await;
    assert!(late.closed().await.contains("too many devices that are not admitted yet"));

    // A known device connects again, from the same address, and a new one joins from another.
    let mut again = Device::new(1, cloud.address());
    again.join("ewr", None).await;
    let mut new = Stranger::new(&cloud, 2, "127.0.0.2").await;
    new.send(hello("jfk", token)).await;
    assert_eq!(new.frame().await, ToDevice::Welcome);
    assert!(began.elapsed() < Duration::from_secs(5), "too slow to show anything: {:?}", began.elapsed());

    // The time of strangers is short, and then there is room again.
    let reason = strangers[0].closed().await;
    assert!(reason.contains("no Hello within") || reason.contains("not admitted in time"), "{reason}");
    drop(strangers);
    let mut next = Device::new(3, cloud.address());
    next.join("lga", token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_welcome_frames_are_small() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    // A first frame that says it is large.
    let mut stranger = Stranger::new(&cloud, 2, "127.0.0.1").await;
    stranger.write(&((64 << 10) + 1_u32).to_be_bytes()).await;
    let reason = stranger.closed().await;
    assert!(reason.contains("a frame of 65537 bytes is larger than the 65536 that are allowed"), "{reason}");

    // A good Hello without a token, and right behind it a frame that nobody will read.
    let mut stranger = Stranger::new(&cloud, 3, "127.0.0.1").await;
    let mut bytes = hello("ewr", None).encode().unwrap().to_vec();
    bytes.extend((4_u32 << 20).to_be_bytes());
    stranger.write(&bytes).await;
    let flooding = tokio::spawn(async move {
        let Stranger { _endpoint, connection, mut to_cloud, mut from_cloud } = stranger;
        let answer = read_frame::<ToDevice>(&mut from_cloud, MAX_FRAME_BYTES).await.unwrap().unwrap();
        assert!(matches!(answer, ToDevice::Refused { .. }), "{answer:?}");
        let mut written = 0;
        while let Ok(bytes) = to_cloud.write(&[0; 16 << 10]).await {
            written += bytes;
        }
        drop((connection, _endpoint));
        written
    });
    let written = timeout(Duration::from_secs(20), flooding).await.unwrap().unwrap();
    assert!(written < 1 << 20, "{written} bytes were taken");
}
