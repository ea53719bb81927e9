//! The attacks on who distributes what runs, as The Update Framework names them: each is tried against what a device
//! really asks, signatures and versions, and fails.
//!
//! The attacker has the cloud and its key, and everything on the wire, in every one of them.

mod copies;
pub(super) mod device;
mod joining;
mod secrets;
mod tokens;

use wayside_config::limits::{CHAIN_BYTES, NUMBERING, ROOTS, SEALED_BYTES, VERSION_MAX};

use self::device::{CLOUD, DAY_MS, DEVICE, Device, NOW_MS, Operators, YEAR_MS, desired, key, public};
use super::*;

#[test]
fn arbitrary_install() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    // Signed by the cloud, by a stranger, by nobody who may, and by one where two have to.
    for signers in [&[CLOUD][..], &[9], &[CLOUD, 9], &[1]] {
        let release = ours.release_by(2, signers);
        device.refuses(&desired(&ours, public(DEVICE), 2, &[release], &[CLOUD]), "signatures");
    }
    // A changed release, under the name of the good one.
    let mut changed = ours.release(2);
    let at = changed.len() / 2;
    changed[at] ^= 1;
    device.refuses(&desired(&ours, public(DEVICE), 2, &[changed], &[CLOUD]), "release");
    // A fleet of the attacker's own, which says that its keys may do everything.
    let theirs = Operators::alone(CLOUD);
    device.refuses(&desired(&theirs, public(DEVICE), 2, &[theirs.release(2)], &[CLOUD]), "of fleet");
    // A good document of another kind, and one of another fleet with the same operators.
    let assignment = desired(&ours, public(DEVICE), 2, &[], &[1]).assignment;
    device.refuses(&desired(&ours, public(DEVICE), 2, &[assignment.to_vec()], &[CLOUD]), "release");
    let elsewhere = Operators::of_three_again();
    let foreign = elsewhere.release(2);
    device.refuses(&desired(&ours, public(DEVICE), 2, &[foreign], &[CLOUD]), "not valid");
}

#[test]
fn rollback() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let at = |ours: &Operators, version, release| {
        desired(ours, public(DEVICE), version, &[ours.release(release)], &[CLOUD])
    };
    let (old, new) = (at(&ours, 1, 1), at(&ours, 2, 2));
    device.takes(&old);
    device.takes(&new);
    let revoked = ours.revoke(2, &[]);
    let first_root = ours.roots();
    ours.rotate(&[1, 2, 3], 2);
    device.takes(&Desired { revocation: Some(revoked.clone()), ..at(&ours, 3, 3) });
    for next in [4, 10] {
        if next > 4 {
            device.restart();
        }
        device.refuses(&old, "taken before");
        device.refuses(&at(&ours, 2, 3), "taken before");
        device.refuses(&at(&ours, next, 1), "taken before");
        // An older chain is no way back to the keys of then, nor an older list to what is revoked.
        device.takes(&Desired { roots: first_root.clone(), ..at(&ours, next, 3) });
        assert_eq!(device.trust().fleet().unwrap().1, 2);
        let older = Some(ours.revoke(1, &[]));
        device.takes(&Desired { revocation: older, ..at(&ours, next + 1, 3) });
        assert_eq!(device.holds.revocation, Some(revoked.clone()));
    }
}

#[test]
fn indefinite_freeze() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let expires_ms = Some(NOW_MS + 30 * DAY_MS);
    let held_back = desired(&ours, public(DEVICE), 2, &[ours.expiring(2, expires_ms)], &[CLOUD]);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.expiring(1, expires_ms)], &[CLOUD]));
    assert_eq!(device.expired(), Vec::<String>::new());
    device.live(31 * DAY_MS);
    // What was held back too long is not taken any more, and the device says that it hears nothing new.
    device.refuses(&held_back, "expired");
    assert!(device.expired()[0].contains("nothing newer came"));
    // What it holds it keeps, also over a restart, and beside something new.
    device.restart();
    assert_eq!(device.holds.releases.len(), 1);
    let beside = [device.holds.releases[0].to_vec(), ours.named("other", 1)];
    device.takes(&desired(&ours, public(DEVICE), 3, &beside, &[CLOUD]));
    // Whoever holds back newer roots gains no more than until the one that is known expires.
    ours.rotate_until(&[1, 2, 3], 2, Some(NOW_MS + 60 * DAY_MS));
    let with_expiring_root = |version| desired(&ours, public(DEVICE), version, &[ours.release(5)], &[CLOUD]);
    device.takes(&with_expiring_root(4));
    device.live(30 * DAY_MS);
    device.refuses(&with_expiring_root(5), "root expired");
    let mut newer = ours.clone();
    newer.rotate(&[1, 2, 3], 2);
    device.takes(&desired(&newer, public(DEVICE), 5, &[newer.release(6)], &[CLOUD]));
}

