//! A question as an operator's signed request, and its answer as the device's signed reply: what makes
//! the mesh safe to ask over.

use wayside_config::{
    document::{self, Request},
    envelope::{self, EnvelopeError, Kind},
    hash::sha256,
    identity::{DeviceId, PublicKey},
    limits::REQUEST_AGE_MS,
    signer::Signer,
};

use super::{Again, Answer, Answered, Ask, Now, Reply};
use crate::trust::Askers;

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
    /// Answered before, or possibly before the daemon was started again.
    #[error(transparent)]
    Again(#[from] Again),
    /// Not a question of this version.
    #[error("the device does not know the question: {0}; use a `wayside` of its version")]
    Unknown(#[from] serde_json::Error),
    /// The device knows nobody of its fleet yet.
    #[error(
        "the device waits for the roots of its fleet, and answers nobody before: apply a workload to it first"
    )]
    Stranger,
    /// Not over the mesh.
    #[error("this is answered on the device itself: run the command there")]
    Local,
}

/// Why what came back is not the answer of the device that was asked.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Not signed by that device.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Signed by it in answer to something else.
    #[error("it answers another question")]
    OtherRequest,
    /// Not an answer of this version.
    #[error("it is not understood: {0}; use a `wayside` of its version")]
    Unknown(#[from] serde_json::Error),
}

/// Signs a question for one device. `now_ms` is the wall clock, `nonce` is random.
///
/// # Errors
/// [`EnvelopeError::TooLarge`].
pub fn seal_ask(
    key: &dyn Signer,
    device: DeviceId,
    now_ms: u64,
    nonce: u64,
    ask: &Ask,
) -> Result<Vec<u8>, EnvelopeError> {
    let body = serde_json::to_string(ask).expect("a question is plain JSON");
    envelope::seal(key, Kind::Request, &Request { device, issued_ms: now_ms, nonce, body })
}

