//! A question as an operator's signed request: what makes the mesh safe to ask over.

use ed25519_dalek::SigningKey;
use wayside_config::{
    document::Request,
    envelope::{self, EnvelopeError, Kind},
    identity::{DeviceId, PublicKey},
    limits::REQUEST_AGE_MS,
};

use super::{Answer, Ask, Reply};

/// Why a request over the mesh was not answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Its signature does not hold, or this device does not obey the signer.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// For another device.
    #[error("the request is for another device")]
    OtherDevice,
    /// Too old, or from the future.
    #[error("the clocks of asker and device are {apart_ms} ms apart: set them right, then ask again")]
    Age {
        /// How far.
        apart_ms: u64,
    },
    /// Not a question of this version.
    #[error("the device does not know the question: {0}; use a `wayside` of its version")]
    Unknown(#[from] serde_json::Error),
    /// Not over the mesh.
    #[error("`messages` is answered on the device itself, or by the cloud")]
    Local,
}

/// Signs a question for one device. `now_ms` is the wall clock.
///
/// # Errors
/// [`EnvelopeError::TooLarge`].
pub fn seal_ask(
    key: &SigningKey,
    device: DeviceId,
    now_ms: u64,
    ask: &Ask,
) -> Result<Vec<u8>, EnvelopeError> {
    let body = serde_json::to_string(ask).expect("a question is plain JSON");
    envelope::seal(key, Kind::Request, &Request { device, issued_ms: now_ms, body })
}

/// Verifies a question to `device`. `operators` are the keys it obeys; when it has none yet, any
/// operator may ask. Gives the asker too.
///
/// # Errors
/// See [`RequestError`].
pub fn open_ask(
    sealed: &[u8],
    device: DeviceId,
    operators: &[PublicKey],
    now_ms: u64,
) -> Result<(PublicKey, Ask), RequestError> {
    let signer = envelope::claimed_signer(sealed)?;
    let trusted = if operators.is_empty() { std::slice::from_ref(&signer) } else { operators };
    let (signer, request) = envelope::open::<Request>(sealed, Kind::Request, trusted)?;
    if request.device != device {
        return Err(RequestError::OtherDevice);
    }
    let apart_ms = request.issued_ms.abs_diff(now_ms);
    if apart_ms > REQUEST_AGE_MS {
        return Err(RequestError::Age { apart_ms });
    }
    match serde_json::from_str(&request.body)? {
        Ask::Messages => Err(RequestError::Local),
        ask @ (Ask::Status | Ask::Devices | Ask::Versions | Ask::Apply { .. } | Ask::Logs { .. }) => {
            Ok((signer, ask))
        }
    }
}

/// An answer's bytes on the mesh, and on a line without its end.
#[must_use]
pub fn encode_reply(result: Result<Answer, String>) -> Vec<u8> {
    let reply = match result {
        Ok(answer) => Reply::Ok(answer),
        Err(reason) => Reply::Error(reason),
    };
    serde_json::to_vec(&reply).expect("an answer is plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
        (key, public)
    }

    #[test]
    fn only_the_named_device_answers_only_its_operators_and_only_now() {
        let ((alice, alice_id), (_, bob_id), (_, device)) = (key(1), key(2), key(3));
        let sealed = seal_ask(&alice, device, NOW_MS, &Ask::Status).unwrap();
        let open = |device, operators: &[PublicKey], now_ms| open_ask(&sealed, device, operators, now_ms);
        assert_eq!(open(device, &[alice_id], NOW_MS + REQUEST_AGE_MS).unwrap(), (alice_id, Ask::Status));
        assert_eq!(open(device, &[], NOW_MS).unwrap(), (alice_id, Ask::Status));
        assert!(matches!(open(device, &[bob_id], NOW_MS), Err(RequestError::Envelope(_))));
        assert!(matches!(open(bob_id, &[alice_id], NOW_MS), Err(RequestError::OtherDevice)));
        for now_ms in [NOW_MS + REQUEST_AGE_MS + 1, NOW_MS - REQUEST_AGE_MS - 1, 0] {
            assert!(matches!(open(device, &[alice_id], now_ms), Err(RequestError::Age { .. })));
        }
    }

    #[test]
    fn streams_and_nonsense_are_refused() {
        let ((alice, alice_id), (_, device)) = (key(1), key(3));
        let sealed = seal_ask(&alice, device, NOW_MS, &Ask::Messages).unwrap();
        assert!(matches!(open_ask(&sealed, device, &[alice_id], NOW_MS), Err(RequestError::Local)));
        let request = Request { device, issued_ms: NOW_MS, body: "{}".into() };
        let sealed = envelope::seal(&alice, Kind::Request, &request).unwrap();
        assert!(matches!(open_ask(&sealed, device, &[alice_id], NOW_MS), Err(RequestError::Unknown(_))));
        assert!(open_ask(b"", device, &[], NOW_MS).is_err());
    }
}
