//! What operators signed for other devices of the site: verified before it is kept for them, as they will verify it themselves.

use std::collections::BTreeSet;

use bytes::Bytes;
use wayside_actors::frame::Desired;
use wayside_config::{
    document::{Assignment, Release, Revocation},
    hash::sha256,
};

use super::{Trust, TrustError, lock, refusal::not_expired};
use crate::{
    control::Now,
    copies::{Copied, Copy},
};

impl Trust {
    /// Checks that enough operators signed what is to be kept for another device, and that the device is of this one's site.
    ///
    /// # Errors
    /// See [`TrustError`]. A newer root that holds is kept all the same.
    pub fn verify_copy(&self, desired: &Desired) -> Result<Copied, TrustError> {
        self.verify_copy_at(desired, self.now())
    }

    pub(super) fn verify_copy_at(&self, desired: &Desired, now: Now) -> Result<Copied, TrustError> {
        let mut known = lock(&self.known);
        let offered = self.learn(&known, desired)?;
        let Some(fleet) = offered.fleet.as_ref().filter(|_| known.fleet.is_some()) else {
            return Err(TrustError::NoFleet);
        };
        self.keep(&mut known, &offered)?;
        let (_, assignment) =
            fleet.verify::<Assignment>(&desired.assignment).map_err(TrustError::Assignment)?;
        not_expired("the fleet's root", fleet.root().expires_ms, lock(&self.lived).time_ms(now))?;
        let named: BTreeSet<[u8; 32]> = assignment.releases.iter().map(|named| named.sha256).collect();
        let releases: Vec<Bytes> =
            desired.releases.iter().filter(|sealed| named.contains(&sha256(sealed))).cloned().collect();
        for sealed in &releases {
            fleet.verify::<Release>(sealed).map_err(TrustError::Release)?;
        }
        let list = offered.revocation.as_ref().map(|revoked| &revoked.list);
        self.check_of_site(&assignment, list)?;
        let sealed = Copy { assignment: desired.assignment.clone(), releases };
        Ok(Copied { assignment, sealed })
    }

    /// A grant that has ended may be given again while the device is away; one that is revoked is not.
    fn check_of_site(&self, assignment: &Assignment, list: Option<&Revocation>) -> Result<(), TrustError> {
        let grants = lock(&self.grants);
        let own = grants.get(&self.device).filter(|own| !own.is_void(list));
        let other = grants.get(&assignment.device).filter(|granted| !granted.is_void(list));
        let shares = match (own, other) {
            (Some(own), Some(other)) => other.grant.shares_a_site_with(&own.grant),
            (_, None) | (None, _) => false,
        };
        if shares && assignment.device != self.device {
            Ok(())
        } else {
            Err(TrustError::NotOfTheSite(assignment.device))
        }
    }
}
