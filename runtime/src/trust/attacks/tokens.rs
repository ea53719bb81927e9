//! The attacks on join tokens and rules: used too often, by another device, with more than they give, from a device that may not.

use std::collections::BTreeMap;

use wayside_config::{
    blob::Blob,
    document::Grant,
    rule::{Rule, Signed, Token},
};

use super::{
    super::News,
    device::{DAY_MS, DEVICE, Device, NOW_MS, Operators, key, public},
    joining::{admit, grant, linked, news},
    *,
};

const TOKEN: [u8; 32] = [77; 32];

fn token(operators: &Operators) -> Token {
    Token::new(operators.fleet.id(), &TOKEN)
}

/// A rule that this device applies: the token admits two.
fn rule(operators: &Operators) -> Rule {
    Rule {
        by: public(DEVICE),
        issued_ms: NOW_MS,
        expires_ms: Some(NOW_MS + DAY_MS),
        token: Some(token(operators).key()),
        uses: Some(2),
        when: BTreeMap::new(),
        labels: BTreeMap::from([("plant".into(), "p7".into())]),
        site: None,
    }
}

fn with_rule(operators: &Operators, rule: &Rule) -> News {
    News { rules: vec![operators.rule(rule).into()], ..news(operators, &[]) }
}

/// A device that is a member, and applies the rule.
fn keeper(operators: &Operators, rule: &Rule) -> Device {
    let device = Device::of(operators);
    assert_eq!(admit(&device, &news(operators, &[operators.grant(&grant(DEVICE, 1))])), Ok(1));
    assert_eq!(admit(&device, &with_rule(operators, rule)), Ok(1));
    device
}

struct Coming {
    seed: u8,
    name: String,
    labels: BTreeMap<String, String>,
    proof: Option<Blob>,
}

fn coming(seed: u8, token: &Token) -> Coming {
    let proof = Some(token.prove(public(seed)).unwrap());
    Coming { seed, name: format!("d{seed}"), labels: BTreeMap::new(), proof }
}

fn receive(device: &Device, coming: &Coming) -> Result<Option<News>, String> {
    let newcomer = Newcomer {
        device: public(coming.seed),
        name: &coming.name,
        labels: &coming.labels,
        proof: coming.proof.as_ref().map(|proof| proof.0.as_slice()),
    };
    let received = device.trust().receive_at(&newcomer, &key(DEVICE), device.now);
    received.map_err(|error| error.to_string())
}

fn lets_in(device: &Device, coming: &Coming) -> bool {
    receive(device, coming).unwrap().is_some()
}

#[test]
fn a_token_admits_as_many_as_it_is_for_over_restarts_and_damage() {
    let ours = Operators::of_three();
    let mut device = keeper(&ours, &rule(&ours));
    let token = token(&ours);
    for _ in 0..2 {
        // The same one again is not counted again.
        assert!(lets_in(&device, &coming(7, &token)) && lets_in(&device, &coming(8, &token)));
        assert!(!lets_in(&device, &coming(9, &token)));
        assert_eq!(linked(&device), 3);
        device.restart();
    }
    // Handed over again, and by a device that has lost its count.
    assert_eq!(admit(&device, &with_rule(&ours, &rule(&ours))), Ok(3));
    assert!(!lets_in(&device, &coming(9, &token)));
    device.lose("rules");
    assert!(device.trust().rules().is_empty());
    assert_eq!(admit(&device, &with_rule(&ours, &rule(&ours))), Ok(3));
    assert!(!lets_in(&device, &coming(9, &token)));
    assert_eq!(device.trust().rules()[0].used.len(), 2);
}

#[test]
fn who_came_in_by_a_token_is_taken_by_all_with_what_the_token_gives() {
    let ours = Operators::of_three();
    let device = keeper(&ours, &rule(&ours));
    let mut newcomer = coming(7, &token(&ours));
    newcomer.labels = BTreeMap::from([("role".into(), "admin".into())]);
    let handed = receive(&device, &newcomer).unwrap().unwrap();
    let other = Device::of(&ours);
    admit(&other, &handed).unwrap();
    let granted = other.trust().member(&public(7)).unwrap();
    assert_eq!((granted.grant.name.as_str(), &granted.grant.labels), ("d7", &rule(&ours).given()));
    assert_eq!(granted.under.unwrap().1, public(DEVICE));
}

