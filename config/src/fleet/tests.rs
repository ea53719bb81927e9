use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn quorum(seeds: &[u8], threshold: u64) -> Quorum {
    let mut keys: Vec<_> = seeds.iter().map(|seed| key(*seed).key()).collect();
    keys.sort_unstable();
    Quorum::new(keys, threshold).unwrap()
}

fn seal(id: &FleetId, root: &Root, signers: &[u8]) -> Vec<u8> {
    let sealed = cosign::seal(id, root, &key(signers[0])).unwrap();
    let add = |sealed: Vec<u8>, seed: &u8| cosign::add(Kind::Root, id, &sealed, &key(*seed)).unwrap();
    signers[1..].iter().fold(sealed, add)
}

/// A fleet of 2 of the keys 1, 2 and 3.
fn fleet() -> Fleet {
    let roles = Roles::all(&quorum(&[1, 2, 3], 2));
    let root = Root { version: 1, issued_ms: 5, expires_ms: None, previous: None, roles };
    let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
    Fleet::open(&[seal(&id, &root, &[1, 2])]).unwrap()
}

/// The chain with a next root for `roles`, signed by `signers`.
fn with_next(fleet: &Fleet, roles: Roles, signers: &[u8]) -> Vec<Vec<u8>> {
    let next = seal(&fleet.id(), &fleet.next(roles, 6, None), signers);
    [fleet.roots(), &[next]].concat()
}

#[test]
fn the_fleet_of_one_key_is_known_by_the_key() {
    let fleet = Fleet::of_one(&key(1)).unwrap();
    assert_eq!(fleet.id(), Fleet::id_of_one(key(1).key()));
    assert_eq!(Fleet::of_one(&key(1)), Ok(fleet.clone()));
    assert_ne!(Fleet::of_one(&key(2)).unwrap().id(), fleet.id());
    insta::assert_snapshot!(fleet.id(), @"8ce2f0cc377587b665e0d21ae85057513f58cf9254d0322b35900bfd5db86922");
}

#[test]
fn a_root_is_signed_by_enough_of_the_one_before_and_of_itself() {
    let fleet = fleet();
    let other = Roles::all(&quorum(&[3, 4, 5], 2));
    for (signers, holds) in [
        (&[1, 2, 4, 5][..], true),
        (&[2, 3, 4], true),
        (&[1, 3], false),
        (&[4, 5], false),
        (&[3, 4], false),
        (&[1, 2], false),
    ] {
        let chain = with_next(&fleet, other.clone(), signers);
        let opened = Fleet::open(&chain);
        assert_eq!(opened.is_ok(), holds, "{signers:?}: {opened:?}");
        assert_eq!(fleet.follow(&chain).is_ok_and(|next| next.is_some()), holds, "{signers:?}");
        if let Ok(opened) = opened {
            assert_eq!((opened.id(), opened.root().version, &opened.root().roles), (fleet.id(), 2, &other));
        }
    }
}

#[test]
fn what_the_first_root_does_not_say_of_itself_is_no_fleet() {
    let of = |version, previous, signers: &[u8]| {
        let roles = Roles::all(&quorum(&[1, 2, 3], 2));
        let root = Root { version, issued_ms: 0, expires_ms: None, previous, roles };
        let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
        Fleet::open(&[seal(&id, &root, signers)])
    };
    assert!(of(1, None, &[1, 3]).is_ok());
    assert!(matches!(of(1, None, &[1]), Err(FleetError::Root { version: 1, .. })));
    assert!(matches!(of(1, None, &[4, 5]), Err(FleetError::Root { version: 1, .. })));
    assert_eq!(of(2, None, &[1, 2]), Err(FleetError::Broken(1)));
    assert_eq!(of(1, Some(DocumentId([1; 32])), &[1, 2]), Err(FleetError::Broken(1)));
    assert_eq!(Fleet::open::<Vec<u8>>(&[]), Err(FleetError::Empty));
}