#[test]
fn who_holds_a_rotation_back_has_nothing_new_taken_after_the_root_has_expired() {
    let mut ours = Operators::of_three();
    ours.rotate_until(&[1, 2, 3], 2, Some(NOW_MS + 30 * DAY_MS));
    let mut device = Device::of(&ours);
    let news = |operators: &Operators, grants: &[Vec<u8>]| News {
        roots: operators.roots(),
        grants: grants.iter().cloned().map(Bytes::from).collect(),
        ..News::default()
    };
    let own = ours.grant(&joining::grant(DEVICE, 1));
    assert!(device.trust().admit_at(&news(&ours, &[own]), device.now).is_ok());
    let takes = |device: &Device, operators: &Operators| {
        let (trust, now) = (device.trust(), device.now);
        let grant = operators.grant(&joining::grant(7, 1));
        [
            trust.verify_twin_at(&operators.twin_by(public(DEVICE), &[1]), "d200", now).map(drop),
            trust.verify_secret_at(&operators.secret_by(public(DEVICE), &[1]), now).map(drop),
            trust.admit_at(&news(operators, &[grant]), now).map(drop).map_err(|error| error.to_string()),
        ]
    };
    assert!(takes(&device, &ours).iter().all(Result::is_ok), "{:?}", takes(&device, &ours));
    device.live(31 * DAY_MS);
    for refused in takes(&device, &ours) {
        assert!(refused.as_ref().is_err_and(|reason| reason.contains("root expired")), "{refused:?}");
    }
    // A list of what is revoked is taken at any time, and newer roots are; with them all is well again.
    let list = ours.revoke_devices(1, &[public(9)]);
    let told = News { revocation: Some(list), ..news(&ours, &[]) };
    assert!(device.trust().admit_at(&told, device.now).is_ok());
    assert_eq!(device.trust().standing().revocation, 1);
    ours.rotate(&[1, 2, 3], 2);
    assert!(device.trust().admit_at(&news(&ours, &[]), device.now).is_ok());
    assert!(takes(&device, &ours).iter().all(Result::is_ok), "{:?}", takes(&device, &ours));
}

#[test]
fn fast_forward() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let at = |version, signer| desired(&ours, public(DEVICE), version, &[ours.release(1)], &[signer]);
    device.takes(&at(1, CLOUD));
    // The cloud uses up the versions that it may, and no more.
    device.refuses(&at(VERSION_MAX, CLOUD), "numbering");
    device.takes(&at(NUMBERING - 1, CLOUD));
    device.refuses(&at(NUMBERING, CLOUD), "numbering");
    // An operator goes on after it, one numbering at a time.
    device.refuses(&at(2 * NUMBERING, 1), "numbering");
    device.takes(&at(NUMBERING, 1));
    // A root is the next one or none, whoever signs it.
    let mut skipping = ours.clone();
    skipping.rotate(&[1, 2, 3], 2);
    skipping.rotate(&[1, 2, 3], 2);
    let mut gap = desired(&skipping, public(DEVICE), NUMBERING + 1, &[skipping.release(2)], &[1]);
    gap.roots.remove(1);
    device.refuses(&gap, "does not continue");
    // Nor does the cloud move the device's time: what it signs names none.
    assert_eq!(device.trust().lived.lock().unwrap().least_ms(device.now), NOW_MS);
}

#[test]
fn mix_and_match() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let first = desired(&ours, public(DEVICE), 1, &[ours.release(1), ours.named("x", 1)], &[CLOUD]);
    let second = desired(&ours, public(DEVICE), 2, &[ours.release(2), ours.named("x", 2)], &[CLOUD]);
    // An assignment with the releases of another one, all of them, or one alone.
    device.refuses(&Desired { assignment: second.assignment.clone(), ..first.clone() }, "did not come");
    let mut mixed = second.clone();
    mixed.releases[1] = first.releases[1].clone();
    device.refuses(&mixed, "did not come");
    device.takes(&second);
    // The same release with one signature more or less is another one, too.
    let named = ours.release(3);
    let more = cosign::add(Kind::Release, &ours.fleet.id(), &named, &key(3)).unwrap();
    let mut other = desired(&ours, public(DEVICE), 3, &[named], &[CLOUD]);
    other.releases = vec![more.into()];
    device.refuses(&other, "did not come");
    // Roots of one fleet with the documents of another one of the same people.
    let elsewhere = Operators::of_three_again();
    let foreign = desired(&elsewhere, public(DEVICE), 3, &[elsewhere.release(3)], &[1]);
    device.refuses(&Desired { roots: ours.roots(), ..foreign }, "not valid");
    let crossed = [ours.roots(), elsewhere.rotated(&[1, 2, 3], 2).roots()[1..].to_vec()].concat();
    let crossed = Desired { roots: crossed, ..desired(&ours, public(DEVICE), 3, &[ours.release(3)], &[1]) };
    device.refuses(&crossed, "roots");
}

