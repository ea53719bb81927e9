//! What an operator applies reaches the device, signed by the cloud for that device.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use support::{Cloud, Device};
use wayside_actors::frame::{Ask, Desired, Question, ToDevice};
use wayside_config::{
    cbor,
    cosign::{Kind, open, payload_hash, seal},
    document::{Assignment, DocumentId, Release, Request, Revocation},
    envelope,
    fleet::Fleet,
    hash::sha256,
    identity::PublicKey,
    quorum::Quorum,
    workload::{ModuleSpec, Target, Workload},
};

fn release(version: u64) -> Release {
    let spec = ModuleSpec { image: "sensor:1".into(), ..ModuleSpec::default() };
    let workload = Workload {
        name: "weather".into(),
        target: Target::default(),
        modules: BTreeMap::from([("sensor".into(), spec)]),
        leaves: BTreeMap::new(),
        twins: BTreeMap::new(),
        update: Default::default(),
        priority: Workload::PRIORITY,
        routes: Vec::new(),
    };
    Release { version, issued_ms: 0, expires_ms: None, workload }
}

fn sealed(operator: &SigningKey, version: u64) -> Vec<u8> {
    let fleet = Fleet::of_one(operator).unwrap();
    seal(&fleet.id(), &release(version), operator).unwrap()
}

/// Tells the cloud the fleet of one operator.
fn introduce(cloud: &Cloud, operator: &SigningKey) -> (u16, String) {
    let roots: Vec<Bytes> =
        Fleet::of_one(operator).unwrap().roots().iter().cloned().map(Bytes::from).collect();
    cloud.put("/api/v1/fleet", &cbor::encode(&(roots, None::<Bytes>)))
}

fn assignment(cloud: &Cloud, operator: &SigningKey, got: &Desired) -> Assignment {
    let fleet = Fleet::open(&got.roots).unwrap();
    assert_eq!(fleet, Fleet::of_one(operator).unwrap());
    open(&fleet.id(), &got.assignment, &Quorum::one(cloud.join.key)).unwrap().1
}

fn operator(seed: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
    (key, public)
}

async fn desired(device: &mut Device) -> Desired {
    match device.frame().await {
        ToDevice::Desired(desired) => desired,
        other => panic!("expected desired state: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_reaches_the_device_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    let (key, public) = operator(40);
    let bytes = sealed(&key, 1);
    assert_eq!(introduce(&cloud, &key).0, 200);
    let (status, body) = cloud.post("/api/v1/workloads", &bytes);
    assert_eq!((status, body.as_str()), (200, r#"{"name":"weather","version":1,"devices":1}"#));

    let got = desired(&mut device).await;
    let assigned = assignment(&cloud, &key, &got);
    assert_eq!((assigned.device, assigned.version), (device.id(), 1));
    assert_eq!(assigned.releases[0].sha256, sha256(&bytes));
    assert_eq!(got.releases, [bytes.as_slice()]);
    let (signers, named) = Fleet::of_one(&key).unwrap().verify::<Release>(&got.releases[0]).unwrap();
    assert_eq!((signers, named), (vec![public], release(1)));

    let listed: serde_json::Value = serde_json::from_str(&cloud.get("/api/v1/workloads").1).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["devices"]), (&"weather".into(), &1.into()));
    let (status, body) = cloud.delete("/api/v1/workloads/weather");
    assert_eq!((status, body.as_str()), (200, r#"{"name":"weather","devices":1}"#));
    let got = desired(&mut device).await;
    let assigned = assignment(&cloud, &key, &got);
    assert_eq!((assigned.version, assigned.releases.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_away_gets_it_after_a_new_start_of_the_cloud() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    drop(device);
    let (key, _) = operator(40);
    assert_eq!(introduce(&cloud, &key).0, 200);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 3)).0, 200);
    cloud.kill();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", None).await;
    let got = desired(&mut device).await;
    assert_eq!(assignment(&cloud, &key, &got).releases[0].version, 3);
}

#[test]
fn what_is_not_taken_is_explained_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let ((key, _), (other, _)) = (operator(40), operator(41));
    let (status, body) = cloud.post("/api/v1/workloads", &sealed(&key, 2));
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("no fleet yet"), "{body}");
    assert_eq!(introduce(&cloud, &key).0, 200);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 2)).0, 200);
    let (status, body) = introduce(&cloud, &other);
    assert_eq!(status, 403);
    assert!(body.contains("start wayside-cloud with --fleet"), "{body}");
    let (status, body) = cloud.post("/api/v1/workloads", &sealed(&other, 3));
    assert_eq!(status, 403, "{body}");
    let shown: serde_json::Value = serde_json::from_str(&cloud.get("/api/v1/fleet").1).unwrap();
    assert_eq!(shown["fleet"], Fleet::of_one(&key).unwrap().id().to_string());
    assert_eq!(cloud.put("/api/v1/fleet", b"nonsense").0, 400);
    let (status, body) = cloud.post("/api/v1/workloads", &sealed(&key, 1));
    assert_eq!(status, 409);
    assert!(body.contains("apply a version above it"), "{body}");
    let mut changed = sealed(&key, 3);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let (status, body) = cloud.post("/api/v1/workloads", &changed);
    assert_eq!(status, 400);
    assert!(body.contains("is not valid"), "{body}");
    assert_eq!(cloud.post("/api/v1/workloads", b"nonsense").0, 400);
    // More than the buffers of a socket hold: the answer comes all the same.
    for _ in 0..10 {
        let (status, body) = cloud.post("/api/v1/workloads", &vec![0; 8 << 20]);
        assert_eq!(status, 413);
        assert!(body.contains("larger than the limit"), "{body}");
    }
    let listed: serde_json::Value = serde_json::from_str(&cloud.get("/api/v1/workloads").1).unwrap();
    assert_eq!(listed[0]["version"], 2);
}

