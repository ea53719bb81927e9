//! The attacks on who sets secrets. Those on values, which need none of the fleet's keys, are tried in `crate::secrets`.

use super::device::{CLOUD, DEVICE, Device, Operators, desired, public};
use crate::trust::News;

fn device_of(operators: &Operators) -> Device {
    let mut device = Device::of(operators);
    device.takes(&desired(operators, public(DEVICE), 1, &[operators.release(1)], &[CLOUD]));
    device
}

#[track_caller]
fn refuses(device: &Device, sealed: &[u8], why: &str) {
    let refusal = device.trust().verify_secret(sealed).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
}

#[test]
fn who_may_not_assign_sets_no_secret() {
    let ours = Operators::of_three();
    let device = device_of(&ours);
    let good = ours.secret_by(public(DEVICE), &[1]);
    assert_eq!(device.trust().verify_secret(&good).unwrap().1, ours.fleet.id());
    for signers in [&[CLOUD][..], &[9], &[DEVICE], &[CLOUD, 9]] {
        refuses(&device, &ours.secret_by(public(DEVICE), signers), "0 of 1 signatures");
    }
    // Of another fleet of the same keys; for another device; as another kind; changed.
    refuses(&device, &Operators::of_three_again().secret_by(public(DEVICE), &[1]), "not valid");
    refuses(&device, &ours.secret_by(public(CLOUD), &[1]), "is for device");
    assert!(device.trust().verify_twin(&good, "ewr").is_err());
    let mut changed = good;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(device.trust().verify_secret(&changed).is_err());
    // A device that knows no operators yet takes it from nobody.
    refuses(&Device::of(&ours), &ours.secret_by(public(DEVICE), &[1]), "belongs to no fleet yet");
}

#[test]
fn who_is_put_out_sets_no_secret_and_gets_none() {
    let ours = Operators::of_three();
    let mut device = device_of(&ours);
    let rotated = ours.rotated(&[1, 2, 4], 2);
    device.takes(&desired(&rotated, public(DEVICE), 2, &[rotated.release(2)], &[CLOUD]));
    refuses(&device, &rotated.secret_by(public(DEVICE), &[3]), "0 of 1 signatures");
    assert!(device.trust().verify_secret(&rotated.secret_by(public(DEVICE), &[4])).is_ok());
    let revocation = Some(rotated.revoke_devices(1, &[public(DEVICE)]));
    let news = News { roots: rotated.roots(), revocation, ..News::default() };
    device.trust().admit_at(&news, device.now).unwrap();
    refuses(&device, &rotated.secret_by(public(DEVICE), &[4]), "this device is revoked");
}
