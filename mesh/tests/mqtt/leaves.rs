//! Leaf devices: who is let in, where, and with what.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use wayside_actors::{
    device::{access::Client, io::Mqtt},
    message::Message,
    queue::{Endpoint, Queue},
};
use wayside_config::{
    identity::DeviceId,
    leaf::{Fingerprint, Leaf},
    workload::ModuleId,
};
use wayside_mesh::mqtt::{MqttEvent, Settings, Tls, password};

use super::{
    device::{Device, PASSWORD, client, until},
    raw::{self, Raw},
};

const LEAF_PASSWORD: &str = "of the meter";

/// RFC 8032, test 1: the device's key.
const DEVICE: [&str; 2] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
];
/// Test 2: the leaf's.
const METER: [&str; 2] = [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
];

fn bytes(digits: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
}

fn certificate(key: [&str; 2]) -> Tls {
    let [secret, public] = key.map(bytes);
    Tls::self_made(&secret, &public, "a name", &["localhost".to_owned()], &[]).unwrap()
}

fn meter() -> ModuleId {
    "plant/meter".parse().unwrap()
}

fn leaf(leaf: Leaf) -> Client {
    Client { id: meter(), leaf: Some(leaf), topics: vec!["set/#".to_owned()] }
}

fn with_password() -> Leaf {
    let password = Some(password::hash(LEAF_PASSWORD.as_bytes(), b"salt and pepper").unwrap());
    Leaf { password, ..Leaf::default() }
}

/// A device that knows a module and a leaf, and a place for leaves.
fn device(known: Leaf, tls: Option<Tls>) -> (Device, SocketAddr) {
    let device = Device::start();
    device.perform(Mqtt::Clients(vec![client(), leaf(known)]));
    let place = ([127, 0, 0, 1], 0).into();
    let address = device.listener.as_ref().unwrap().listen_for_leaves(place, tls).unwrap();
    (device, address)
}

fn code(address: SocketAddr, user: &str, password: &str) -> u8 {
    let mut raw = Raw::open(address);
    raw.send(&raw::connect_as(5, user, password));
    raw.packet().unwrap()[3]
}

#[test]
fn a_leaf_is_let_in_where_leaves_are_and_a_module_where_modules_are() {
    let (device, leaves) = device(with_password(), None);
    assert_eq!(code(leaves, "plant/meter", LEAF_PASSWORD), 0);
    assert_eq!(code(leaves, "plant/meter", "guess"), 0x86);
    assert_eq!(code(leaves, "plant/other", LEAF_PASSWORD), 0x86);
    assert_eq!(code(leaves, "plant/detector", PASSWORD), 0x86);
    assert_eq!(code(device.address, "plant/detector", PASSWORD), 0);
    assert_eq!(code(device.address, "plant/meter", LEAF_PASSWORD), 0x86);
    // What a module of that name would have.
    assert_eq!(code(device.address, "plant/meter", PASSWORD), 0x86);
    assert_eq!(device.counts.now().wrong_passwords, 5);
}