#[test]
fn what_has_expired_or_is_revoked_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = operator(40);
    let cloud = Cloud::start_with(folder.path(), "127.0.0.1:0", &["--operator", &public.to_string()]);
    assert_eq!(introduce(&cloud, &key).0, 200);
    let fleet = Fleet::of_one(&key).unwrap();
    let expired = Release { expires_ms: Some(1), ..release(1) };
    let expired = seal(&fleet.id(), &expired, &key).unwrap();
    let (status, body) = cloud.post("/api/v1/workloads", &expired);
    assert_eq!((status, body.contains("has expired")), (409, true), "{body}");
    let bad = sealed(&key, 1);
    let documents = vec![DocumentId(payload_hash(Kind::Release, &bad).unwrap())];
    let list = Revocation { version: 1, issued_ms: 0, devices: Vec::new(), documents };
    let list = Bytes::from(seal(&fleet.id(), &list, &key).unwrap());
    let roots: Vec<Bytes> = fleet.roots().iter().cloned().map(Bytes::from).collect();
    assert_eq!(cloud.put("/api/v1/fleet", &cbor::encode(&(roots, Some(list)))).0, 200);
    let (status, body) = cloud.post("/api/v1/workloads", &bad);
    assert_eq!((status, body.contains("is revoked")), (409, true), "{body}");
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 2)).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_hears_it_is_put_out_and_stays_out_and_others_hear_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let (key, _) = operator(40);
    assert_eq!(introduce(&cloud, &key).0, 200);
    let (mut out, mut other) = (Device::new(1, cloud.address()), Device::new(2, cloud.address()));
    for device in [&mut out, &mut other] {
        device.join("ewr", cloud.join.token.as_deref()).await;
    }
    let fleet = Fleet::of_one(&key).unwrap();
    let list = Revocation { version: 1, issued_ms: 0, devices: vec![out.id()], documents: Vec::new() };
    let list = Bytes::from(seal(&fleet.id(), &list, &key).unwrap());
    let roots: Vec<Bytes> = fleet.roots().iter().cloned().map(Bytes::from).collect();
    assert_eq!(cloud.put("/api/v1/fleet", &cbor::encode(&(roots, Some(list)))).0, 200);
    for device in [&mut out, &mut other] {
        let frame = device.frame().await;
        let ToDevice::Ask(Ask { question: Question::Sealed { request }, .. }) = frame else {
            panic!("{frame:?}")
        };
        let (_, asked) =
            envelope::open::<Request>(&request, envelope::Kind::Request, &[cloud.join.key]).unwrap();
        assert!(asked.device == device.id() && asked.body.contains("\"ask\":\"admit\""), "{asked:?}");
    }
    let reason = out.lost().await;
    assert!(reason.contains("revoked"), "{reason}");
    let refused = out.greet("ewr", cloud.join.token.as_deref()).await;
    assert!(matches!(&refused, ToDevice::Refused { reason } if reason.contains("revoked")), "{refused:?}");
    // Also by a cloud that was started again; and who was away hears it when it is back.
    assert!(cloud.terminate());
    let cloud = Cloud::start(folder.path());
    let (mut out, mut other) = (Device::new(1, cloud.address()), Device::new(2, cloud.address()));
    assert!(matches!(out.greet("ewr", None).await, ToDevice::Refused { .. }));
    other.join("jfk", None).await;
    let frame = other.frame().await;
    assert!(matches!(&frame, ToDevice::Ask(Ask { question: Question::Sealed { .. }, .. })), "{frame:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_roots_let_nobody_in_until_a_fleet_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    let ((key, public), (stranger, _)) = (operator(40), operator(41));
    let first = sealed(&key, 1);
    assert_eq!(introduce(&cloud, &key).0, 200);
    assert_eq!(cloud.post("/api/v1/workloads", &first).0, 200);
    desired(&mut device).await;
    assert!(cloud.terminate());
    std::fs::write(folder.path().join("fleet"), "damaged").unwrap();
    // One copy of two is enough.
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", None).await;
    assert_eq!(desired(&mut device).await.releases, [first.as_slice()]);
    assert!(cloud.terminate());

    for copy in ["fleet", "fleet.copy"] {
        std::fs::write(folder.path().join(copy), "damaged").unwrap();
    }
    for _ in 0..2 {
        let cloud = Cloud::start(folder.path());
        for key in [&stranger, &key] {
            for (status, body) in [introduce(&cloud, key), cloud.post("/api/v1/workloads", &sealed(key, 2))] {
                assert_eq!(status, 403, "{body}");
                assert!(body.contains("--operator"), "{body}");
            }
        }
        assert!(cloud.terminate());
    }
    let cloud = Cloud::start_with(folder.path(), "127.0.0.1:0", &["--operator", &public.to_string()]);
    assert_eq!(introduce(&cloud, &stranger).0, 403);
    assert_eq!(introduce(&cloud, &key).0, 200);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 2)).0, 200);
}