#[test]
fn nobody_comes_in_without_a_token_of_ones_own_or_after_its_end() {
    let ours = Operators::of_three();
    let mut device = keeper(&ours, &rule(&ours));
    let token = token(&ours);
    let stolen = Coming { seed: 8, ..coming(7, &token) };
    assert!(!lets_in(&device, &stolen));
    assert!(!lets_in(&device, &Coming { proof: None, ..coming(7, &token) }));
    assert!(!lets_in(&device, &Coming { proof: Some(Blob(vec![1; 200])), ..coming(7, &token) }));
    assert!(!lets_in(&device, &coming(7, &Token::new(ours.fleet.id(), &[78; 32]))));
    assert!(!lets_in(&device, &coming(7, &Token::new(Operators::alone(1).fleet.id(), &TOKEN))));
    // Nor the device itself, nor in the name of another one.
    let taken = Coming { name: format!("d{DEVICE}"), ..coming(7, &token) };
    assert!(receive(&device, &taken).unwrap_err().contains("has this name"));
    device.live(DAY_MS);
    assert!(!lets_in(&device, &coming(7, &token)));
    device.now.wall_ms = NOW_MS;
    assert!(!lets_in(&device, &coming(7, &token)));
}

#[test]
fn a_standing_rule_admits_who_says_what_it_asks_for_and_gives_no_more() {
    let ours = Operators::of_three();
    let when = BTreeMap::from([("plant".to_owned(), "p7".to_owned())]);
    let standing = Rule { token: None, when: when.clone(), labels: BTreeMap::new(), ..rule(&ours) };
    let device = keeper(&ours, &standing);
    let claims = |labels: &[(&str, &str)]| Coming {
        proof: None,
        labels: labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect(),
        ..coming(7, &token(&ours))
    };
    assert!(!lets_in(&device, &claims(&[])) && !lets_in(&device, &claims(&[("plant", "p8")])));
    assert!(lets_in(&device, &claims(&[("plant", "p7"), ("role", "admin")])));
    assert_eq!(device.trust().member(&public(7)).unwrap().grant.labels, when);
}

#[test]
fn a_rule_that_operators_did_not_sign_or_for_another_device_is_not_applied() {
    let ours = Operators::of_three();
    let device = keeper(&ours, &rule(&ours));
    let refuses = |rule: Vec<u8>, why: &str| {
        let told = News { rules: vec![rule.into()], ..news(&ours, &[]) };
        let refusal = admit(&device, &told).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
        assert_eq!(device.trust().rules().len(), 1);
    };
    let wider = Rule { uses: None, ..rule(&ours) };
    for signers in [&[1][..], &[9], &[DEVICE], &[1, DEVICE]] {
        refuses(ours.rule_by(&wider, signers), "signatures");
    }
    refuses(ours.rule(&Rule { by: public(7), ..wider.clone() }), "to apply");
    refuses(ours.rule(&Rule { expires_ms: Some(NOW_MS), ..wider.clone() }), "expired");
    refuses(Operators::of_three_again().rule(&wider), "not valid");
}

#[test]
fn a_device_that_admits_gives_no_more_than_its_rule_whoever_has_its_key() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1))])).unwrap();
    // The keeper of this rule is device 5, and the attacker has its key.
    let rule = Rule { by: public(5), ..rule(&ours) };
    let under = Some(Blob(ours.rule(&rule)));
    let good = Grant { labels: rule.given(), under: under.clone(), ..grant(7, 1) };
    assert_eq!(admit(&device, &news(&ours, &[ours.grant_by(&good, &[5])])), Ok(2));
    let bad = [
        (Grant { labels: BTreeMap::from([("role".into(), "admin".into())]), ..good.clone() }, 5),
        (Grant { site: Some("hall".into()), ..good.clone() }, 5),
        (Grant { issued_ms: NOW_MS + DAY_MS, ..good.clone() }, 5),
        (Grant { under: None, ..good.clone() }, 5),
        (good.clone(), 6),
        (good.clone(), DEVICE),
    ];
    for (number, (bad, signer)) in (10..).zip(bad) {
        let other = Grant { device: public(number), ..bad };
        assert_eq!(admit(&device, &news(&ours, &[ours.grant_by(&other, &[signer])])), Ok(2), "{other:?}");
    }
}