#[test]
fn endless_data() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let good = desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]);
    let large = Bytes::from(vec![0; SEALED_BYTES + 1]);
    device.refuses(&Desired { assignment: large.clone(), ..good.clone() }, "more than the limit");
    device.refuses(&desired(&ours, public(DEVICE), 1, &[large.to_vec()], &[CLOUD]), "more than the limit");
    device.refuses(&Desired { revocation: Some(large), ..good.clone() }, "more than the limit");
    device.refuses(&Desired { roots: vec![Bytes::new(); ROOTS + 1], ..good.clone() }, "at most");
    let roots = vec![Bytes::from(vec![0; CHAIN_BYTES + 1])];
    device.refuses(&Desired { roots, ..good.clone() }, "at most");
    // Bytes that say that there is no end to come, or deeper nesting than anybody needs.
    let endless =
        [b"\xd8\x62\x84\x40\xa0\x5b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), vec![0; 64]].concat();
    let deep = [b"\xd8\x62\x84\x40\xa0".to_vec(), vec![0x81; 100_000]].concat();
    for bytes in [endless, deep] {
        device.refuses(&Desired { assignment: bytes.into(), ..good.clone() }, "assignment");
    }
    device.takes(&good);
}

#[test]
fn wrong_device() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    for signer in [1, CLOUD] {
        let other = desired(&ours, public(8), 1, &[ours.release(1)], &[signer]);
        device.refuses(&other, "for device");
    }
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    // A device that is out of the fleet gets nothing, whoever assigns it what.
    let out = ours.revoke_devices(1, &[public(DEVICE)]);
    let next = desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[1]);
    device.refuses(&Desired { revocation: Some(out), ..next.clone() }, "revoked from fleet");
    // It stays out when it is not told so again.
    device.restart();
    device.refuses(&next, "revoked from fleet");
}

#[test]
fn key_compromise_below_the_threshold() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    // With one of three keys, of which two are needed: no release, no root, no list.
    let release = ours.release_by(2, &[1]);
    device.refuses(&desired(&ours, public(DEVICE), 2, &[release], &[1]), "1 of 2 signatures");
    let mut theirs = ours.clone();
    theirs.rotate_by(&[1], 1, &[1]);
    device.refuses(
        &desired(&theirs, public(DEVICE), 2, &[theirs.release_by(2, &[1])], &[1]),
        "1 of 2 signatures",
    );
    let good = desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[CLOUD]);
    let list = ours.revoke_by(1, &[], &[1]);
    device.refuses(&Desired { revocation: Some(list), ..good.clone() }, "1 of 2 signatures");
    device.takes(&good);
}

#[test]
fn key_compromise_is_over_after_a_rotation() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    // Two keys are stolen, and used once.
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release_by(1, &[1, 2])], &[1]));
    let before = ours.clone();
    ours.rotate(&[3, 4, 5], 2);
    // The root counts from when it is heard of, even where what comes with it is refused.
    device.refuses(&desired(&ours, public(8), 2, &[], &[3]), "for device");
    assert_eq!(device.trust().askers(), Askers::Keys(ours.publics()));
    device.restart();
    for roots in [before.roots(), Vec::new()] {
        let stolen = desired(&before, public(DEVICE), 2, &[before.release_by(2, &[1, 2])], &[1]);
        device.refuses(&Desired { roots, ..stolen }, "signatures");
    }
    // Nor does the thief's own next root come in between.
    let mut forked = before.clone();
    forked.rotate_by(&[1, 2], 1, &[1, 2]);
    device.refuses(&desired(&forked, public(DEVICE), 2, &[forked.release_by(2, &[1])], &[1]), "two chains");
    // What was signed with the stolen keys runs on until the operators replace it, and they can.
    device.takes(&desired(&ours, public(DEVICE), 2, &[device.holds.releases[0].to_vec()], &[CLOUD]));
    device.takes(&desired(&ours, public(DEVICE), 3, &[ours.release_by(2, &[3, 4])], &[CLOUD]));
}

