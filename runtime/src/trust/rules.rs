//! Rules that this device applies: whom it admits in place of the operators, and how often it did, which is on the disk before anybody
//! is let in.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    blob::Blob,
    cosign,
    document::{DocumentId, Grant, Revocation},
    fleet::Fleet,
    identity::{DeviceId, FleetId},
    limits::{RULES, VERSION_MAX},
    rule::{self, Rule, Signed},
    signer::Signer,
};

use super::{Granted, News, Trust, TrustError, lock};
use crate::{
    control::Now,
    state::{Found, StateFolder},
};

const FILE: &str = "rules";
const VERSION: u16 = 1;

/// A device that no grant of is known to itself, as it says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// Its key, which it has proven.
    pub device: DeviceId,
    /// What it wants to be called.
    pub name: &'a str,
    /// The labels that it claims.
    pub labels: &'a BTreeMap<String, String>,
    /// What shows that it has a join token, unverified.
    pub proof: Option<&'a [u8]>,
}

/// A rule, and how it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// What names it.
    pub id: DocumentId,
    /// What it says.
    pub rule: Rule,
    /// Who was admitted under it.
    pub used: Vec<DeviceId>,
}

/// All that this device applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(BTreeMap<DocumentId, Kept>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    signed: Signed,
    used: BTreeSet<DeviceId>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    rules: Vec<WrittenRule>,
}

#[derive(Serialize, Deserialize)]
struct WrittenRule {
    sealed: Bytes,
    used: BTreeSet<DeviceId>,
}

impl Rules {
    /// Reads what is kept for this fleet. The text is a problem to show.
    pub(super) fn load(state: &StateFolder, fleet: Option<&Fleet>) -> (Self, Option<String>) {
        let written = match state.read::<Written>(FILE, VERSION) {
            Found::Nothing => return (Self::default(), None),
            Found::Whole(written) => written,
            Found::Damaged(problem) => {
                let help = "nobody is admitted by a rule before one is made again: `wayside rule list`";
                return (Self::default(), Some(format!("{problem}; {help}")));
            }
        };
        let Some(fleet) = fleet.map(Fleet::id) else { return (Self::default(), None) };
        let opened = written.rules.into_iter().filter_map(|WrittenRule { sealed, used }| {
            let signed = Signed::inspect(&fleet, &sealed).ok()?;
            Some((signed.id, Kept { signed, used }))
        });
        (Self(opened.collect()), None)
    }

    fn save(&self, state: &StateFolder) -> io::Result<()> {
        let rules = self
            .0
            .values()
            .map(|kept| WrittenRule { sealed: kept.signed.sealed.clone().into(), used: kept.used.clone() });
        state.write(FILE, VERSION, &Written { rules: rules.collect() })
    }

    /// Leaves out those that count no more: they leave room for others.
    fn forget(&mut self, list: Option<&Revocation>, time_ms: u64) {
        let is_over = |id: &DocumentId| list.is_some_and(|list| list.is_over(id));
        self.0.retain(|id, kept| !is_over(id) && !kept.signed.rule.has_expired(time_ms));
    }

    /// The rule that lets this device in: one that asks for a token before one that asks for none, else the lowest.
    fn find(&self, fleet: &FleetId, newcomer: &Newcomer<'_>) -> Option<&Kept> {
        let Newcomer { device, labels, proof, .. } = newcomer;
        let has_token = |rule: &Rule| match rule.token {
            Some(token) => proof.is_some_and(|proof| rule::proves(fleet, token, *device, proof)),
            None => true,
        };
        let has_room = |kept: &Kept| {
            let used = kept.used.len() as u64;
            kept.used.contains(device) || kept.signed.rule.uses.is_none_or(|uses| used < uses)
        };
        let lets_in = |kept: &&Kept| {
            let rule = &kept.signed.rule;
            rule.by != *device && rule.suits(labels) && has_room(kept) && has_token(rule)
        };
        self.0.values().filter(lets_in).min_by_key(|kept| (kept.signed.rule.token.is_none(), kept.signed.id))
    }
}

