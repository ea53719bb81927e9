//! The attacks on who belongs to a fleet: strangers, old grants, other devices' grants, and those who were put out.

use wayside_config::{document::Grant, limits::MEMBERS};

use super::{
    super::{News, Standing},
    device::{CLOUD, DAY_MS, DEVICE, Device, NOW_MS, Operators, desired, public},
    *,
};

pub(super) fn grant(device: u8, version: u64) -> Grant {
    Grant {
        device: public(device),
        version,
        issued_ms: NOW_MS,
        expires_ms: None,
        name: format!("d{device}"),
        labels: Default::default(),
        site: None,
        under: None,
    }
}

pub(super) fn news(operators: &Operators, grants: &[Vec<u8>]) -> News {
    let grants = grants.iter().cloned().map(Bytes::from).collect();
    News { roots: operators.roots(), revocation: None, grants, rules: Vec::new() }
}

/// Hands it over, and gives who is linked with then.
pub(super) fn admit(device: &Device, news: &News) -> Result<usize, String> {
    device.trust().admit_at(news, device.now).map_err(|error| error.to_string())?;
    Ok(linked(device))
}

pub(super) fn linked(device: &Device) -> usize {
    let circle = device.trust().circle_at(device.now);
    assert_eq!(circle.takes_part, !circle.devices.is_empty());
    circle.devices.len()
}

#[track_caller]
fn refuses(device: &Device, news: &News, why: &str) {
    let before = linked(device);
    let refusal = admit(device, news).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
    assert_eq!(linked(device), before);
}

#[test]
fn false_grants_cost_no_more_than_a_few_of_them() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    let mut all = vec![ours.grant(&grant(DEVICE, 1))];
    all.extend((1..100).map(|seed| ours.grant_by(&grant(seed, 1), &[9])));
    all.push(ours.grant(&grant(150, 1)));
    // The good one after them is not come to; it is by itself.
    assert_eq!(admit(&device, &news(&ours, &all)), Ok(1));
    assert_eq!(admit(&device, &news(&ours, &all[100..])), Ok(2));
    // Nor do those that were good once, of which anybody can have one.
    let over = |seed| ours.grant(&Grant { expires_ms: Some(1), ..grant(seed, 1) });
    let mut all: Vec<_> = (1..100).map(over).collect();
    all.push(ours.grant(&grant(151, 1)));
    assert_eq!(admit(&device, &news(&ours, &all)), Ok(2));
    assert_eq!(admit(&device, &news(&ours, &all[99..])), Ok(3));
}

#[test]
fn a_stranger_admits_nobody() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    // Signed by the cloud, by a stranger, by one where two have to; in a fleet of the stranger's own; as another kind; for another fleet.
    for signers in [&[CLOUD][..], &[9], &[1], &[CLOUD, 9]] {
        refuses(&device, &news(&ours, &[ours.grant_by(&grant(DEVICE, 1), signers)]), "signatures");
    }
    let theirs = Operators::alone(9);
    refuses(&device, &news(&theirs, &[theirs.grant(&grant(DEVICE, 1))]), "of fleet");
    refuses(&device, &news(&ours, &[theirs.grant(&grant(DEVICE, 1))]), "the grant");
    let elsewhere = Operators::of_three_again();
    refuses(&device, &news(&ours, &[elsewhere.grant(&grant(DEVICE, 1))]), "not valid");
    let mut changed = ours.grant(&grant(DEVICE, 1));
    let last = changed.len() - 1;
    changed[last] ^= 1;
    refuses(&device, &news(&ours, &[changed]), "not valid");
    assert_eq!(admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1))])), Ok(1));
    // A neighbour that a stranger admits is not linked with either, whatever comes with it.
    let forged = ours.grant_by(&grant(8, 1), &[9]);
    assert_eq!(admit(&device, &news(&ours, &[forged, ours.grant(&grant(7, 1))])), Ok(2));
}

#[test]
fn a_grant_of_another_device_admits_that_one_alone() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    assert_eq!(admit(&device, &news(&ours, &[ours.grant(&grant(7, 1))])), Ok(0));
    assert_eq!(admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1))])), Ok(2));
    let first = Device::of(&Operators::alone(1));
    let alone = Operators::alone(1);
    assert_eq!(admit(&first, &news(&alone, &[alone.grant(&grant(7, 1))])), Ok(0));
}

#[test]
fn an_older_grant_is_not_taken_again() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let (old, new) =
        (ours.grant(&grant(DEVICE, 1)), ours.grant(&Grant { site: Some("hall".into()), ..grant(DEVICE, 2) }));
    admit(&device, &news(&ours, std::slice::from_ref(&old))).unwrap();
    admit(&device, &news(&ours, std::slice::from_ref(&new))).unwrap();
    for _ in 0..2 {
        refuses(&device, &news(&ours, std::slice::from_ref(&old)), "version 2");
        let other = ours.grant(&Grant { name: "x".into(), ..grant(DEVICE, 2) });
        refuses(&device, &news(&ours, &[other]), "version 2");
        assert_eq!(device.trust().standing().grant.unwrap().grant.version, 2);
        // What was taken is on the disk.
        device.restart();
    }
}