#[test]
fn a_list_of_stolen_keys_is_over_after_a_rotation_however_high_its_number() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    // Two keys are stolen: they put the device out, with the highest number that there is.
    let stolen = ours.revoke_devices(VERSION_MAX, &[public(DEVICE)]);
    let offered = desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[CLOUD]);
    device.refuses(&Desired { revocation: Some(stolen.clone()), ..offered }, "is revoked from fleet");
    ours.rotate(&[3, 4, 5], 2);
    // Until those who count now say otherwise it holds: the cloud may not drop it.
    let without = desired(&ours, public(DEVICE), 2, &[ours.release_by(2, &[3, 4])], &[CLOUD]);
    device.refuses(&without, "is revoked from fleet");
    let list = ours.revoke_by(1, &[], &[3, 4]);
    device.takes(&Desired { revocation: Some(list), ..without.clone() });
    // And it does not come back.
    device.restart();
    let third = desired(&ours, public(DEVICE), 3, &[ours.release_by(3, &[3, 4])], &[CLOUD]);
    device.takes(&Desired { revocation: None, ..third });
}

#[test]
fn a_rotation_brings_no_older_list_back() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let at = |ours: &Operators, version| {
        desired(ours, public(DEVICE), version, &[ours.release(version)], &[CLOUD])
    };
    device.takes(&at(&ours, 1));
    // Operators 2 and 3 had signed a list before the one that puts the device out, and go on without operator 1.
    let before = ours.revoke_at(3, NOW_MS - DAY_MS, &[], &[2, 3]);
    let list = ours.revoke_at(5, NOW_MS - 1, &[public(DEVICE)], &[1, 2]);
    device.refuses(&Desired { revocation: Some(list), ..at(&ours, 2) }, "is revoked from fleet");
    ours.rotate(&[2, 3, 4], 2);
    for _ in 0..2 {
        device
            .refuses(&Desired { revocation: Some(before.clone()), ..at(&ours, 2) }, "is revoked from fleet");
        device.restart();
    }
    // Those who count now say it anew.
    let now = ours.revoke_at(6, NOW_MS, &[], &[2, 3]);
    device.takes(&Desired { revocation: Some(now), ..at(&ours, 2) });
}

#[test]
fn a_revoked_release_is_taken_by_nobody_whoever_signs_it_again() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let bad = ours.release(1);
    let list = ours.revoke(1, &[bad.as_slice()]);
    let more = cosign::add(Kind::Release, &ours.fleet.id(), &bad, &key(3)).unwrap();
    for release in [bad, more] {
        let offered = desired(&ours, public(DEVICE), 1, &[release], &[CLOUD]);
        device.refuses(&Desired { revocation: Some(list.clone()), ..offered.clone() }, "is revoked");
        device.refuses(&offered, "is revoked");
    }
}

#[test]
fn bad_clock_far_back() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    let expired = ours.expiring(2, Some(NOW_MS + 30 * DAY_MS));
    let offered = desired(&ours, public(DEVICE), 2, &[expired], &[CLOUD]);
    device.live(40 * DAY_MS);
    device.refuses(&offered, "expired");
    // Ten years back, also over a restart: what the device has lived through it knows.
    device.now.wall_ms = NOW_MS - 10 * YEAR_MS;
    device.refuses(&offered, "expired");
    device.restart();
    device.refuses(&offered, "expired");
    // What has not expired is taken on any clock, and what runs asks for none.
    assert_eq!(device.holds.releases.len(), 1);
    device.takes(&desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[CLOUD]));
}

#[test]
fn bad_clock_far_ahead() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let expires_ms = Some(NOW_MS + 30 * DAY_MS);
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.expiring(1, expires_ms)], &[CLOUD]));
    device.now.wall_ms = NOW_MS + 10 * YEAR_MS;
    let expiring = desired(&ours, public(DEVICE), 2, &[ours.expiring(2, expires_ms)], &[CLOUD]);
    device.refuses(&expiring, "expired");
    // What runs, runs on, and what never expires is taken.
    device.restart();
    assert_eq!(device.holds.releases.len(), 1);
    device.takes(&desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[CLOUD]));
    device.live(DAY_MS);
    // The clock is right again: nothing of the ten years stays.
    device.now.wall_ms = NOW_MS + DAY_MS;
    device.takes(&desired(&ours, public(DEVICE), 3, &[ours.expiring(3, expires_ms)], &[CLOUD]));
}
