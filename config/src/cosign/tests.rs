use coset::HeaderBuilder;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::{
    document::{Assignment, Release, Revocation},
    fleet::Root,
    hash,
    limits::SIGNERS,
};

const FLEET: FleetId = FleetId::from_bytes([7; 32]);

/// Keys whose public parts are in ascending order.
fn keys() -> Vec<SigningKey> {
    let mut keys: Vec<_> = (1..=4).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    keys.sort_by_key(Signer::key);
    keys
}

fn publics() -> Vec<PublicKey> {
    keys().iter().map(Signer::key).collect()
}

fn revocation(version: u64) -> Revocation {
    Revocation { version, issued_ms: 1_700_000_000_000, devices: Vec::new(), documents: Vec::new() }
}

fn sealed_by(numbers: &[usize]) -> Vec<u8> {
    let (keys, (first, others)) = (keys(), numbers.split_first().unwrap());
    let sealed = seal(&FLEET, &revocation(1), &keys[*first]).unwrap();
    others
        .iter()
        .fold(sealed, |sealed, number| add(Kind::Revocation, &FLEET, &sealed, &keys[*number]).unwrap())
}

fn open_two_of_three(sealed: &[u8]) -> Result<(Vec<PublicKey>, Revocation), CosignError> {
    open(&FLEET, sealed, &Quorum::new(publics()[..3].to_vec(), 2).unwrap())
}

#[test]
fn the_bytes_of_version_2_stay_as_they_are() {
    let sealed = sealed_by(&[0, 2]);
    assert_eq!(hash::hex(&sealed[..6]), "d8628440a058");
    insta::assert_snapshot!(hash::hex(&hash::sha256(&sealed)), @"5810c8efbc5a36130d0f3a0167f8a5ae06c8019baf855332a601779a60f0af16");
}

#[test]
fn enough_of_those_who_may_have_to_sign() {
    let all = publics();
    assert_eq!(open_two_of_three(&sealed_by(&[0, 2])), Ok((vec![all[0], all[2]], revocation(1))));
    // Who signs besides neither counts nor harms.
    assert_eq!(open_two_of_three(&sealed_by(&[0, 2, 3])).unwrap().0, [all[0], all[2], all[3]]);
    for too_few in [&[1][..], &[1, 3], &[3]] {
        let refused = open_two_of_three(&sealed_by(too_few));
        assert!(matches!(refused, Err(CosignError::Threshold { need: 2, .. })), "{refused:?}");
    }
    let again = add(Kind::Revocation, &FLEET, &sealed_by(&[0]), &keys()[0]);
    assert_eq!(again, Err(CosignError::Again(all[0])));
}

#[test]
fn the_order_of_signing_leaves_no_trace() {
    assert_eq!(sealed_by(&[2, 0, 1]), sealed_by(&[0, 1, 2]));
    let hash = |numbers| payload_hash(Kind::Revocation, &sealed_by(numbers)).unwrap();
    assert_eq!(hash(&[0]), hash(&[1, 2]));
}

#[test]
fn a_document_is_of_one_kind_and_one_fleet() {
    let sealed = sealed_by(&[0, 1]);
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Revocation) {
        let refused = add(kind, &FLEET, &sealed, &keys()[2]);
        assert!(matches!(refused, Err(CosignError::BadSignature(_))), "{kind:?}");
    }
    let other = FleetId::from_bytes([8; 32]);
    assert!(matches!(inspect::<Revocation>(&other, &sealed), Err(CosignError::BadSignature(_))));
    assert!(matches!(peek::<Assignment>(&sealed), Err(CosignError::Malformed(_))));
    assert!(matches!(peek::<Release>(&sealed), Err(CosignError::Malformed(_))));
}

/// Signs `message` as it stands with every key of `signers`.
fn signed(mut message: CoseSign, signers: &[usize]) -> Vec<u8> {
    for number in signers {
        sign(&mut message, Kind::Revocation, &FLEET, &keys()[*number]).unwrap();
    }
    message.to_tagged_vec().unwrap()
}