#[test]
fn a_device_that_admits_takes_no_place_away_from_who_was_approved() {
    let ours = Operators::of_three();
    let device = Device::of(&ours);
    let approved = [ours.grant(&grant(DEVICE, 1)), ours.grant(&grant(7, 1))];
    assert_eq!(admit(&device, &news(&ours, &approved)), Ok(2));
    // The keeper of this rule is device 5, and the attacker has its key: a higher version, of a rule that counts and of one that is revoked.
    let rule = Rule { by: public(5), ..rule(&ours) };
    let under = Some(Blob(ours.rule(&rule)));
    let by_rule = |device: u8, version| {
        let grant =
            Grant { name: "x".into(), labels: rule.given(), under: under.clone(), ..grant(device, version) };
        ours.grant_by(&grant, &[5])
    };
    let highest = wayside_config::limits::VERSION_MAX;
    let name = |device: &Device, of| device.trust().member(&public(of)).map(|granted| granted.grant.name);
    for revocation in [None, Some(ours.revoke_devices(1, &[public(5)]))] {
        let told = News { revocation, ..news(&ours, &[by_rule(7, highest)]) };
        assert_eq!(admit(&device, &told), Ok(2));
        assert_eq!(name(&device, 7).as_deref(), Some("d7"));
        assert!(admit(&device, &news(&ours, &[by_rule(DEVICE, highest)])).is_err());
        assert_eq!(name(&device, DEVICE).as_deref(), Some(&*format!("d{DEVICE}")));
    }
    // And who came in by a rule is approved whatever version that gave it.
    let other = Device::of(&ours);
    let first = [ours.grant(&grant(DEVICE, 1)), by_rule(7, highest)];
    assert_eq!(admit(&other, &news(&ours, &first)), Ok(2));
    assert_eq!(admit(&other, &news(&ours, &[ours.grant(&grant(7, 1))])), Ok(2));
    assert_eq!(name(&other, 7).as_deref(), Some("d7"));
}

#[test]
fn a_device_that_admits_takes_no_place_away_from_who_came_in_by_another_rule() {
    let ours = Operators::of_three();
    // The attacker has the key of device 5 and its rule; the others came in by that of device 6.
    let under = |keeper: u8, plant: &str| Rule {
        by: public(keeper),
        labels: BTreeMap::from([("plant".into(), plant.into())]),
        ..rule(&ours)
    };
    let given = |keeper: u8, plant: &str, device, version| {
        let rule = under(keeper, plant);
        let under = Some(Blob(ours.rule(&rule)));
        ours.grant_by(&Grant { labels: rule.given(), under, ..grant(device, version) }, &[keeper])
    };
    let device = Device::of(&ours);
    let first = [given(6, "p7", DEVICE, 1), given(6, "p7", 7, 1)];
    assert_eq!(admit(&device, &news(&ours, &first)), Ok(2));
    let highest = wayside_config::limits::VERSION_MAX;
    assert!(admit(&device, &news(&ours, &[given(5, "theirs", DEVICE, highest)])).is_err());
    assert_eq!(admit(&device, &news(&ours, &[given(5, "theirs", 7, highest)])), Ok(2));
    let plant = |of| device.trust().member(&public(of)).unwrap().grant.labels["plant"].clone();
    assert_eq!((plant(DEVICE), plant(7)), ("p7".to_owned(), "p7".to_owned()));
    // With the attacker's rule its own devices are out, and nobody else.
    let list = ours.revoke_devices(1, &[public(5)]);
    assert_eq!(admit(&device, &News { revocation: Some(list), ..news(&ours, &[]) }), Ok(2));
    assert!(!device.trust().is_revoked());

    // Who had come in by the attacker's rule, with the highest version, comes in by another when that is revoked.
    let other = Device::of(&ours);
    assert_eq!(admit(&other, &news(&ours, &[given(5, "theirs", DEVICE, highest)])), Ok(1));
    let list = ours.revoke_devices(1, &[public(5)]);
    assert_eq!(admit(&other, &News { revocation: Some(list), ..news(&ours, &[]) }), Ok(0));
    assert!(other.trust().is_revoked());
    assert_eq!(admit(&other, &news(&ours, &[given(6, "p7", DEVICE, 1)])), Ok(1));
    assert!(!other.trust().is_revoked());
}

