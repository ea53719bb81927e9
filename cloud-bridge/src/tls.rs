//! Who is at the other end: TLS 1.3 with raw Ed25519 public keys (RFC 7250) on both sides.
//!
//! There are no certificates and no names. The device knows the cloud's key from its join link and
//! accepts no other; the cloud takes every well-formed Ed25519 key, for that key is the device's
//! identity, and leaves to the session whether it may in.

use std::sync::Arc;

use ed25519_dalek::{SigningKey, VerifyingKey, pkcs8::EncodePrivateKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use wayside_config::identity::PublicKey;

/// What both sides say they speak on a connection.
pub const ALPN: &[u8] = b"wayside/1";

/// The server name that clients send. Nobody looks at it: keys say who is who.
pub const SERVER_NAME: &str = "wayside";

/// A SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) is these bytes and then the key's 32.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The TLS library did not take a key or a setting.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(String);

impl TlsError {
    pub(crate) fn new(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// For a device that connects: proves `own`, and accepts the server that proves `server`.
///
/// # Errors
/// When the library does not take the key.
pub fn client_config(own: &SigningKey, server: PublicKey) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let own = certified_key(own)?;
    let verifier = PinnedServer { spki: spki(server), provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::new(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// For the cloud: proves `own`, and asks every client for its key.
///
/// # Errors
/// When the library does not take the key.
pub fn server_config(own: &SigningKey) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let own = certified_key(own)?;
    let verifier = AnyEd25519Client { provider: Arc::clone(&provider) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError::new(&error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The key that the peer of a finished handshake proved.
#[must_use]
pub fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of_spki(identity.first()?)
}

fn certified_key(key: &SigningKey) -> Result<Arc<CertifiedKey>, TlsError> {
    let der = key.to_pkcs8_der().map_err(|error| TlsError::new(&error))?;
    let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_bytes()))
        .map_err(|error| TlsError::new(&error))?;
    let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki(public))], signer)))
}

fn spki(key: PublicKey) -> Vec<u8> {
    [&SPKI_PREFIX[..], key.as_bytes()].concat()
}

/// The key, when the bytes are exactly an Ed25519 key that is a point of the curve and not of small order.
fn key_of_spki(spki: &[u8]) -> Option<PublicKey> {
    let bytes: [u8; 32] = spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
    let key = VerifyingKey::from_bytes(&bytes).ok()?;
    (!key.is_weak()).then(|| PublicKey::from_bytes(bytes))
}

fn check_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    verify_tls13_signature_with_raw_key(
        message,
        &spki,
        signature,
        &provider.signature_verification_algorithms,
    )
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}

/// Accepts the one server whose key the join link gave.
#[derive(Debug)]
struct PinnedServer {
    spki: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.as_ref() != self.spki || !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts every client that proves an Ed25519 key.
#[derive(Debug)]
struct AnyEd25519Client {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyEd25519Client {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if key_of_spki(end_entity).is_none() || !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
