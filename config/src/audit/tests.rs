use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

fn device(seed: u8) -> (SigningKey, DeviceId) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let id = DeviceId::from_bytes(key.verifying_key().to_bytes());
    (key, id)
}

fn entry(text: &str) -> Entry {
    Entry {
        seq: 0,
        previous: [0; 32],
        time_ms: 1_700_000_000_000,
        act: Act::Call,
        way: Way::Lan,
        by: vec![device(9).1],
        text: text.into(),
    }
}

/// Sealed entries, one after the other.
fn chain(key: &SigningKey, texts: &[&str]) -> Vec<Vec<u8>> {
    let mut head = Head::default();
    let mut all = Vec::new();
    for text in texts {
        let (sealed, next) = head.seal(key, entry(text)).unwrap();
        all.push(sealed);
        head = next;
    }
    all
}

fn log(sealed: &[Vec<u8>]) -> Vec<u8> {
    sealed.iter().flat_map(|sealed| framed(sealed)).collect()
}

#[test]
fn a_chain_is_verified_and_a_later_part_of_it_too() {
    let (key, id) = device(1);
    let sealed = chain(&key, &["a", "b", "c"]);
    let (entries, head) = verify(id, &log(&sealed)).unwrap();
    assert_eq!(
        entries.iter().map(|e| (e.seq, e.text.as_str())).collect::<Vec<_>>(),
        [(1, "a"), (2, "b"), (3, "c")]
    );
    assert_eq!(head, Head { seq: 3, hash: sha256(&sealed[2]) });
    assert_eq!(verify(id, &log(&sealed[1..])).unwrap().1, head);
    assert_eq!(verify(id, &[]), Ok((Vec::new(), Head::default())));
}

#[test]
fn what_was_taken_away_put_in_or_moved_is_noticed() {
    let ((key, id), (other, _)) = (device(1), device(2));
    let good = chain(&key, &["a", "b", "c"]);
    let [a, b, c] = [0, 1, 2].map(|at| good[at].clone());
    // The device's own key signs another history.
    let forged = chain(&key, &["a", "x", "c"]);
    let foreign = chain(&other, &["a", "b"]);
    let verify =
        |sealed: &[&Vec<u8>]| verify(id, &log(&sealed.iter().map(|s| (*s).clone()).collect::<Vec<_>>()));
    assert_eq!(verify(&[&a, &c]), Err(AuditError::Gap { after: 1, found: 3 }));
    assert_eq!(verify(&[&a, &b, &b]), Err(AuditError::Gap { after: 2, found: 2 }));
    assert_eq!(verify(&[&b, &a]), Err(AuditError::Gap { after: 2, found: 1 }));
    assert_eq!(verify(&[&a, &forged[1], &c]), Err(AuditError::Forked(3)));
    assert!(matches!(verify(&[&a, &foreign[1]]), Err(AuditError::Envelope(2, EnvelopeError::Untrusted(_)))));
    let text = verify(&[&a, &forged[1], &c]).unwrap_err().to_string();
    assert_eq!(text, "entry 3 does not follow the entry before it, but another one: the log was changed");
}

#[test]
fn what_the_device_signed_for_another_purpose_is_no_entry() {
    let (key, id) = device(1);
    let request = envelope::seal(&key, Kind::Reply, &entry("a")).unwrap();
    assert_eq!(verify(id, &framed(&request)), Err(AuditError::Envelope(1, EnvelopeError::BadSignature)));
    let unknown = envelope::seal(&key, Kind::Audit, &"not an entry").unwrap();
    assert_eq!(verify(id, &framed(&unknown)), Err(AuditError::Unknown(1)));
}

#[test]
fn a_log_that_is_cut_or_claims_too_much_is_named_with_the_entry() {
    let (key, id) = device(1);
    let whole = log(&chain(&key, &["a", "b"]));
    let first = LENGTH_BYTES + u32::from_be_bytes(whole[..4].try_into().unwrap()) as usize;
    for end in first + 1..whole.len() {
        assert_eq!(verify(id, &whole[..end]), Err(AuditError::Truncated(2)), "{end}");
    }
    let huge = [&whole[..first], &[0xff; 4]].concat();
    assert_eq!(verify(id, &huge), Err(AuditError::TooLarge(2, u32::MAX as usize)));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let (key, id) = device(1);
    let (sealed, _) = Head::default().seal(&key, entry(&"ä".repeat(2000))).unwrap();
    let (entry, _) = Head::begin(id, &sealed).unwrap();
    assert!(entry.text.len() <= TEXT_BYTES && entry.text.ends_with("ä…"), "{}", entry.text.len());
    // With as many signers as anything has, it is within its limit.
    let by = vec![device(9).1; 16];
    let full = Entry { by, text: "x".repeat(5000), seq: 0, ..entry };
    assert!(Head { seq: u64::MAX - 1, ..Head::default() }.seal(&key, full).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let (key, id) = device(1);
        let mut bytes = log(&chain(&key, &["a", "b", "c"]));
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(verify(id, &bytes).is_err());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
        prop_assert!(verify(device(1).1, &bytes).is_err());
    }
}
