//! Who may talk to whom is decided by keys, before a word is said.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed step fails the test")]

mod support;

use std::sync::Arc;

use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use support::{Cloud, Device};
use wayside_cloud_bridge::{
    device::{CloudAddress, Event},
    tls,
};
use wayside_config::identity::PublicKey;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let other = ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
    let address = CloudAddress { key: PublicKey::from_bytes(other), ..cloud.address() };
    let mut device = Device::new(1, address);
    let Event::Lost { reason } = device.connect().await else { panic!("it connected") };
    assert!(reason.contains("did not prove the cloud's key; check the join link"), "{reason}");
}

/// A client that trusts the server, but shows no key.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let own = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let mut config = tls::client_config(&own, cloud.join.key).unwrap();
    config.client_auth_cert_resolver = Arc::new(NoKey);
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = format!("127.0.0.1:{}", cloud.join.port).parse().unwrap();
    let connecting =
        endpoint.connect_with(quinn::ClientConfig::new(Arc::new(crypto)), to, tls::SERVER_NAME).unwrap();
    // TLS 1.3 lets a client believe that it is done before the server has looked at its key.
    let ended = match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert!(matches!(ended, quinn::ConnectionError::ConnectionClosed(_)), "{ended}");
    assert!(ended.to_string().contains("the cryptographic handshake failed"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(folder.path());
    let own = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let mut config = tls::client_config(&own, cloud.join.key).unwrap();
    config.alpn_protocols = vec![b"wayside/2".to_vec()];
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = format!("127.0.0.1:{}", cloud.join.port).parse().unwrap();
    let connecting =
        endpoint.connect_with(quinn::ClientConfig::new(Arc::new(crypto)), to, tls::SERVER_NAME).unwrap();
    let error = connecting.await.unwrap_err().to_string();
    assert!(error.contains("any known protocol"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_said_so() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let key = PublicKey::from_bytes([1; 32]);
    let mut device = Device::new(1, CloudAddress { host: "127.0.0.1".into(), port, key });
    let Event::Lost { reason } = device.connect().await else { panic!("it connected") };
    assert!(reason.contains("does not answer; check that the cloud runs"), "{reason}");

    let mut device = Device::new(1, CloudAddress { host: "no-such-host.invalid".into(), port, key });
    let Event::Lost { reason } = device.connect().await else { panic!("it connected") };
    assert!(reason.contains("no-such-host.invalid could not be resolved"), "{reason}");
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}
