//! The attacks on what is kept for devices that are away: who brings it to a member, and what.

use wayside_config::document::Grant;

use super::{
    device::{CLOUD, DEVICE, Device, Operators, desired, public},
    joining::{admit, grant, news},
    *,
};
use crate::copies::Copied;

const AWAY: u8 = 7;

fn keeps(device: &Device, desired: &Desired) -> Result<Copied, String> {
    device.trust().verify_copy_at(desired, device.now).map_err(|error| error.to_string())
}

#[track_caller]
fn refuses(device: &Device, desired: &Desired, why: &str) {
    let refusal = keeps(device, desired).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
}

#[test]
fn nothing_is_kept_that_operators_did_not_sign() {
    let mut ours = Operators::of_three();
    let device = Device::of(&ours);
    let of = |ours: &Operators, by: u8| desired(ours, public(AWAY), 3, &[ours.release(3)], &[by]);
    // Who belongs to no fleet keeps nothing for anybody.
    refuses(&device, &of(&ours, 1), "no root");
    admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1)), ours.grant(&grant(AWAY, 1))])).unwrap();
    // The cloud's word is for its own way.
    for by in [CLOUD, 9] {
        refuses(&device, &of(&ours, by), "signatures");
    }
    let theirs = Operators::alone(9);
    refuses(&device, &desired(&theirs, public(AWAY), 3, &[theirs.release(3)], &[9]), "of fleet");
    let forged = ours.release_by(3, &[9]);
    refuses(&device, &desired(&ours, public(AWAY), 3, &[forged], &[1]), "a release");
    let mut changed = of(&ours, 1);
    changed.assignment = {
        let mut bytes = changed.assignment.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes.into()
    };
    refuses(&device, &changed, "not valid");
    let kept = keeps(&device, &of(&ours, 1)).unwrap();
    assert_eq!((kept.assignment.version, kept.sealed.releases.len()), (3, 1));
    // What is not named takes no room, and keys of before the rotation sign nothing more.
    let mut padded = of(&ours, 1);
    padded.releases.push(ours.named("other", 9).into());
    assert_eq!(keeps(&device, &padded).unwrap().sealed.releases.len(), 1);
    let before = of(&ours, 1);
    ours.rotate(&[2, 3, 4], 2);
    assert!(admit(&device, &news(&ours, &[])).is_ok());
    refuses(&device, &before, "signatures");
}

#[test]
fn nothing_is_kept_for_who_is_not_of_the_site() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    let of = |device: u8| desired(&ours, public(device), 3, &[ours.release(3)], &[1]);
    let in_hall = |device| ours.grant(&Grant { site: Some("hall".into()), ..grant(device, 1) });
    let yard = ours.grant(&Grant { site: Some("yard".into()), ..grant(8, 1) });
    admit(&device, &news(&ours, &[in_hall(DEVICE), in_hall(AWAY), yard])).unwrap();
    assert!(keeps(&device, &of(AWAY)).is_ok());
    // Nobody has admitted it, it is of another site, and this device itself.
    for other in [9, 8, DEVICE] {
        refuses(&device, &of(other), "no other device of this one's site");
    }
    let out = News { revocation: Some(ours.revoke_devices(1, &[public(AWAY)])), ..news(&ours, &[]) };
    admit(&device, &out).unwrap();
    refuses(&device, &of(AWAY), "no other device of this one's site");
}

#[test]
fn what_a_neighbour_kept_is_older_than_what_the_device_has_or_is_not_for_it() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let of = |device: u8, version| desired(&ours, public(device), version, &[ours.release(1)], &[1]);
    device.takes(&of(DEVICE, 5));
    // It is taken as from anybody: by the same checks, so an old copy is a rollback, and that of another is another's.
    device.refuses(&of(DEVICE, 4), "taken before");
    device.refuses(&of(AWAY, 6), "is for device");
}
