//! The bodies of the fuzz targets, on random bytes and on good files with random damage.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "hostile/audit.rs"]
mod audit;
#[path = "hostile/compose.rs"]
mod compose;
#[path = "hostile/condition.rs"]
mod condition;
#[path = "hostile/cosign.rs"]
mod cosign;
#[path = "hostile/envelope.rs"]
mod envelope;
#[path = "hostile/hello.rs"]
mod hello;
#[path = "hostile/join.rs"]
mod join;
#[path = "hostile/patch.rs"]
mod patch;
#[path = "hostile/secret.rs"]
mod secret;
#[path = "hostile/settings.rs"]
mod settings;
#[path = "hostile/statefile.rs"]
mod statefile;

use proptest::prelude::*;
use wayside_config::{
    cbor,
    cosign::{Kind as Signed, add, seal},
    document::{Request, Revocation},
    envelope::Kind,
    hello::Hello,
    identity::{FleetId, PublicKey},
    secret::{Ciphertext, SealedValue, SecretChange, SecretName},
};

const COMPOSE: &str = "
name: grid
x-base: &base { restart: always, environment: { A: '1' } }
services:
  sensor: { <<: *base, image: sensor:1, command: [a, b], cpus: 0.5, ports: ['80:80'] }
volumes: { rows: }
x-wayside:
  target: { labels: { plant: p7 } }
  routes: { all: { from: sensor/#, to: cloud, buffer: 4MiB } }
";

const SETTINGS: &str = "
name = 'ewr'
labels = { plant = 'p7' }
store_max = '1GiB'
[mesh]
listen = ['10.0.0.1:7447']
";

const PATCH: &[u8] = b"{\"a\":{\"b\":[1,2]},\"c\":\"x\"}\0{\"a\":{\"b\":null,\"d\":{\"e\":1.5}},\"c\":null}";

const CONDITION: &[u8] = b"body.tags.exists(t, t.startsWith('a')) || has(body.b) && body.b[0] > 1.5\0{\"tags\": [\"ab\"], \"b\": [2]}";

/// Replaces a few bytes, wherever they are.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<prop::sample::Index>(), 0usize..12, prop::collection::vec(any::<u8>(), 0..12));
    prop::collection::vec(damage, 0..4).prop_map(move |damages| {
        let mut bytes = good.clone();
        for (at, cut, insert) in damages {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, insert);
        }
        bytes
    })
}

/// A sealed request whose signature is of other bytes.
fn forged() -> Vec<u8> {
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let device = PublicKey::from_bytes([2; 32]);
    let request = Request { device, issued_ms: 7, nonce: 7, body: "{}".into() };
    let mut sealed = wayside_config::envelope::seal(&key, Kind::Request, &request).unwrap();
    // Half of the signature: a single bit could be put right by chance.
    let half = sealed.len() - 32;
    sealed[half..].fill(0);
    sealed
}

/// A revocation for another fleet than the one that is asked for.
fn foreign() -> Vec<u8> {
    let keys = [1, 2].map(|seed| ed25519_dalek::SigningKey::from_bytes(&[seed; 32]));
    let fleet = FleetId::from_bytes([4; 32]);
    let revocation = Revocation { version: 1, issued_ms: 7, devices: Vec::new(), documents: Vec::new() };
    let sealed = seal(&fleet, &revocation, &keys[0]).unwrap();
    add(Signed::Revocation, &fleet, &sealed, &keys[1]).unwrap()
}

/// A hello in the name of another key.
fn stranger() -> Vec<u8> {
    let hello = Hello {
        device: PublicKey::from_bytes([2; 32]),
        run: 1,
        number: 1,
        name: "ewr".into(),
        labels: std::collections::BTreeMap::from([("plant".into(), "p7".into())]),
        fleet: None,
        root: 0,
        revocation: 0,
        assigned: 0,
        port: 7448,
        mesh: Vec::new(),
        proof: None,
    };
    hello.seal(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]), Some(b"grant")).unwrap()
}

/// A secret in its sealed form, which nobody signed.
fn value() -> Vec<u8> {
    let value = SealedValue { sender: [9; 32], sealed: Ciphertext(vec![7; 40]) };
    let secret = SecretName { workload: Some("grid".into()), secret: "token".into() };
    cbor::encode(&SecretChange {
        device: PublicKey::from_bytes([2; 32]),
        version: 3,
        secret,
        value: Some(value),
    })
}

fn state() -> Vec<u8> {
    let value = std::collections::BTreeMap::from([("a".to_owned(), vec![1u64, 2]), ("b".to_owned(), vec![])]);
    wayside_config::statefile::encode("state", 1, &value)
}

proptest! {
    #[test]
    fn random_bytes_break_no_parser(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        audit::read(&bytes);
        compose::read(&bytes);
        condition::read(&bytes);
        cosign::read(&bytes);
        envelope::read(&bytes);
        hello::read(&bytes);
        join::read(&bytes);
        patch::read(&bytes);
        secret::read(&bytes);
        settings::read(&bytes);
        statefile::read(&bytes);
        let _ = cbor::decode::<Request>(&bytes);
    }

    #[test]
    fn damaged_files_break_no_parser(
        compose in damaged(COMPOSE.into()),
        condition in damaged(CONDITION.into()),
        patch in damaged(PATCH.into()),
        settings in damaged(SETTINGS.into()),
        sealed in damaged(forged()),
        cosigned in damaged(foreign()),
        packet in damaged(stranger()),
        state in damaged(state()),
        log in damaged([wayside_config::audit::framed(&forged()), wayside_config::audit::framed(&foreign())].concat()),
        secret in damaged(value()),
        link in damaged(format!("wayside://[::1]:7443/?key={}&token=t", PublicKey::from_bytes([2; 32])).into()),
    ) {
        compose::read(&compose);
        condition::read(&condition);
        patch::read(&patch);
        secret::read(&secret);
        settings::read(&settings);
        envelope::read(&sealed);
        cosign::read(&cosigned);
        hello::read(&packet);
        statefile::read(&state);
        audit::read(&log);
        join::read(&link);
    }
}

#[test]
fn the_good_files_are_good() {
    assert!(wayside_config::compose::parse("f", COMPOSE).is_ok());
    assert!(wayside_config::settings::Settings::parse("f", SETTINGS).is_ok());
    envelope::read(&forged());
    cosign::read(&foreign());
    hello::read(&stranger());
    secret::read(&value());
    assert!(cbor::decode::<SecretChange>(&value()).is_ok());
    statefile::read(&state());
}