#[test]
fn a_chain_has_no_gap_no_other_way_and_no_way_back() {
    let first = fleet();
    let next = |fleet: &Fleet, threshold| {
        let chain = with_next(fleet, Roles::all(&quorum(&[1, 2, 3], threshold)), &[1, 2, 3]);
        Fleet::open(&chain).unwrap()
    };
    let (second, false_second) = (next(&first, 1), next(&first, 3));
    let third = next(&second, 2);
    assert_eq!(first.follow(third.roots()).unwrap(), Some(third.clone()));
    // An older chain is no news, and no way back.
    assert_eq!(third.follow(first.roots()), Ok(None));
    assert_eq!(third.follow(third.roots()), Ok(None));
    assert_eq!(second.follow(false_second.roots()), Err(FleetError::Fork(2)));
    let gap = [first.roots(), &third.roots()[2..]].concat();
    assert_eq!(first.follow(&gap), Err(FleetError::Broken(2)));
    assert_eq!(Fleet::open(&gap), Err(FleetError::Broken(2)));
    let foreign = Fleet::of_one(&key(1)).unwrap();
    let refused = first.follow(foreign.roots());
    assert_eq!(refused, Err(FleetError::Other { theirs: foreign.id(), ours: first.id() }));
    // A root of another fleet, signed by the same people.
    let mixed = [first.roots(), &with_next(&foreign, foreign.root().roles.clone(), &[1])[1..]].concat();
    assert!(matches!(Fleet::open(&mixed), Err(FleetError::Root { version: 2, .. })));
}

#[test]
fn another_signature_of_the_same_root_is_no_news() {
    let fleet = fleet();
    let more = cosign::add(Kind::Root, &fleet.id(), &fleet.roots()[0], &key(3)).unwrap();
    assert_eq!(fleet.follow(&[more]), Ok(None));
}

#[test]
fn the_largest_root_fits_and_longer_chains_are_refused() {
    let seeds: Vec<u8> = (1..=crate::limits::SIGNERS as u8).collect();
    let roles = Roles::all(&quorum(&seeds, seeds.len() as u64));
    let root = Root { version: 1, issued_ms: u64::MAX, expires_ms: Some(u64::MAX), previous: None, roles };
    let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
    let sealed = seal(&id, &root, &seeds);
    assert!(sealed.len() < crate::limits::ROOT_BYTES / 3, "{}", sealed.len());
    Fleet::open(&[sealed]).unwrap();
    let many = vec![vec![0; 1]; ROOTS + 1];
    assert_eq!(Fleet::open(&many), Err(FleetError::TooLarge { roots: ROOTS + 1, bytes: ROOTS + 1 }));
    let large = vec![vec![0; CHAIN_BYTES + 1]];
    assert_eq!(fleet().follow(&large), Err(FleetError::TooLarge { roots: 1, bytes: CHAIN_BYTES + 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_byte_of_a_chain_is_refused(which in 0usize..2, at in any::<prop::sample::Index>(), flip in 1u8..) {
        let fleet = fleet();
        let mut chain = with_next(&fleet, Roles::all(&quorum(&[4], 1)), &[1, 2, 4]);
        let at = at.index(chain[which].len());
        chain[which][at] ^= flip;
        prop_assert!(Fleet::open(&chain).is_err());
        // Who knows the first root looks at its own, and at what the other says.
        if let Ok(next) = fleet.follow(&chain) {
            let next = next.unwrap();
            prop_assert_eq!((which, &next.roots()[0]), (0, &fleet.roots()[0]));
        }
    }
}

#[test]
fn a_list_of_what_is_revoked_gives_way_to_newer_ones_and_one_that_does_not_count_to_those_of_this_root() {
    let fleet = fleet();
    let list = |version, issued_ms| Revocation { version, issued_ms, devices: vec![], documents: vec![] };
    // The root is of 5 ms.
    for (counts, version, issued_ms, gives_way) in [
        (true, 8, 0, true),
        (true, 7, 9, false),
        (true, 1, 9, false),
        (false, 8, 0, true),
        (false, 7, 4, false),
        (false, 1, 4, false),
        (false, 1, 5, true),
    ] {
        let offered = list(version, issued_ms);
        assert_eq!(fleet.replaces(&list(7, 6), counts, &offered), gives_way, "{counts} {offered:?}");
    }
}
