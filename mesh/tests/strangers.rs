//! Who is not in the circle: it neither sees nor says anything, and who is taken out of it is out at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test takes what it waits for, or panics"
)]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use wayside_actors::message::{Batch, Message};
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    circle::{Circle, circle_of},
    client::Client,
    event::{MeshEvent, MeshEvents},
    pair::OwnKey,
    session::{Mesh, MeshSettings, SCOUTING},
};

fn group(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*SCOUTING.ip(), port)
}

fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn device(number: u8) -> DeviceId {
    secret(number).key()
}

fn admit(circle: &Circle, numbers: &[u8]) {
    circle.admit(numbers.iter().map(|number| *device(*number).as_bytes()).collect());
}

struct Device {
    mesh: Mesh,
    events: MeshEvents,
    circle: Circle,
}

/// A device that takes links of these.
fn open(number: u8, takes: &[u8], port: u16) -> Device {
    let circle = circle_of(Arc::new(secret(number))).unwrap();
    admit(&circle, takes);
    let settings = MeshSettings {
        listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        scouting: Some(group(port)),
        ..MeshSettings::new(circle.clone(), OwnKey::new(secret(number)), format!("device {number}"))
    };
    let (mesh, events) = Mesh::open(settings).unwrap();
    Device { mesh, events, circle }
}

impl Device {
    async fn expect(&mut self, wanted: impl Fn(&MeshEvent) -> bool) {
        let find = async { while !wanted(&self.events.recv().await.expect("the mesh is open")) {} };
        tokio::time::timeout(Duration::from_secs(20), find).await.expect("an event within 20 s");
    }

    async fn seen(&mut self, number: u8) {
        self.expect(|event| matches!(event, MeshEvent::Seen { device: seen, .. } if *seen == device(number)))
            .await;
    }

    async fn gone(&mut self, number: u8) {
        self.expect(|event| matches!(event, MeshEvent::Gone { device: gone } if *gone == device(number)))
            .await;
    }

    /// That nothing comes for so long.
    async fn hears_nothing(&mut self, for_ms: u64) {
        let event = tokio::time::timeout(Duration::from_millis(for_ms), self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

fn batch(from: u8) -> Batch {
    let message = Message {
        origin: device(from),
        source: "sensor".into(),
        topic: "t".into(),
        properties: Default::default(),
        payload: Bytes::from_static(b"x"),
        accepted_ms: 0,
    };
    Batch { route: "w/r".into(), epoch: 1, after: 0, first_seq: 1, messages: vec![message] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_nobody_and_reaches_nobody() {
    let (mut a, mut b) = (open(1, &[1, 2], 17480), open(2, &[1, 2], 17480));
    tokio::join!(a.seen(2), b.seen(1));
    // It takes everybody; nobody takes it, be it a device or somebody who asks.
    let mut stranger = open(3, &[1, 2, 3], 17480);
    stranger.hears_nothing(4000).await;
    stranger.mesh.send(device(1), batch(2));
    tokio::join!(a.hears_nothing(1000), b.hears_nothing(1000));
    let circle = stranger.circle.clone();
    let addresses: Vec<_> = a.mesh.addresses().into_iter().map(Into::into).collect();
    let asked = tokio::task::spawn_blocking(move || {
        let client = Client::open(circle, group(17480), &addresses)?;
        client.devices()
    });
    let asked = asked.await.unwrap();
    assert!(asked.as_ref().map_or(true, Vec::is_empty), "{asked:?}");
    tokio::join!(a.mesh.close(), b.mesh.close(), stranger.mesh.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_does_not_dial_a_stranger_that_offers_itself() {
    // The stranger is the first, so that the member is the one that dials.
    let mut stranger = open(3, &[1, 3], 17481);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut a = open(1, &[1, 2], 17481);
    tokio::join!(a.hears_nothing(3000), stranger.hears_nothing(3000));
    assert!(a.circle.linked().is_empty() && stranger.circle.linked().is_empty());
    tokio::join!(a.mesh.close(), stranger.mesh.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_admitted_later_is_taken_and_the_others_stay() {
    let (mut a, mut b) = (open(1, &[1, 2], 17482), open(2, &[1, 2], 17482));
    tokio::join!(a.seen(2), b.seen(1));
    admit(&a.circle, &[1, 2, 3]);
    admit(&b.circle, &[1, 2, 3]);
    let begun = Instant::now();
    let mut c = open(3, &[1, 2, 3], 17482);
    // The first thing that the others hear is the newcomer: nobody went away for it.
    let first = |event: Option<MeshEvent>| matches!(event, Some(MeshEvent::Seen { device: seen, .. }) if seen == device(3));
    let (at_a, at_b, ()) = tokio::join!(a.events.recv(), b.events.recv(), c.seen(1));
    assert!(first(at_a) && first(at_b));
    println!("joined after {:?}", begun.elapsed());
    tokio::join!(a.mesh.close(), b.mesh.close(), c.mesh.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_of_the_circle_is_out_at_once() {
    let (mut a, mut b) = (open(1, &[1, 2], 17483), open(2, &[1, 2], 17483));
    tokio::join!(a.seen(2), b.seen(1));
    let begun = Instant::now();
    admit(&a.circle, &[1]);
    tokio::join!(a.gone(2), b.gone(1));
    println!("out after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3));
    // It tries again and again.
    b.mesh.send(device(1), batch(2));
    a.hears_nothing(10_000).await;
    tokio::join!(a.mesh.close(), b.mesh.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_part_listens_nowhere_until_it_does() {
    let mut a = open(1, &[1, 2], 17484);
    a.mesh.take_part(false);
    let mut b = open(2, &[1, 2], 17484);
    b.hears_nothing(2000).await;
    assert!(a.mesh.addresses().is_empty());
    a.mesh.take_part(true);
    tokio::join!(a.seen(2), b.seen(1));
    a.mesh.take_part(false);
    b.gone(1).await;
    tokio::join!(a.mesh.close(), b.mesh.close());
}
