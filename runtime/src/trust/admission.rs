//! Who belongs to the fleet: takes grants, and says with whom this device links.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::sync::watch;
use wayside_actors::frame::Desired;
use wayside_config::{
    fleet::Fleet,
    identity::{DeviceId, FleetId},
};

use super::{Granted, Trust, TrustError, lock, refusal::not_expired};
use crate::control::Now;

/// Grants of others that nobody who may has signed, after which no more of the same delivery are looked at.
const FALSE_GRANTS: u32 = 8;

/// What may come to a device at any time, from anybody: it proves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The chain of the fleet's sealed roots, from the first on; empty where there is nothing new to say.
    pub roots: Vec<Bytes>,
    /// The sealed list of what does not count any more.
    pub revocation: Option<Bytes>,
    /// Sealed grants: of this device, of others.
    pub grants: Vec<Bytes>,
    /// Sealed rules that this device is to apply.
    pub rules: Vec<Bytes>,
}

/// With whom this device links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circle {
    /// Whether it links with anybody: it has a grant that counts.
    pub takes_part: bool,
    /// The devices of its site.
    pub devices: BTreeSet<DeviceId>,
    /// Operators who may ask.
    pub operators: BTreeSet<DeviceId>,
}

/// What others may know of a device's place in the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its fleet.
    pub fleet: Option<FleetId>,
    /// The version of the newest root that it knows; 0 for none.
    pub root: u64,
    /// The version of the newest list of what is revoked that it knows; 0 for none.
    pub revocation: u64,
    /// Its own grant, as long as that counts.
    pub grant: Option<Granted>,
}

impl Trust {
    /// Takes newer roots, a newer list of what is revoked, and grants. A device of no fleet belongs from now on to the one that
    /// grants it a place. Gives the version of this device's own grant, if it has one.
    ///
    /// # Errors
    /// See [`TrustError`]: of the fleet, or of this device's own grant. What is wrong with grants of others is only left out.
    pub fn admit(&self, news: &News) -> Result<Option<u64>, TrustError> {
        self.admit_at(news, self.now())
    }

    pub(super) fn admit_at(&self, news: &News, now: Now) -> Result<Option<u64>, TrustError> {
        let mut known = lock(&self.known);
        let (roots, revocation) = (news.roots.clone(), news.revocation.clone());
        let offered = self.learn(&known, &Desired { roots, revocation, ..Desired::default() })?;
        let fleet = offered.fleet.as_ref().ok_or(TrustError::NoFleet)?;
        let belongs = known.fleet.is_some() || self.pinned.is_some();
        if belongs {
            self.keep(&mut known, &offered)?;
        }
        let time_ms = lock(&self.lived).time_ms(now);
        if !(news.grants.is_empty() && news.rules.is_empty()) {
            not_expired("the fleet's root", fleet.root().expires_ms, time_ms)?;
        }
        let mut grants = lock(&self.grants);
        let mut next = grants.clone();
        let list = offered.revocation.as_ref().map(|revoked| &revoked.list);
        // Its own is kept: that it was put out is known by it.
        next.forget(&fleet.id(), |granted| granted.is_void(list) && granted.grant.device != self.device);
        let (mut own, mut refused) = (Ok(()), 0);
        for sealed in &news.grants {
            match next.take(fleet, list, sealed, time_ms) {
                Ok(_) => {}
                Err(error) if is_for(sealed, &self.device) => own = Err(error),
                Err(error) => {
                    tracing::debug!(%error, "a grant of another device was not taken");
                    refused += u32::from(matches!(
                        error,
                        TrustError::Grant(_)
                            | TrustError::Expired { .. }
                            | TrustError::Out(_)
                            | TrustError::Void
                    ));
                }
            }
            // Who hands over what nobody signed, or what is over, has more of it: each takes time.
            if refused == FALSE_GRANTS {
                break;
            }
        }
        let granted = next.get(&self.device).filter(|own| !own.is_void(list)).map(|own| &own.grant);
        if !belongs {
            if granted.is_none() {
                own?;
                return Err(TrustError::NoGrant);
            }
            self.belong(&mut known, &offered, &fleet.id(), "admitted it")?;
        }
        let (version, issued_ms) = granted.map_or((None, 0), |grant| (Some(grant.version), grant.issued_ms));
        if next != *grants {
            // Before it counts.
            next.save(&self.state)?;
            *grants = next;
            self.changed.send_modify(|changes| *changes += 1);
        }
        drop(grants);
        let ruled_ms = self.take_rules(offered.fleet.as_ref(), list, &news.rules, time_ms);
        drop(known);
        let issued_ms = issued_ms.max(*ruled_ms.as_ref().unwrap_or(&0));
        self.told(issued_ms, now)?;
        ruled_ms?;
        own.map(|()| version)
    }

