//! Sessions over loopback that fail underneath.

use std::{net::Ipv4Addr, sync::Arc};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use wayside_actors::message::{Batch, Confirm, Message};

use wayside_config::signer::Signer;

use super::{pulse::Pulse, *};
use crate::{
    circle::circle_of,
    event::MeshEvent,
    keys::{self, Kind},
    pair::{OwnKey, Pairs},
    wire,
};

const LIMIT: Duration = Duration::from_secs(60);

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

fn open(number: u8, port: u16) -> (Mesh, MeshEvents) {
    Mesh::open(MeshSettings {
        listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        scouting: Some(SocketAddrV4::new(*SCOUTING.ip(), port)),
        ..MeshSettings::new(circle(number), OwnKey::new(secret(number)), "d")
    })
    .unwrap()
}

async fn expect<T>(events: &mut MeshEvents, wanted: impl Fn(MeshEvent) -> Option<T>) -> T {
    let find = async {
        loop {
            if let Some(found) = wanted(events.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(LIMIT, find).await.expect("an event within a minute")
}

async fn seen(events: &mut MeshEvents, number: u8) {
    let is_it = |event| matches!(event, MeshEvent::Seen { device: seen, .. } if seen == device(number));
    expect(events, |event| is_it(event).then_some(())).await;
}

fn batch() -> Batch {
    let message = Message {
        origin: device(1),
        source: "s".into(),
        topic: "t".into(),
        properties: Default::default(),
        payload: Bytes::from_static(b"x"),
        accepted_ms: 0,
    };
    Batch { route: "w/r".into(), epoch: 1, after: 0, first_seq: 1, messages: vec![message] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_failed_is_opened_again_and_said() {
    let (a, mut of_a) = open(1, 17470);
    let (b, mut of_b) = open(2, 17470);
    tokio::join!(seen(&mut of_a, 2), seen(&mut of_b, 1));
    let failed = a.outbox.session().unwrap();
    failed.close().await.unwrap();
    let problem =
        expect(&mut of_a, |event| if let MeshEvent::Problem(problem) = event { problem } else { None });
    let problem = problem.await;
    assert!(problem.contains("it is closed") && problem.contains("please report"), "{problem}");
    seen(&mut of_b, 1).await;
    seen(&mut of_a, 2).await;
    // As a delivery does: until it arrives. What is sent on goes a moment after the tokens.
    let arrived =
        expect(
            &mut of_b,
            |event| if let MeshEvent::Batch { batch, .. } = event { Some(batch) } else { None },
        );
    let sending = async {
        loop {
            a.send(device(2), batch());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        arrived = arrived => assert_eq!(arrived, batch()),
        () = sending => {}
    }
    assert_ne!(a.outbox.session().unwrap().zid(), failed.zid());
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_makes_one_look_at_once() {
    let (a, mut of_a) = open(1, 17471);
    let until = tokio::time::Instant::now() + LIMIT;
    let session = loop {
        match a.outbox.session() {
            Some(session) => break session,
            None if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            None => panic!("no session within a minute"),
        }
    };
    session.close().await.unwrap();
    let closed = tokio::time::Instant::now();
    a.send(device(2), batch());
    expect(&mut of_a, |event| matches!(event, MeshEvent::Problem(Some(_))).then_some(())).await;
    assert!(closed.elapsed() < Duration::from_secs(5), "{:?}", closed.elapsed());
    a.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_all_roles_live() {
    let meshes = [(1, Role::Router), (2, Role::Peer), (3, Role::Client)]
        .map(|(number, role)| (number, role, open(number, 17472)));
    let until = tokio::time::Instant::now() + LIMIT;
    for (number, role, (mesh, _)) in &meshes {
        mesh.take_role(*role);
        loop {
            // The one that there was before is closed.
            if let Some(session) = mesh.outbox.session().filter(|session| !session.is_closed()) {
                let key = keys::alive(&device(*number), "d");
                if pulse::feel(session, key).await == Pulse::Beats && mesh.role() == *role {
                    break;
                }
            }
            assert!(tokio::time::Instant::now() < until, "{role:?} does not live");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (number, role, (mesh, _)) in &meshes {
        let session = mesh.outbox.session().unwrap();
        assert_eq!(session.info().zid().await, session.zid());
        let key = keys::alive(&device(*number), "d");
        let begun = std::time::Instant::now();
        assert_eq!(pulse::feel(session, key).await, Pulse::Beats, "{role:?}");
        println!("{role:?} answered after {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_member_sends_in_another_members_name() {
    let (a, mut of_a) = open(1, 17473);
    let (b, mut of_b) = open(2, 17473);
    let (c, mut of_c) = open(3, 17473);
    tokio::join!(seen(&mut of_a, 2), seen(&mut of_b, 3), seen(&mut of_c, 2));
    // Whoever has the key of 3 writes the name of 1 on messages and confirmations, sealed as well as it can.
    let session = c.outbox.session().unwrap();
    let pairs = Pairs::new(OwnKey::new(secret(3)));
    let confirm = wire::encode_confirm(&Confirm { route: "w/r".into(), epoch: 1, upto: 9 });
    let forged = [
        (Kind::Batch, wire::encode_batch(&batch())),
        (Kind::Confirm, confirm),
        (Kind::Live, wire::encode_live("w/r", &batch().messages[0], &[])),
    ];
    for (kind, payload) in &forged {
        let mut sealed = payload.clone();
        assert!(pairs.seal(&device(2), *kind, &mut sealed));
        for payload in [payload.clone(), sealed] {
            session.put(keys::to(&device(2), *kind, &device(1)), payload).await.unwrap();
        }
    }
    let malformed = async {
        while b.counters().malformed < 2 * forged.len() as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, malformed).await.expect("all of them to be refused");
    // In its own name it is heard, and nothing came before that.
    let heard = expect(&mut of_b, |event| {
        if let MeshEvent::Batch { from, .. }
        | MeshEvent::Confirm { from, .. }
        | MeshEvent::Live { from, .. } = event
        {
            Some(from)
        } else {
            None
        }
    });
    let sending = async {
        loop {
            c.send(device(2), batch());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        from = heard => assert_eq!(from, device(3)),
        () = sending => {}
    }
    for mesh in [a, b, c] {
        mesh.close().await;
    }
}