/// Verifies a question to `device`, which answers `askers`. It is noted in `answered` and refused when it stands there already. Gives the
/// asker too.
///
/// # Errors
/// See [`RequestError`].
pub fn open_ask(
    sealed: &[u8],
    device: DeviceId,
    askers: &Askers,
    now: Now,
    answered: &mut Answered,
) -> Result<(PublicKey, Ask), RequestError> {
    let signer = envelope::claimed_signer(sealed)?;
    let (signer, request) = envelope::open::<Request>(sealed, Kind::Request, &[signer])?;
    if request.device != device {
        return Err(RequestError::OtherDevice);
    }
    if let Askers::Keys(keys) = askers
        && !keys.contains(&signer)
    {
        // Who admits need not be one who may ask, what proves itself has no age, and repeating it changes nothing.
        return match serde_json::from_str(&request.body) {
            Ok(ask @ Ask::Admit { .. }) => Ok((signer, ask)),
            Ok(_) | Err(_) => Err(EnvelopeError::Untrusted(signer).into()),
        };
    }
    let apart_ms = request.issued_ms.abs_diff(now.wall_ms);
    if apart_ms > REQUEST_AGE_MS {
        return Err(RequestError::Age { apart_ms });
    }
    answered.note(sha256(sealed), request.issued_ms, now)?;
    match serde_json::from_str(&request.body)? {
        Ask::Messages | Ask::Lock { .. } | Ask::Unlock { .. } => Err(RequestError::Local),
        // What is applied proves itself, and what versions are held a device of no fleet tells anybody.
        ask @ (Ask::Versions | Ask::Apply { .. } | Ask::Lobby | Ask::Admit { .. }) => Ok((signer, ask)),
        ask @ (Ask::Status
        | Ask::Devices
        | Ask::Rules
        | Ask::Keep { .. }
        | Ask::Logs { .. }
        | Ask::PreviousLogs { .. }
        | Ask::Call { .. }
        | Ask::Twin { .. }
        | Ask::SetTwin { .. }
        | Ask::Secrets
        | Ask::SetSecret { .. }
        | Ask::Audit { .. }) => match askers {
            Askers::Strangers => Err(RequestError::Stranger),
            Askers::Anybody | Askers::Keys(_) => Ok((signer, ask)),
        },
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

/// Signs the answer to `request`, which is the sealed question. An answer that is too large becomes a
/// refusal that says so.
#[must_use]
pub fn seal_reply(key: &dyn Signer, request: &[u8], result: Result<Answer, String>) -> Vec<u8> {
    seal_as(Kind::Reply, key, request, result)
}

/// Signs the answer to what anybody handed over in the lobby. It is no answer to a sealed question, whatever was handed over.
#[must_use]
pub fn seal_handed(key: &dyn Signer, handed: &[u8], result: Result<Answer, String>) -> Vec<u8> {
    seal_as(Kind::Handed, key, handed, result)
}

fn seal_as(kind: Kind, key: &dyn Signer, request: &[u8], result: Result<Answer, String>) -> Vec<u8> {
    let seal = |result| {
        let body = String::from_utf8(encode_reply(result)).unwrap_or_default();
        envelope::seal(key, kind, &document::Reply { request: sha256(request), body })
    };
    seal(result)
        .or_else(|error| {
            seal(Err(format!("the answer cannot be sent over the mesh: {error}; ask on the device")))
        })
        .unwrap_or_default()
}

/// The answer of `device` to `request`, which is the sealed question.
///
/// # Errors
/// See [`ReplyError`]: whoever sent it is not that device, or does not answer this.
pub fn open_reply(sealed: &[u8], device: DeviceId, request: &[u8]) -> Result<Reply, ReplyError> {
    open_as(Kind::Reply, sealed, device, request)
}

/// The answer of `device` to what was handed to it in the lobby.
///
/// # Errors
/// As [`open_reply`].
pub fn open_handed(sealed: &[u8], device: DeviceId, handed: &[u8]) -> Result<Reply, ReplyError> {
    open_as(Kind::Handed, sealed, device, handed)
}

fn open_as(kind: Kind, sealed: &[u8], device: DeviceId, request: &[u8]) -> Result<Reply, ReplyError> {
    let (_, reply) = envelope::open::<document::Reply>(sealed, kind, &[device])?;
    if reply.request != sha256(request) {
        return Err(ReplyError::OtherRequest);
    }
    Ok(serde_json::from_str(&reply.body)?)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::limits::REPLY_BYTES;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn key(seed: u8) -> (SigningKey, PublicKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().to_bytes());
        (key, public)
    }

    fn at(wall_ms: u64) -> Now {
        Now { wall_ms, uptime_ms: 2 * REQUEST_AGE_MS }
    }

    #[test]
    fn only_the_named_device_answers_only_its_operators_and_only_now() {
        let ((alice, alice_id), (_, bob_id), (_, device)) = (key(1), key(2), key(3));
        let sealed = seal_ask(&alice, device, NOW_MS, 1, &Ask::Status).unwrap();
        let open = |device, operators: &[PublicKey], now_ms| {
            let askers =
                if operators.is_empty() { Askers::Anybody } else { Askers::Keys(operators.to_vec()) };
            open_ask(&sealed, device, &askers, at(now_ms), &mut Answered::default())
        };
        assert_eq!(open(device, &[alice_id], NOW_MS + REQUEST_AGE_MS).unwrap(), (alice_id, Ask::Status));
        assert_eq!(open(device, &[], NOW_MS).unwrap(), (alice_id, Ask::Status));
        assert!(matches!(open(device, &[bob_id], NOW_MS), Err(RequestError::Envelope(_))));
        assert!(matches!(open(bob_id, &[alice_id], NOW_MS), Err(RequestError::OtherDevice)));
        for now_ms in [NOW_MS + REQUEST_AGE_MS + 1, NOW_MS - REQUEST_AGE_MS - 1, 0] {
            assert!(matches!(open(device, &[alice_id], now_ms), Err(RequestError::Age { .. })));
        }
    }

    #[test]
    fn a_request_is_answered_once() {
        let ((alice, alice_id), (bob, _), (_, device)) = (key(1), key(2), key(3));
        let mut answered = Answered::default();
        let askers = Askers::Keys(vec![alice_id]);
        let mut open = |sealed: &[u8]| open_ask(sealed, device, &askers, at(NOW_MS), &mut answered);
        let first = seal_ask(&alice, device, NOW_MS, 1, &Ask::Status).unwrap();
        assert!(open(&first).is_ok());
        assert!(matches!(open(&first), Err(RequestError::Again(Again::Answered))));
        assert!(open(&seal_ask(&alice, device, NOW_MS, 2, &Ask::Status).unwrap()).is_ok());
        // What a stranger signs is not even noted.
        let strange = seal_ask(&bob, device, NOW_MS, 3, &Ask::Status).unwrap();
        for _ in 0..2 {
            assert!(matches!(open(&strange), Err(RequestError::Envelope(_))));
        }
    }

    #[test]
    fn a_device_that_waits_for_its_fleet_takes_the_fleet_and_nothing_else() {
        let ((alice, _), (_, device)) = (key(1), key(3));
        let open = |ask: &Ask| {
            let sealed = seal_ask(&alice, device, NOW_MS, 1, ask).unwrap();
            open_ask(&sealed, device, &Askers::Strangers, at(NOW_MS), &mut Answered::default())
        };
        let apply = Ask::Apply {
            roots: Vec::new(),
            revocation: None,
            assignment: crate::control::Sealed(Vec::new()),
            releases: Vec::new(),
        };
        assert!(open(&Ask::Versions).is_ok() && open(&apply).is_ok());
        for ask in [Ask::Status, Ask::Devices] {
            assert!(matches!(open(&ask), Err(RequestError::Stranger)));
        }
    }

    #[test]
    fn streams_and_nonsense_are_refused() {
        let ((alice, alice_id), (_, device)) = (key(1), key(3));
        let askers = Askers::Keys(vec![alice_id]);
        let open = |sealed: &[u8]| open_ask(sealed, device, &askers, at(NOW_MS), &mut Answered::default());
        let sealed = seal_ask(&alice, device, NOW_MS, 1, &Ask::Messages).unwrap();
        assert!(matches!(open(&sealed), Err(RequestError::Local)));
        let request = Request { device, issued_ms: NOW_MS, nonce: 1, body: "{}".into() };
        let sealed = envelope::seal(&alice, Kind::Request, &request).unwrap();
        assert!(matches!(open(&sealed), Err(RequestError::Unknown(_))));
        assert!(open(b"").is_err());
    }

    #[test]
    fn only_the_device_that_was_asked_answers_and_only_what_was_asked() {
        let ((alice, _), (device, device_id), (other, other_id)) = (key(1), key(3), key(4));
        let ask = |nonce| seal_ask(&alice, device_id, NOW_MS, nonce, &Ask::Versions).unwrap();
        let (asked, before) = (ask(1), ask(2));
        let answer = || Ok(Answer::Applied { version: 3 });
        let open = |sealed: &[u8]| open_reply(sealed, device_id, &asked);
        let reply = Reply::Ok(Answer::Applied { version: 3 });
        assert_eq!(open(&seal_reply(&device, &asked, answer())).unwrap(), reply);
        // Who hands the question over in the lobby gets no answer to it.
        let handed = seal_handed(&device, &asked, Err("not understood".into()));
        assert!(matches!(open(&handed), Err(ReplyError::Envelope(EnvelopeError::BadSignature))));
        assert!(open_handed(&handed, device_id, &asked).is_ok());
        let forged = open(&seal_reply(&other, &asked, answer()));
        assert!(
            matches!(forged, Err(ReplyError::Envelope(EnvelopeError::Untrusted(who))) if who == other_id)
        );
        let stale = open(&seal_reply(&device, &before, answer()));
        assert!(matches!(stale, Err(ReplyError::OtherRequest)));
        assert!(matches!(open(&encode_reply(answer())), Err(ReplyError::Envelope(_))));
        // A request is no reply, whoever signed it.
        let request = seal_ask(&device, device_id, NOW_MS, 1, &Ask::Versions).unwrap();
        assert!(matches!(open(&request), Err(ReplyError::Envelope(EnvelopeError::BadSignature))));
    }

    #[test]
    fn an_answer_that_is_too_large_says_so() {
        let ((alice, _), (device, device_id)) = (key(1), key(3));
        let asked = seal_ask(&alice, device_id, NOW_MS, 1, &Ask::Status).unwrap();
        let large = Answer::Logs { text: "x".repeat(REPLY_BYTES) };
        let sealed = seal_reply(&device, &asked, Ok(large));
        let reply = open_reply(&sealed, device_id, &asked).unwrap();
        assert!(matches!(reply, Reply::Error(reason) if reason.contains("ask on the device")));
    }
}