#[test]
fn what_cose_allows_beyond_our_form_is_refused() {
    let payload = || CoseSignBuilder::new().payload(cbor::encode(&revocation(1)));
    let extra = || HeaderBuilder::new().text_value("x".into(), ciborium::Value::Null).build();
    let mut headed = payload().build();
    sign(&mut headed, Kind::Revocation, &FLEET, &keys()[0]).unwrap();
    headed.signatures[0].unprotected = extra();
    let mut untagged = sealed_by(&[0, 1]);
    untagged.drain(..2);
    let mut trailing = sealed_by(&[0, 1]);
    trailing.push(0);
    let mut indefinite = sealed_by(&[0, 1]);
    indefinite[2] = 0x9f;
    indefinite.push(0xff);
    let unordered = ciborium::Value::Map(vec![
        (ciborium::Value::Text("issued_ms".into()), 0.into()),
        (ciborium::Value::Text("version".into()), 1.into()),
        (ciborium::Value::Text("devices".into()), ciborium::Value::Array(Vec::new())),
        (ciborium::Value::Text("documents".into()), ciborium::Value::Array(Vec::new())),
    ]);
    for (what, bytes) in [
        ("unprotected", signed(payload().unprotected(extra()).build(), &[0, 1])),
        ("protected", signed(payload().protected(extra()).build(), &[0, 1])),
        ("a signature's header", headed.to_tagged_vec().unwrap()),
        ("no payload", signed(CoseSignBuilder::new().build(), &[0, 1])),
        ("no signature", signed(payload().build(), &[])),
        ("not in order", signed(payload().build(), &[1, 0])),
        ("twice", signed(payload().build(), &[0, 0])),
        ("another payload for the same", {
            signed(CoseSignBuilder::new().payload(cbor::encode(&unordered)).build(), &[0, 1])
        }),
        ("untagged", untagged),
        ("trailing", trailing),
        ("indefinite", indefinite),
        ("empty", Vec::new()),
    ] {
        let refused = inspect::<Revocation>(&FLEET, &bytes);
        assert!(matches!(refused, Err(CosignError::Malformed(_))), "{what}: {refused:?}");
    }
    let large = vec![0; ROOT_BYTES + 1];
    assert_eq!(
        inspect::<Root>(&FLEET, &large),
        Err(CosignError::TooLarge { bytes: ROOT_BYTES + 1, limit: ROOT_BYTES })
    );
}

#[test]
fn no_more_sign_than_there_is_room_for() {
    let keys: Vec<_> = (1..=SIGNERS as u8 + 1).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    let mut sealed = seal(&FLEET, &revocation(1), &keys[0]).unwrap();
    for key in &keys[1..SIGNERS] {
        sealed = add(Kind::Revocation, &FLEET, &sealed, key).unwrap();
    }
    let refused = add(Kind::Revocation, &FLEET, &sealed, &keys[SIGNERS]);
    assert!(matches!(refused, Err(CosignError::Malformed(_))), "{refused:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_document_by_one_set_of_signers_is_one_byte_string(order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(), count in 1usize..=4) {
        let mut sorted = order[..count].to_vec();
        let sealed = sealed_by(&sorted);
        sorted.sort_unstable();
        prop_assert_eq!(&sealed, &sealed_by(&sorted));
        let (signers, document) = inspect::<Revocation>(&FLEET, &sealed).unwrap();
        prop_assert_eq!(signers, sorted.into_iter().map(|number| publics()[number]).collect::<Vec<_>>());
        prop_assert_eq!(document, revocation(1));
    }

    #[test]
    fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), flip in 1u8..) {
        // Of all signatures, though one would do.
        let mut sealed = sealed_by(&[0, 1, 3]);
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        let one = Quorum::one(publics()[0]);
        prop_assert!(open::<Revocation>(&FLEET, &sealed, &one).is_err());
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(inspect::<Revocation>(&FLEET, &bytes).is_err());
    }
}
