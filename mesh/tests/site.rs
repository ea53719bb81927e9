//! Several devices' sessions on one machine, over loopback: they find each other and talk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test takes what it waits for, or panics"
)]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use wayside_actors::message::{Batch, Confirm, Message};
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    circle::{Circle, circle_of},
    client::Client,
    event::{MeshEvent, MeshEvents},
    pair::OwnKey,
    session::{Mesh, MeshSettings, SCOUTING},
};

/// Each test scouts on a port of its own.
fn group(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*SCOUTING.ip(), port)
}

/// The key of a device of a test.
fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn device(number: u8) -> DeviceId {
    secret(number).key()
}

/// Of all devices of a test.
fn circle(number: u8) -> Circle {
    let circle = circle_of(Arc::new(secret(number))).unwrap();
    circle.admit((0..=100).map(|number| *device(number).as_bytes()).collect());
    circle
}

fn settings(number: u8, port: u16) -> MeshSettings {
    MeshSettings {
        listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        scouting: Some(group(port)),
        ..MeshSettings::new(circle(number), OwnKey::new(secret(number)), format!("device {number}"))
    }
}

/// The next event that `wanted` takes something from.
async fn expect<T>(events: &mut MeshEvents, mut wanted: impl FnMut(MeshEvent) -> Option<T>) -> T {
    let find = async {
        loop {
            let event = events.recv().await.expect("the mesh is open");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), find).await.expect("an event within 20 s")
}

async fn seen(events: &mut MeshEvents, number: u8) {
    expect(events, |event| match event {
        MeshEvent::Seen { device: seen, name } if seen == device(number) => {
            assert_eq!(name, format!("device {number}"));
            Some(())
        }
        _ => None,
    })
    .await;
}

async fn gone(events: &mut MeshEvents, number: u8) {
    expect(events, |event| {
        matches!(event, MeshEvent::Gone { device: gone } if gone == device(number)).then_some(())
    })
    .await;
}

fn batch(first_seq: u64, count: u64, payload: usize) -> Batch {
    let message = |seq: u64| Message {
        origin: device(1),
        source: "sensor".into(),
        topic: "observations".into(),
        properties: Default::default(),
        payload: Bytes::from(vec![seq as u8; payload]),
        accepted_ms: seq,
    };
    Batch {
        route: "weather/observations".into(),
        epoch: 7,
        after: 0,
        first_seq,
        messages: (first_seq..first_seq + count).map(message).collect(),
    }
}

#[tokio::test]
async fn a_device_knows_where_it_listens() {
    let (a, mut from_a) = Mesh::open(settings(1, 17462)).unwrap();
    let (b, mut from_b) = Mesh::open(settings(2, 17462)).unwrap();
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));
    let [of_a, of_b] = [&a, &b].map(Mesh::addresses);
    assert_ne!(of_a, of_b);
    for address in of_a.iter().chain(&of_b) {
        assert_eq!(*address.ip(), Ipv4Addr::LOCALHOST);
        tokio::net::TcpStream::connect(address).await.unwrap();
    }
    a.close().await;
    assert!(a.addresses().is_empty());
}

#[tokio::test]
async fn two_devices_find_each_other_and_talk() {
    let (a, mut from_a) = Mesh::open(settings(1, 17446)).unwrap();
    let (b, mut from_b) = Mesh::open(settings(2, 17446)).unwrap();
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));

    let sent = batch(1, 100, 4000);
    assert!(a.send(device(2), sent.clone()));
    let (from, arrived) = expect(&mut from_b, |event| match event {
        MeshEvent::Batch { from, batch } => Some((from, batch)),
        _ => None,
    })
    .await;
    assert_eq!((from, arrived), (device(1), sent));

    let confirm = Confirm { route: "weather/observations".into(), epoch: 7, upto: 100 };
    assert!(b.confirm(device(1), confirm.clone()));
    let arrived = expect(&mut from_a, |event| match event {
        MeshEvent::Confirm { from, confirm } if from == device(2) => Some(confirm),
        _ => None,
    })
    .await;
    assert_eq!(arrived, confirm);

    b.close().await;
    gone(&mut from_a, 2).await;
    assert!(from_b.recv().await.is_none() || from_b.recv().await.is_none(), "a closed mesh ends its events");
    a.close().await;
}