#[test]
fn a_device_that_came_in_by_a_rule_that_is_revoked_knows_that_it_is_out_until_it_is_approved() {
    let ours = Operators::of_three();
    let mut device = Device::of(&ours);
    let rule = Rule { by: public(5), ..rule(&ours) };
    let under = Some(Blob(ours.rule(&rule)));
    let own = ours.grant_by(&Grant { labels: rule.given(), under, ..grant(DEVICE, 1) }, &[5]);
    assert_eq!(admit(&device, &news(&ours, &[own])), Ok(1));
    device.takes(&desired(&ours, public(DEVICE), 1, &[ours.release(1)], &[CLOUD]));
    let list = ours.revoke_devices(1, &[public(5)]);
    assert_eq!(admit(&device, &News { revocation: Some(list), ..news(&ours, &[]) }), Ok(0));
    for _ in 0..2 {
        assert!(device.trust().is_revoked());
        // It takes nothing any more, and no secret.
        device.refuses(
            &desired(&ours, public(DEVICE), 2, &[ours.release(2)], &[CLOUD]),
            "is revoked from fleet",
        );
        assert!(device.trust().verify_secret(&ours.secret_by(public(DEVICE), &[1])).is_err());
        device.restart();
    }
    assert_eq!(admit(&device, &news(&ours, &[ours.grant(&grant(DEVICE, 1))])), Ok(1));
    assert!(!device.trust().is_revoked());
}

#[test]
fn who_came_in_by_a_rule_that_is_revoked_or_by_a_device_that_is_is_out() {
    let ours = Operators::of_three();
    let mut device = keeper(&ours, &rule(&ours));
    let token = token(&ours);
    assert!(lets_in(&device, &coming(7, &token)));
    assert_eq!(linked(&device), 2);
    let id = Signed::open(&ours.fleet, &ours.rule(&rule(&ours))).unwrap().id;
    let list = ours.revoke_documents(1, &[id]);
    let told = News { revocation: Some(list), ..news(&ours, &[]) };
    assert_eq!(admit(&device, &told), Ok(1));
    assert!(!lets_in(&device, &coming(7, &token)) && !lets_in(&device, &coming(8, &token)));
    // Not by handing the rule over again, nor after a restart.
    let again = News { revocation: None, ..with_rule(&ours, &rule(&ours)) };
    assert!(admit(&device, &again).unwrap_err().contains("revoked"));
    device.restart();
    assert_eq!(linked(&device), 1);
    assert!(device.trust().rules().is_empty());

    // What a keeper admitted that is put out itself counts no more with anybody.
    let third = Device::of(&ours);
    let rule = Rule { by: public(5), ..rule(&ours) };
    let under = Some(Blob(ours.rule(&rule)));
    let by_five = ours.grant_by(&Grant { labels: rule.given(), under, ..grant(7, 1) }, &[5]);
    assert_eq!(admit(&third, &news(&ours, &[ours.grant(&grant(DEVICE, 1)), by_five.clone()])), Ok(2));
    let list = ours.revoke_devices(2, &[public(5)]);
    assert_eq!(admit(&third, &News { revocation: Some(list), ..news(&ours, &[by_five]) }), Ok(1));
}