impl Trust {
    /// Takes rules that this device is to apply. Gives when the newest of them was signed; 0 for none.
    pub(super) fn take_rules(
        &self,
        fleet: Option<&Fleet>,
        list: Option<&Revocation>,
        sealed: &[Bytes],
        time_ms: u64,
    ) -> Result<u64, TrustError> {
        if sealed.len() > RULES {
            return Err(TrustError::TooManyRules);
        }
        let grants = lock(&self.grants);
        let mut rules = lock(&self.rules);
        let mut next = rules.clone();
        next.forget(list, time_ms);
        let mut newest_ms = 0;
        for sealed in sealed {
            let fleet = fleet.ok_or(TrustError::NoFleet)?;
            let signed = Signed::open(fleet, sealed).map_err(TrustError::Rule)?;
            let rule = &signed.rule;
            if rule.by != self.device {
                return Err(TrustError::OtherKeeper(rule.by, self.device));
            }
            super::not_expired("the rule", rule.expires_ms, time_ms)?;
            if list.is_some_and(|list| list.is_over(&signed.id)) {
                return Err(TrustError::Revoked(format!("rule {}", signed.id)));
            }
            newest_ms = newest_ms.max(rule.issued_ms);
            // What is handed over again was used as often as it was; also where that was lost and grants tell it.
            let used = || {
                let under = grants.all().filter(|granted| granted.under.map(|(id, _)| id) == Some(signed.id));
                under.map(|granted| granted.grant.device).collect()
            };
            if !next.0.contains_key(&signed.id) {
                if next.0.len() >= RULES {
                    return Err(TrustError::TooManyRules);
                }
                next.0.insert(signed.id, Kept { used: used(), signed });
            }
        }
        if next != *rules {
            next.save(&self.state)?;
            *rules = next;
        }
        Ok(newest_ms)
    }

    /// What a newcomer is to be handed, where a rule lets it in or it was admitted before; `None` where it is not. `key` is this device's.
    ///
    /// # Errors
    /// See [`TrustError`]: why a rule that lets it in gives nothing.
    pub fn receive(&self, newcomer: &Newcomer<'_>, key: &dyn Signer) -> Result<Option<News>, TrustError> {
        self.receive_at(newcomer, key, self.now())
    }

    pub(super) fn receive_at(
        &self,
        newcomer: &Newcomer<'_>,
        key: &dyn Signer,
        now: Now,
    ) -> Result<Option<News>, TrustError> {
        let known = lock(&self.known);
        let (Some(fleet), Some(own)) = (&known.fleet, self.standing_of(&known, now).grant) else {
            return Ok(None);
        };
        let time_ms = lock(&self.lived).time_ms(now);
        let revoked = known.revocation.as_ref();
        let list = revoked.map(|revoked| &revoked.list);
        let hand = |granted: Granted| News {
            roots: known.roots(),
            revocation: revoked.map(|revoked| revoked.sealed.clone()),
            grants: vec![granted.sealed, own.sealed],
            rules: Vec::new(),
        };
        let mut grants = lock(&self.grants);
        let counts = |granted: &Granted| granted.counts(list, time_ms);
        let held = grants.get(&newcomer.device).cloned();
        if let Some(held) = held.clone().filter(counts) {
            return Ok(Some(hand(held)));
        }
        let mut rules = lock(&self.rules);
        let mut next_rules = rules.clone();
        next_rules.forget(list, time_ms);
        let is_out = list.is_some_and(|list| list.is_out(&newcomer.device));
        let Some(kept) = next_rules.find(&fleet.id(), newcomer).filter(|_| !is_out) else { return Ok(None) };
        super::not_expired("the fleet's root", fleet.root().expires_ms, time_ms)?;
        let has_name = |granted: &&Granted| granted.grant.name == newcomer.name && counts(granted);
        if grants.all().any(|granted| has_name(&granted)) {
            return Err(TrustError::NameTaken(newcomer.name.to_owned()));
        }
        let (id, rule) = (kept.signed.id, &kept.signed.rule);
        let version = (time_ms / 1000).max(held.map_or(0, |held| held.grant.version.saturating_add(1)));
        let grant = Grant {
            device: newcomer.device,
            version: version.clamp(1, VERSION_MAX),
            issued_ms: time_ms,
            expires_ms: None,
            name: newcomer.name.to_owned(),
            labels: rule.given(),
            site: rule.site.clone(),
            under: Some(Blob(kept.signed.sealed.clone())),
        };
        let sealed = cosign::seal(&fleet.id(), &grant, key).map_err(TrustError::Sign)?;
        let sealed = Bytes::from(sealed);
        let mut next_grants = grants.clone();
        next_grants.take(fleet, list, &sealed, time_ms)?;
        if let Some(kept) = next_rules.0.get_mut(&id) {
            kept.used.insert(newcomer.device);
        }
        // Counted before it is let in.
        next_rules.save(&self.state)?;
        *rules = next_rules;
        next_grants.save(&self.state)?;
        *grants = next_grants;
        self.changed.send_modify(|changes| *changes += 1);
        Ok(grants.get(&newcomer.device).cloned().map(hand))
    }

    /// The rules that this device applies.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleView> {
        let rules = lock(&self.rules);
        let view = |(id, kept): (&DocumentId, &Kept)| RuleView {
            id: *id,
            rule: kept.signed.rule.clone(),
            used: kept.used.iter().copied().collect(),
        };
        rules.0.iter().map(view).collect()
    }
}