#[test]
fn who_is_put_out_is_out_and_stays_out() {
    let mut ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let grants = [ours.grant(&grant(DEVICE, 1)), ours.grant(&grant(7, 1)), ours.grant(&grant(8, 1))];
    assert_eq!(admit(&device, &news(&ours, &grants)), Ok(3));
    let list = ours.revoke_devices(1, &[public(7)]);
    let told = News { revocation: Some(list.clone()), ..news(&ours, &[]) };
    // Only who may says so.
    let forged = ours.revoke_by(2, &[], &[CLOUD]);
    refuses(&device, &News { revocation: Some(forged), ..news(&ours, &[]) }, "revoked");
    assert_eq!(admit(&device, &told), Ok(2));
    for _ in 0..2 {
        // Not with its old grant, nor with a new one, nor after a rotation that its keys outlive.
        assert_eq!(admit(&device, &news(&ours, &[grants[1].clone(), ours.grant(&grant(7, 5))])), Ok(2));
        assert!(!device.trust().circle_at(device.now).devices.contains(&public(7)));
        device.restart();
    }
    ours.rotate(&[1, 2, 3], 2);
    assert_eq!(admit(&device, &news(&ours, &[])), Ok(2));
    // And this device itself, which then links with nobody and takes nothing.
    let all = ours.revoke_devices(2, &{
        let mut out = vec![public(7), public(DEVICE)];
        out.sort_unstable();
        out
    });
    assert_eq!(admit(&device, &News { revocation: Some(all.clone()), ..news(&ours, &[]) }), Ok(0));
    assert!(device.trust().is_revoked() && device.trust().standing().grant.is_none());
    refuses(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 9))]), "revoked");
    device.refuses(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]), "revoked");
}

#[test]
fn who_was_away_hears_who_was_put_out() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1))])).unwrap();
    let list = ours.revoke_devices(3, &[public(7)]);
    admit(&device, &News { revocation: Some(list), ..news(&ours, &[]) }).unwrap();
    let Standing { fleet, root, revocation, .. } = device.trust().standing();
    assert_eq!((fleet, root, revocation), (Some(ours.fleet.id()), 1, 3));
    assert_eq!(device.trust().news_for(fleet, 1, 3), None);
    assert_eq!(device.trust().news_for(Some(Operators::alone(1).fleet.id()), 1, 0), None);
    assert_eq!(device.trust().news_for(None, 0, 0), None);
    let told = device.trust().news_for(fleet, 1, 2).unwrap();
    let away = Device::of(&ours);
    admit(&away, &news(&ours, &[ours.grant(&grant(DEVICE, 1)), ours.grant(&grant(7, 1))])).unwrap();
    assert_eq!(admit(&away, &told), Ok(1));
}

#[test]
fn a_grant_that_expired_counts_no_more_whatever_the_clock_says() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let soon = |device, version| Grant { expires_ms: Some(NOW_MS + DAY_MS), ..grant(device, version) };
    let grants = [ours.grant(&soon(DEVICE, 1)), ours.grant(&grant(7, 1))];
    assert_eq!(admit(&device, &news(&ours, &grants)), Ok(2));
    device.live(2 * DAY_MS);
    assert_eq!(linked(&device), 0);
    device.now.wall_ms = NOW_MS;
    assert_eq!(linked(&device), 0);
    refuses(&device, &news(&ours, &[ours.grant(&soon(DEVICE, 2))]), "expired");
    let again = ours.grant(&Grant { expires_ms: Some(NOW_MS + 9 * DAY_MS), ..grant(DEVICE, 3) });
    assert_eq!(admit(&device, &news(&ours, &[again])), Ok(2));
}

#[test]
fn devices_of_another_site_are_not_linked_with() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    let at = |device, site: &str| ours.grant(&Grant { site: Some(site.into()), ..grant(device, 1) });
    let grants = [at(DEVICE, "hall"), at(7, "hall"), at(8, "yard"), ours.grant(&grant(9, 1))];
    assert_eq!(admit(&device, &news(&ours, &grants)), Ok(3));
    assert!(!device.trust().circle_at(device.now).devices.contains(&public(8)));
}

#[test]
fn more_members_than_there_is_room_for_are_left_out() {
    let ours = Operators::alone(1);
    let device = Device::of(&ours);
    let own = ours.grant(&grant(DEVICE, 1));
    let many: Vec<_> = (0..MEMBERS + 5)
        .map(|number| {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            ours.grant(&Grant { device: DeviceId::from_bytes(key), ..grant(7, 1) })
        })
        .collect();
    assert_eq!(admit(&device, &news(&ours, &[vec![own], many].concat())), Ok(MEMBERS));
}
