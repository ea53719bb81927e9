//! TLS for leaf devices: the device shows a certificate, a leaf may show one, and what counts of it is its fingerprint.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem::PemObject as _},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use thiserror::Error;
use wayside_config::leaf::Fingerprint;

use super::certificate::{Subject, self_signed};

/// An Ed25519 key in PKCS #8, up to its 32 bytes (RFC 8410).
const PKCS8_ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// How the device shows itself to leaf devices.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(super) config: Arc<ServerConfig>,
    certificate: Vec<u8>,
}

/// TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not there or not PEM.
    #[error("cannot read {0}: {1}; `[leaves]` in the settings needs PEM files that the daemon may read")]
    File(PathBuf, rustls::pki_types::pem::Error),
    /// The key does not fit, or is of a kind that is not supported.
    #[error(
        "cannot use the certificate for leaf devices: {0}; give a certificate and the key that belongs to it"
    )]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// With a certificate chain and its key.
    ///
    /// # Errors
    /// A file cannot be read, or they do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |error| TlsError::File(certificate.to_owned(), error);
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(read)?;
        let secret =
            PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File(key.to_owned(), error))?;
        Self::new(chain, secret)
    }

    /// With a certificate that the device makes from its own Ed25519 key.
    ///
    /// # Errors
    /// Never, with a sound key.
    pub fn self_made(
        secret: &[u8; 32],
        public_key: &[u8; 32],
        name: &str,
        hosts: &[String],
        addresses: &[IpAddr],
    ) -> Result<Self, TlsError> {
        let pkcs8 = [&PKCS8_ED25519[..], secret].concat();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let signer = ring::sign::any_supported_type(&key)?
            .choose_scheme(&[SignatureScheme::ED25519])
            .ok_or_else(|| rustls::Error::General("the key does not sign".to_owned()))?;
        let subject = Subject { public_key, name, hosts, addresses };
        let certificate = self_signed(&subject, |body| signer.sign(body))?;
        Self::new(vec![CertificateDer::from(certificate)], key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certificate = chain.first().map(|first| first.to_vec()).unwrap_or_default();
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyClient(provider)))
            .with_single_cert(chain, key)?;
        // A resumed session would bring a certificate that was shown long ago, and costs memory here.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The device's certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }
}

/// Lets clients show any certificate or none, but only one whose key they have: whose it is is decided by its
/// fingerprint, once the client has said who it is.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_makes_the_same_certificate_with_every_start() {
        // RFC 8032, test 1.
        let secret = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let make = || {
            let addresses = ["192.0.2.7".parse().unwrap(), "::1".parse().unwrap()];
            Tls::self_made(&secret, &public, "a device", &["ewr".to_owned()], &addresses).unwrap()
        };
        let tls = make();
        assert_eq!(make().fingerprint(), tls.fingerprint());
        let certificate = CertificateDer::from(tls.certificate());
        // What verifies others takes it apart: names, key and signature stand where they belong.
        let parsed = rustls::server::ParsedCertificate::try_from(&certificate).unwrap();
        for name in ["ewr", "192.0.2.7", "::1"] {
            let name = name.to_owned().try_into().unwrap();
            rustls::client::verify_server_name(&parsed, &name).unwrap();
        }
    }

    fn hex(digits: &str) -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn files_that_are_none_are_named() {
        let error = Tls::from_files(Path::new("/nowhere/a.pem"), Path::new("/nowhere/a.key")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/a.pem"), "{error}");
    }
}