#[tokio::test]
async fn a_window_of_batches_arrives_in_order() {
    let (a, mut from_a) = Mesh::open(settings(1, 17447)).unwrap();
    let (b, mut from_b) = Mesh::open(settings(2, 17447)).unwrap();
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));
    let begun = Instant::now();
    for round in 0..16 {
        assert!(a.send(device(2), batch(round * 500 + 1, 500, 900)));
    }
    for round in 0..16 {
        let arrived = expect(&mut from_b, |event| match event {
            MeshEvent::Batch { batch, .. } => Some(batch.first_seq),
            _ => None,
        })
        .await;
        assert_eq!(arrived, round * 500 + 1);
    }
    println!("8000 messages of 900 B in {:?}: {:?}", begun.elapsed(), a.counters());
    tokio::join!(a.close(), b.close());
}

/// Not a test of its own: the device that `a_killed_device_is_gone` kills.
#[tokio::test]
async fn victim() {
    if let Ok(port) = std::env::var("WAYSIDE_TEST_VICTIM") {
        let (_mesh, mut events) = Mesh::open(settings(3, port.parse().unwrap())).unwrap();
        while events.recv().await.is_some() {}
    }
}

#[tokio::test]
async fn a_killed_device_is_gone_and_a_newcomer_joins_fast() {
    let (a, mut from_a) = Mesh::open(settings(1, 17448)).unwrap();
    let (b, mut from_b) = Mesh::open(settings(2, 17448)).unwrap();
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("WAYSIDE_TEST_VICTIM", "17448")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    tokio::join!(seen(&mut from_a, 3), seen(&mut from_b, 3));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let killed = Instant::now();
    tokio::join!(gone(&mut from_a, 3), gone(&mut from_b, 3));
    println!("noticed a killed device after {:?}", killed.elapsed());

    let begun = Instant::now();
    let (c, mut from_c) = Mesh::open(settings(3, 17448)).unwrap();
    let mut missing = vec![device(1), device(2)];
    while !missing.is_empty() {
        expect(&mut from_c, |event| match event {
            MeshEvent::Seen { device, .. } => {
                missing.retain(|one| *one != device);
                Some(())
            }
            _ => None,
        })
        .await;
    }
    tokio::join!(seen(&mut from_a, 3), seen(&mut from_b, 3));
    println!("joined two peers after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    tokio::join!(a.close(), b.close(), c.close());
}

#[tokio::test]
async fn a_device_that_came_back_outlives_the_session_that_it_lost() {
    let (a, mut from_a) = Mesh::open(settings(1, 17451)).unwrap();
    let mut stalled = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env("WAYSIDE_TEST_VICTIM", "17451")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    seen(&mut from_a, 3).await;
    let stopped = Command::new("kill").args(["-STOP", &stalled.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let (c, mut from_c) = Mesh::open(settings(3, 17451)).unwrap();
    seen(&mut from_c, 1).await;
    // The lease of the session that says nothing ends.
    let mut is_there = true;
    let until = Instant::now() + Duration::from_secs(10);
    while let Ok(event) = tokio::time::timeout_at(until.into(), from_a.recv()).await {
        match event.expect("the mesh is open") {
            MeshEvent::Seen { device: seen, .. } if seen == device(3) => is_there = true,
            MeshEvent::Gone { device: gone } if gone == device(3) => is_there = false,
            other => panic!("{other:?}"),
        }
    }
    assert!(is_there);
    assert!(c.send(device(1), batch(1, 1, 10)));
    let arrived = expect(&mut from_a, |event| matches!(event, MeshEvent::Batch { .. }).then_some(()));
    arrived.await;
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    tokio::join!(a.close(), c.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_devices_and_asks_one() {
    let (a, mut from_a) = Mesh::open(settings(1, 17449)).unwrap();
    let (b, mut from_b) = Mesh::open(settings(2, 17449)).unwrap();
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));
    let asking = tokio::task::spawn_blocking(|| {
        let begun = Instant::now();
        let client = Client::open(circle(50), group(17449), &[]).unwrap();
        let devices = client.devices().unwrap();
        println!("found {} devices after {:?}", devices.len(), begun.elapsed());
        let names: Vec<String> = devices.into_iter().map(|device| device.name).collect();
        let answers = client.ask(&device(2), b"sealed".to_vec(), Duration::from_secs(5)).unwrap();
        let none = client.ask(&device(9), b"sealed".to_vec(), Duration::from_millis(300)).unwrap();
        (names, answers.first(Some).unwrap(), none.first(Some).is_err())
    });
    let request = expect(&mut from_b, |event| match event {
        MeshEvent::Control(request) => Some(request),
        _ => None,
    })
    .await;
    assert_eq!(request.sealed, b"sealed");
    request.reply(b"answer".to_vec());
    let (names, answer, none) = asking.await.unwrap();
    assert_eq!(names, ["device 1", "device 2"]);
    assert_eq!(answer, b"answer");
    assert!(none);
    tokio::join!(a.close(), b.close());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_first_in_a_devices_name_does_not_keep_its_answer_away() {
    let (a, mut from_a) = Mesh::open(settings(1, 17453)).unwrap();
    let (own, mut from_own) = Mesh::open(settings(2, 17453)).unwrap();
    let (false_one, mut from_false_one) = Mesh::open(settings(2, 17453)).unwrap();
    seen(&mut from_a, 2).await;
    tokio::join!(seen(&mut from_own, 1), seen(&mut from_false_one, 1));
    let asking = tokio::task::spawn_blocking(|| {
        let client = Client::open(circle(50), group(17453), &[]).unwrap();
        // The one device that scouting finds brings the client to all others.
        std::thread::sleep(Duration::from_secs(1));
        let answers = client.ask(&device(2), b"sealed".to_vec(), Duration::from_secs(10)).unwrap();
        let mut dropped = 0;
        let answer = answers.first(|answer| {
            dropped += usize::from(answer == b"false");
            (answer == b"signed").then_some(answer)
        });
        (answer.unwrap(), dropped)
    });
    let control = |event| match event {
        MeshEvent::Control(request) => Some(request),
        _ => None,
    };
    expect(&mut from_false_one, control).await.reply(b"false".to_vec());
    let request = expect(&mut from_own, control).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    request.reply(b"signed".to_vec());
    assert_eq!(asking.await.unwrap(), (b"signed".to_vec(), 1));
    tokio::join!(a.close(), own.close(), false_one.close());
}

#[tokio::test]
async fn what_keeps_it_from_listening_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(address) = taken.local_addr().unwrap() else { unreachable!() };
    let (mesh, mut events) =
        Mesh::open(MeshSettings { listen: vec![address], ..settings(1, 17450) }).unwrap();
    let problem = expect(&mut events, |event| match event {
        MeshEvent::Problem(problem) => problem,
        _ => None,
    })
    .await;
    assert!(problem.contains("cannot listen"), "{problem}");
    drop(taken);
    expect(&mut events, |event| matches!(event, MeshEvent::Problem(None)).then_some(())).await;
    mesh.close().await;
}

#[tokio::test]
async fn without_multicast_it_says_so_and_dials_those_it_knows() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let std::net::SocketAddr::V4(listen) = free else { unreachable!() };
    // Not a multicast group: joining it fails as it does on a host without a route for one.
    let nowhere = Some(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 17452));
    let quiet = |number| MeshSettings { scouting: nowhere, ..settings(number, 17452) };
    let (a, mut from_a) = Mesh::open(MeshSettings { listen: vec![listen], ..quiet(1) }).unwrap();
    let (b, mut from_b) = Mesh::open(MeshSettings { connect: vec![free], ..quiet(2) }).unwrap();
    let problem = expect(&mut from_a, |event| match event {
        MeshEvent::Problem(problem) => problem,
        _ => None,
    })
    .await;
    assert!(problem.starts_with("no multicast"), "{problem}");
    tokio::join!(seen(&mut from_a, 2), seen(&mut from_b, 1));
    tokio::join!(a.close(), b.close());
}
