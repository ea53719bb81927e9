//! What an operator applies reaches the device, signed by the cloud for that device.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use support::{Cloud, Device};
use wayside_actors::frame::{Desired, ToDevice};
use wayside_config::{
    document::{Assignment, Release},
    envelope::{Kind, open, seal},
    hash::sha256,
    identity::PublicKey,
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
        routes: Vec::new(),
    };
    Release { version, workload }
}

fn sealed(operator: &SigningKey, version: u64) -> Vec<u8> {
    seal(operator, Kind::Release, &release(version)).unwrap()
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
    let (status, body) = cloud.post("/api/v1/workloads", &bytes);
    assert_eq!((status, body.as_str()), (200, r#"{"name":"weather","version":1,"devices":1}"#));

    let got = desired(&mut device).await;
    let (signer, assignment) =
        open::<Assignment>(&got.assignment, Kind::Assignment, &[cloud.join.key]).unwrap();
    assert_eq!(signer, cloud.join.key);
    assert_eq!((assignment.device, assignment.version), (device.id(), 1));
    assert_eq!(assignment.releases[0].sha256, sha256(&bytes));
    assert_eq!(got.releases, [bytes.as_slice()]);
    let (signer, named) = open::<Release>(&got.releases[0], Kind::Release, &[public]).unwrap();
    assert_eq!((signer, named), (public, release(1)));

    let listed: serde_json::Value = serde_json::from_str(&cloud.get("/api/v1/workloads").1).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["devices"]), (&"weather".into(), &1.into()));
    let (status, body) = cloud.delete("/api/v1/workloads/weather");
    assert_eq!((status, body.as_str()), (200, r#"{"name":"weather","devices":1}"#));
    let got = desired(&mut device).await;
    let (_, assignment) = open::<Assignment>(&got.assignment, Kind::Assignment, &[cloud.join.key]).unwrap();
    assert_eq!((assignment.version, assignment.releases.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_away_gets_it_after_a_new_start_of_the_cloud() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    drop(device);
    let (key, _) = operator(40);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 3)).0, 200);
    cloud.kill();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", None).await;
    let got = desired(&mut device).await;
    let (_, assignment) = open::<Assignment>(&got.assignment, Kind::Assignment, &[cloud.join.key]).unwrap();
    assert_eq!(assignment.releases[0].version, 3);
}

#[test]
fn what_is_not_taken_is_explained_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let (key, _) = operator(40);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 2)).0, 200);
    let (other, other_public) = operator(41);
    let (status, body) = cloud.post("/api/v1/workloads", &sealed(&other, 3));
    assert_eq!(status, 403);
    assert!(body.contains(&format!("start wayside-cloud with --operator {other_public}")), "{body}");
    let (status, body) = cloud.post("/api/v1/workloads", &sealed(&key, 1));
    assert_eq!(status, 409);
    assert!(body.contains("apply a version above it"), "{body}");
    let mut changed = sealed(&key, 3);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let (status, body) = cloud.post("/api/v1/workloads", &changed);
    assert_eq!(status, 400);
    assert!(body.contains("the signature is not valid"), "{body}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_list_of_operators_lets_nobody_in_and_what_is_assigned_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let mut device = Device::new(1, cloud.address());
    device.join("ewr", cloud.join.token.as_deref()).await;
    let ((key, public), (stranger, _)) = (operator(40), operator(41));
    let first = sealed(&key, 1);
    assert_eq!(cloud.post("/api/v1/workloads", &first).0, 200);
    desired(&mut device).await;
    assert!(cloud.terminate());
    std::fs::write(folder.path().join("operators"), "damaged\n").unwrap();

    for _ in 0..2 {
        let cloud = Cloud::start(folder.path());
        for key in [&stranger, &key] {
            let (status, body) = cloud.post("/api/v1/workloads", &sealed(key, 2));
            assert_eq!(status, 403, "{body}");
            assert!(body.contains("--operator"), "{body}");
        }
        let mut device = Device::new(1, cloud.address());
        device.join("ewr", None).await;
        assert_eq!(desired(&mut device).await.releases, [first.as_slice()]);
        assert!(cloud.terminate());
    }
    let cloud = Cloud::start_with(folder.path(), "127.0.0.1:0", &["--operator", &public.to_string()]);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&stranger, 2)).0, 403);
    assert_eq!(cloud.post("/api/v1/workloads", &sealed(&key, 2)).0, 200);
}