#[test]
fn a_leaf_publishes_and_gets_topics_as_they_are() {
    let (device, leaves) = device(with_password(), None);
    let mut raw = Raw::open(leaves);
    raw.send(&raw::connect_as(4, "plant/meter", LEAF_PASSWORD));
    assert_eq!(raw.packet().unwrap(), [0x20, 2, 0, 0]);
    raw.send(&raw::publish(1, b"x"));
    assert_eq!(raw.packet().unwrap(), [0x40, 2, 0, 1]);
    let is_of_meter =
        |event: &MqttEvent| matches!(event, MqttEvent::Published { module, .. } if *module == meter());
    assert!(device.desk.events.lock().unwrap().iter().any(is_of_meter));
    raw.send(b"\x82\x0f\0\x02\0\x05set/#\x01\0\x02up\x01");
    assert_eq!(raw.packet().unwrap(), [0x90, 4, 0, 2, 1, 0x80], "what no route brings is refused");
    let queue = Queue::new("plant/set", Endpoint::Module(meter()));
    let message = Message {
        origin: DeviceId::from_bytes([7; 32]),
        source: "controller".into(),
        topic: "set/heat".into(),
        properties: Default::default(),
        payload: b"21".to_vec().into(),
        accepted_ms: 0,
    };
    device.perform(Mqtt::Deliver { queue, first_seq: 1, messages: vec![message] });
    assert_eq!(raw.packet().unwrap(), b"\x32\x0e\0\x08set/heat\0\x0121");
    // Who has to prove itself in another way is asked to.
    let other = Leaf { password: Some(password::hash(b"new", b"another salt").unwrap()), ..Leaf::default() };
    device.perform(Mqtt::Clients(vec![client(), leaf(other)]));
    assert_eq!(raw.packet(), None);
    assert_eq!(code(leaves, "plant/meter", LEAF_PASSWORD), 0x86);
    assert_eq!(code(leaves, "plant/meter", "new"), 0);
}

/// Connects with TLS and maybe a certificate, and says what comes back.
fn encrypted_code(address: SocketAddr, has_certificate: bool, password: &str) -> u8 {
    let mut roots = RootCertStore::empty();
    // A device's certificate is trusted as it is.
    roots.add(CertificateDer::from(certificate(DEVICE).certificate().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if has_certificate {
        let chain = vec![CertificateDer::from(certificate(METER).certificate().to_vec())];
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = [&prefix[..], &bytes(METER[0])].concat();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        config.with_client_auth_cert(chain, key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut raw = Raw(StreamOwned::new(tls, stream));
    raw.send(&raw::connect_as(5, "plant/meter", password));
    raw.packet().unwrap()[3]
}

#[test]
fn a_certificate_is_asked_for_by_its_fingerprint() {
    let fingerprint = Some(certificate(METER).fingerprint());
    let only = Leaf { certificate: fingerprint, ..Leaf::default() };
    let (device, leaves) = device(only.clone(), Some(certificate(DEVICE)));
    assert_eq!(encrypted_code(leaves, true, ""), 0);
    assert_eq!(encrypted_code(leaves, false, LEAF_PASSWORD), 0x86);
    let both = Leaf { certificate: fingerprint, ..with_password() };
    device.perform(Mqtt::Clients(vec![leaf(both)]));
    assert_eq!(encrypted_code(leaves, true, LEAF_PASSWORD), 0);
    assert_eq!(encrypted_code(leaves, true, "guess"), 0x86);
    assert_eq!(encrypted_code(leaves, false, LEAF_PASSWORD), 0x86);
    let another = Leaf { certificate: Some(Fingerprint::of(b"another")), ..Leaf::default() };
    device.perform(Mqtt::Clients(vec![leaf(another)]));
    assert_eq!(encrypted_code(leaves, true, LEAF_PASSWORD), 0x86);
}

#[test]
fn without_tls_nobody_gets_in_where_it_is_asked_for() {
    let settings = Settings { connect_timeout: Duration::from_millis(300), ..Settings::default() };
    let device = Device::start_at(([127, 0, 0, 1], 0).into(), Arc::default(), settings);
    device.perform(Mqtt::Clients(vec![leaf(with_password())]));
    let place = ([127, 0, 0, 1], 0).into();
    let listener = device.listener.as_ref().unwrap();
    let leaves = listener.listen_for_leaves(place, Some(certificate(DEVICE))).unwrap();
    let mut raw = Raw::open(leaves);
    raw.send(&raw::connect_as(5, "plant/meter", LEAF_PASSWORD));
    // An alert of TLS, or nothing.
    assert!(raw.packet().is_none_or(|packet| packet[0] == 0x15));
    let _silent = Raw::open(leaves);
    until("both are counted", || {
        let counted = device.counts.now();
        (counted.malformed, counted.silent) == (1, 1)
    });
}
