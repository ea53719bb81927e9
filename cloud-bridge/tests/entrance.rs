//! Strangers cannot keep out devices that the cloud knows.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use quinn::{
    Connection, Endpoint, RecvStream, SendStream,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use support::{Cloud, Device, hello};
use tokio::time::{Instant, timeout};
use wayside_actors::frame::{ToCloud, ToDevice};
use wayside_cloud_bridge::{
    device::{CloudAddress, Event},
    tls,
    wire::{Frame, MAX_FRAME_BYTES, read_frame},
};
use wayside_config::identity::PublicKey;

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
async fn who_says_what_the_cloud_does_not_know_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut newer = Stranger::new(&cloud, 2, "127.0.0.1").await;
    newer.send(hello("ewr", cloud.join.token.as_deref())).await;
    assert_eq!(newer.frame().await, ToDevice::Welcome);
    // [99], a kind of a later version.
    newer.write(&[0, 0, 0, 3, 0x81, 0x18, 99]).await;
    let ToDevice::Refused { reason } = newer.frame().await else { panic!("it was understood") };
    assert!(reason.contains("unknown kind 99") && reason.contains("upgrade the cloud first"), "{reason}");
    assert!(newer.closed().await.contains("unknown kind 99"));
}

/// A cloud of a later version, to which the device is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_that_it_does_not_understand_its_cloud() {
    let key = SigningKey::from_bytes(&[8; 32]);
    let crypto = QuicServerConfig::try_from(tls::server_config(&key).unwrap()).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let port = endpoint.local_addr().unwrap().port();
    let key = PublicKey::from_bytes(key.verifying_key().to_bytes());
    let mut device = Device::new(1, CloudAddress { host: "127.0.0.1".into(), port, key });
    let cloud = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut to_device, mut from_device) = connection.accept_bi().await.unwrap();
        read_frame::<ToCloud>(&mut from_device, MAX_FRAME_BYTES).await.unwrap().unwrap();
        to_device.write_all(&[0, 0, 0, 3, 0x81, 0x18, 99]).await.unwrap();
        connection.closed().await.to_string()
    });
    assert_eq!(device.connect().await, Event::Connected);
    device.send(hello("ewr", None)).await;
    let Event::Unreadable { reason } = device.event().await else { panic!("it was understood") };
    assert!(reason.contains("unknown kind 99"), "{reason}");
    device.lost().await;
    let told = timeout(Duration::from_secs(20), cloud).await.unwrap().unwrap();
    assert!(told.contains("unknown kind 99") && told.contains("upgrade the device"), "{told}");
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
