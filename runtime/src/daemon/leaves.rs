//! Where leaf devices connect: bound one by one, so that an address that is not there keeps nobody from the others.

use std::{rc::Rc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use wayside_config::settings::{LeafAddress, LeafSettings};
use wayside_mesh::mqtt::{Listener, Tls};

use crate::{
    shell::Device,
    state::{Identity, StateFolder},
};

/// Before an address that could not be bound is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The certificate that the daemon made, for leaf devices to be told.
const FILE: &str = "leaf-certificate.pem";

/// What the settings say of leaf devices.
pub(super) struct Leaves {
    listen: Vec<LeafAddress>,
    /// Where some are to be encrypted.
    tls: Result<Option<Tls>, String>,
}

impl Leaves {
    pub(super) fn new(settings: &LeafSettings, identity: &Identity, name: &str, state: &StateFolder) -> Self {
        let LeafSettings { listen, certificate, key } = settings;
        let tls =
            listen.iter().any(|place| place.has_tls).then(|| match certificate.as_ref().zip(key.as_ref()) {
                Some((certificate, key)) => {
                    Tls::from_files(certificate, key).map_err(|error| error.to_string())
                }
                None => self_made(listen, identity, name, state),
            });
        Self { listen: listen.clone(), tls: tls.transpose() }
    }

    /// Whether the settings name a place for them.
    pub(super) fn are_expected(&self) -> bool {
        !self.listen.is_empty()
    }

    /// Listens wherever it is wanted, and tries again where that fails. Does not end.
    pub(super) async fn welcome(&self, device: &Rc<Device>, listener: &Listener) {
        let certificate = self.tls.as_ref().ok().and_then(|tls| tls.as_ref().map(Tls::fingerprint));
        let (mut waiting, mut bound) = (self.listen.clone(), Vec::new());
        loop {
            let mut problems = Vec::new();
            waiting.retain(|place| match self.open(place, listener) {
                Ok(text) => {
                    bound.push(text);
                    false
                }
                Err(problem) => {
                    problems.push(problem);
                    true
                }
            });
            device.adapters().view.leaves(bound.clone(), certificate);
            device.problems_of("leaves", problems);
            if waiting.is_empty() {
                return std::future::pending().await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn open(&self, place: &LeafAddress, listener: &Listener) -> Result<String, String> {
        let tls = if place.has_tls { self.tls.clone()? } else { None };
        let scheme = if tls.is_some() { "mqtts" } else { "mqtt" };
        let bound = listener.listen_for_leaves(place.address, tls).map_err(|error| error.to_string())?;
        Ok(format!("{scheme}://{bound}"))
    }
}

/// A certificate of the device's own key; it is written where people find it.
fn self_made(
    listen: &[LeafAddress],
    identity: &Identity,
    name: &str,
    state: &StateFolder,
) -> Result<Tls, String> {
    let hosts = [name.to_owned(), "localhost".to_owned()];
    let addresses: Vec<_> =
        listen.iter().map(|place| place.address.ip()).filter(|address| !address.is_unspecified()).collect();
    let (device, secret) = (identity.device(), identity.key().as_bytes());
    let tls = Tls::self_made(secret, device.as_bytes(), &device.to_string(), &hosts, &addresses)
        .map_err(|error| error.to_string())?;
    if let Err(error) = std::fs::write(state.path().join(FILE), pem(tls.certificate())) {
        tracing::warn!(%error, file = FILE, "cannot write the certificate for leaf devices");
    }
    Ok(tls)
}

fn pem(certificate: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_the_same_with_every_start_and_lies_in_the_state_directory() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (identity, _) = Identity::load(&state).unwrap();
        let listen = ["mqtts://192.0.2.7:8883", "mqtt://127.0.0.1:1884"].map(|text| text.parse().unwrap());
        let settings = LeafSettings { listen: listen.into(), ..LeafSettings::default() };
        let make = || Leaves::new(&settings, &identity, "ewr", &state).tls.unwrap().unwrap().fingerprint();
        let first = make();
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let inner: String = text.lines().filter(|line| !line.starts_with("---")).collect();
        let der = BASE64_STANDARD.decode(inner).unwrap();
        assert_eq!((make(), wayside_config::leaf::Fingerprint::of(&der)), (first, first));
    }

    #[test]
    fn without_encryption_there_is_no_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (identity, _) = Identity::load(&state).unwrap();
        let listen = vec!["127.0.0.1:1884".parse().unwrap()];
        let settings = LeafSettings { listen, ..LeafSettings::default() };
        assert!(Leaves::new(&settings, &identity, "ewr", &state).tls.unwrap().is_none());
        assert!(!folder.path().join(FILE).exists());
    }
}
