//! What rules and tokens let in, and what not.

use super::*;
use crate::cbor;

const FLEET_KEY: u8 = 1;
const KEEPER: u8 = 2;
const TOKEN: u8 = 3;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn fleet() -> Fleet {
    Fleet::of_one(&key(FLEET_KEY)).unwrap()
}

fn map(label: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(label.into(), value.into())])
}

fn rule() -> Rule {
    Rule {
        by: Signer::key(&key(KEEPER)),
        issued_ms: 100,
        expires_ms: Some(200),
        token: Some(Signer::key(&key(TOKEN))),
        uses: Some(1),
        when: map("plant", "p7"),
        labels: map("line", "2"),
        site: Some("hall".into()),
    }
}

fn sealed(rule: &Rule, signer: u8) -> Blob {
    Blob(cosign::seal(&fleet().id(), rule, &key(signer)).unwrap())
}

fn grant(rule: &Rule) -> Grant {
    Grant {
        device: DeviceId::from_bytes([9; 32]),
        version: 1,
        issued_ms: 150,
        expires_ms: None,
        name: "jfk".into(),
        labels: rule.given(),
        site: rule.site.clone(),
        under: Some(sealed(rule, FLEET_KEY)),
    }
}

fn judge(grant: &Grant, signer: u8) -> Result<(), GrantError> {
    let sealed = cosign::seal(&fleet().id(), grant, &key(signer)).unwrap();
    let (read, signed) = verify_grant(&fleet(), &sealed)?;
    assert_eq!((&read, signed.is_some()), (grant, grant.under.is_some()));
    Ok(())
}

#[test]
fn a_grant_under_a_rule_gives_what_the_rule_allows_and_nothing_more() {
    let good = grant(&rule());
    assert_eq!(good.labels, BTreeMap::from([("plant".into(), "p7".into()), ("line".into(), "2".into())]));
    assert_eq!(judge(&good, KEEPER), Ok(()));
    // The operators themselves need no rule.
    assert_eq!(judge(&Grant { under: None, ..good.clone() }, FLEET_KEY), Ok(()));
    let beyond = [
        Grant { labels: map("plant", "p7"), ..good.clone() },
        Grant { labels: map("role", "admin"), ..good.clone() },
        Grant { site: None, ..good.clone() },
        Grant { site: Some("yard".into()), ..good.clone() },
        Grant { issued_ms: 99, ..good.clone() },
        Grant { issued_ms: 200, ..good.clone() },
        Grant { device: rule().by, ..good.clone() },
    ];
    for grant in beyond {
        assert!(matches!(judge(&grant, KEEPER), Err(GrantError::Beyond(_))), "{grant:?}");
    }
}

#[test]
fn only_the_device_that_the_rule_names_admits_under_it_and_only_operators_sign_rules() {
    let good = grant(&rule());
    for stranger in [4, TOKEN] {
        assert!(matches!(judge(&good, stranger), Err(GrantError::Grant(_))));
    }
    let forged = Grant { under: Some(sealed(&rule(), KEEPER)), ..good.clone() };
    assert!(matches!(judge(&forged, KEEPER), Err(GrantError::Rule(_))));
    assert!(matches!(judge(&Grant { under: None, ..good.clone() }, KEEPER), Err(GrantError::Grant(_))));
    let rubbish = Grant { under: Some(Blob(vec![7; 40])), ..good };
    assert!(matches!(judge(&rubbish, KEEPER), Err(GrantError::Rule(_))));
}

#[test]
fn a_token_proves_one_device_in_one_fleet() {
    let token = Token::new(fleet().id(), &[TOKEN; 32]);
    let device = DeviceId::from_bytes([9; 32]);
    let proof = token.prove(device).unwrap();
    assert!(proves(&token.fleet, token.key(), device, &proof.0));
    assert!(!proves(&token.fleet, token.key(), DeviceId::from_bytes([8; 32]), &proof.0));
    assert!(!proves(&FleetId::from_bytes([0; 32]), token.key(), device, &proof.0));
    assert!(!proves(&token.fleet, Signer::key(&key(4)), device, &proof.0));
    assert!(!proves(&token.fleet, token.key(), device, &[]));
}

#[test]
fn a_tokens_text_is_read_and_never_shown_by_chance() {
    let token = Token::new(fleet().id(), &[TOKEN; 32]);
    let text = token.reveal();
    assert_eq!(text.parse::<Token>().as_ref(), Ok(&token));
    assert_eq!(format!("{text}\n").parse::<Token>().as_ref(), Ok(&token));
    let (_, secret) = text.split_once('.').unwrap();
    assert!(!format!("{token:?}").contains(&secret[..8]));
    for bad in ["", ".", &text[1..], &text[..text.len() - 1], &text.replace('.', ":"), &format!("{text}a")] {
        assert_eq!(bad.parse::<Token>(), Err(BadToken), "{bad}");
    }
}

#[test]
fn a_rule_is_for_some_devices_and_suits_who_says_enough() {
    for uses in [0, MEMBERS as u64 + 1] {
        assert!(cbor::decode::<Rule>(&cbor::encode(&Rule { uses: Some(uses), ..rule() })).is_err());
    }
    assert_eq!(cbor::decode::<Rule>(&cbor::encode(&rule())), Ok(rule()));
    assert!(rule().suits(&rule().given()) && rule().suits(&map("plant", "p7")));
    assert!(!rule().suits(&map("plant", "p8")) && !rule().suits(&BTreeMap::new()));
    assert!(!rule().has_expired(199) && rule().has_expired(200));
}