    /// Counts changes of who belongs to the fleet.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// With whom this device links now.
    #[must_use]
    pub fn circle(&self) -> Circle {
        self.circle_at(self.now())
    }

    pub(super) fn circle_at(&self, now: Now) -> Circle {
        let known = lock(&self.known);
        let (Some(fleet), Some(own)) = (&known.fleet, self.standing_of(&known, now).grant) else {
            return Circle::default();
        };
        let time_ms = lock(&self.lived).time_ms(now);
        let list = known.revocation.as_ref().map(|revoked| &revoked.list);
        let counts = |granted: &&Granted| {
            granted.counts(list, time_ms) && granted.grant.shares_a_site_with(&own.grant)
        };
        let devices = lock(&self.grants).all().filter(counts).map(|granted| granted.grant.device).collect();
        Circle { takes_part: true, devices, operators: operators(fleet) }
    }

    /// What is granted to a device that this one links with.
    #[must_use]
    pub fn member(&self, device: &DeviceId) -> Option<Granted> {
        lock(&self.grants).get(device).cloned()
    }

    /// What this device was granted, whether or not it counts now.
    #[must_use]
    pub fn own(&self) -> Option<Granted> {
        self.member(&self.device)
    }

    /// What this device is called: as it was granted, or as it says of itself as long as nobody has admitted it.
    #[must_use]
    pub fn name(&self, says: &str) -> String {
        self.own().map_or_else(|| says.to_owned(), |own| own.grant.name)
    }

    /// The labels that this device was granted, also after the grant's end: what runs does not change by that.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.own().map(|own| own.grant.labels).unwrap_or_default()
    }

    /// Its place in the fleet.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing_of(&lock(&self.known), self.now())
    }

    pub(super) fn standing_of(&self, known: &super::Known, now: Now) -> Standing {
        let time_ms = lock(&self.lived).time_ms(now);
        let list = known.revocation.as_ref().map(|revoked| &revoked.list);
        let own = lock(&self.grants).get(&self.device).cloned();
        let counts = |own: &Granted| own.counts(list, time_ms);
        Standing {
            fleet: known.fleet.as_ref().map(Fleet::id).or_else(|| self.pinned.map(|pinned| pinned.id())),
            root: known.fleet.as_ref().map_or(0, |fleet| fleet.root().version),
            revocation: list.map_or(0, |list| list.version),
            grant: own.filter(counts),
        }
    }

    /// Whether this device was put out of the fleet: by its key, or with what it came in by.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        let known = lock(&self.known);
        self.is_out_by(known.revocation.as_ref().map(|revoked| &revoked.list))
    }

    /// What a device of this fleet has not heard yet that knows so much; `None` when it knows all.
    #[must_use]
    pub fn news_for(&self, fleet: Option<FleetId>, root: u64, revocation: u64) -> Option<News> {
        let known = lock(&self.known);
        let ours = known.fleet.as_ref().filter(|ours| fleet == Some(ours.id()))?;
        let list = known.revocation.as_ref();
        let knows =
            root >= ours.root().version && revocation >= list.map_or(0, |revoked| revoked.list.version);
        let sealed = list.map(|revoked| revoked.sealed.clone());
        // A device that knows no root has not been handed anything, and has nothing to be put out of.
        (!knows && root > 0).then(|| News { roots: known.roots(), revocation: sealed, ..News::default() })
    }
}

fn operators(fleet: &Fleet) -> BTreeSet<DeviceId> {
    fleet.root().roles.assign.keys().iter().copied().collect()
}

fn is_for(sealed: &[u8], device: &DeviceId) -> bool {
    use wayside_config::{cosign::peek, document::Grant};
    peek::<Grant>(sealed).is_ok_and(|grant| grant.device == *device)
}
