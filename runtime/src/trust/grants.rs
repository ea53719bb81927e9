//! Which devices belong to the fleet, this one among them: their grants, kept on the disk before they count.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wayside_config::{
    cosign::{self, Kind},
    document::{DocumentId, Grant, Revocation},
    fleet::Fleet,
    identity::{DeviceId, FleetId},
    limits::MEMBERS,
    rule::{self, GrantError, Signed, verify_grant},
};

use super::TrustError;
use crate::state::{Found, StateFolder};

const FILE: &str = "grants";
const VERSION: u16 = 1;

/// A grant that those had signed who may, when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// As it travels.
    pub sealed: Bytes,
    /// What it says.
    pub grant: Grant,
    /// The rule that it was given under, and the device that did; `None` where operators did.
    pub under: Option<(DocumentId, DeviceId)>,
    /// Whose it is.
    pub fleet: FleetId,
}

impl Granted {
    pub(super) fn new(fleet: FleetId, sealed: Bytes, grant: Grant, signed: Option<&Signed>) -> Self {
        Self { fleet, sealed, grant, under: signed.map(|signed| (signed.id, signed.rule.by)) }
    }

    /// Whether it counts at this time, by this list of what is revoked.
    pub(super) fn counts(&self, list: Option<&Revocation>, time_ms: u64) -> bool {
        !self.is_void(list) && !self.grant.has_expired(time_ms)
    }

    /// Whether it counts no more by this list: of the device, of the rule, or of the device that applied that.
    pub(super) fn is_void(&self, list: Option<&Revocation>) -> bool {
        let under = self.under.as_ref().map(|(rule, by)| (rule, by));
        list.is_some_and(|list| list.is_void(&self.grant.device, under))
    }
}

/// All that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants(BTreeMap<DeviceId, Granted>);

#[derive(Serialize, Deserialize)]
struct Written {
    grants: Vec<Bytes>,
}

impl Grants {
    /// Reads what is kept for this fleet. The text is a problem to show.
    pub(super) fn load(state: &StateFolder, fleet: Option<&Fleet>) -> (Self, Option<String>) {
        let written = match state.read::<Written>(FILE, VERSION) {
            Found::Nothing => return (Self::default(), None),
            Found::Whole(written) => written,
            Found::Damaged(problem) => {
                let help = "this device and its neighbours have to be admitted again: `wayside approve`";
                return (Self::default(), Some(format!("{problem}; {help}")));
            }
        };
        let Some(fleet) = fleet.map(Fleet::id) else { return (Self::default(), None) };
        // Whether enough had signed was asked when they came, and the keys may be others by now. Those of another fleet are not read.
        let opened = written.grants.into_iter().filter_map(|sealed| {
            let (_, grant) = cosign::inspect::<Grant>(&fleet, &sealed).ok()?;
            let signed = rule::under(&fleet, &grant);
            Some((grant.device, Granted::new(fleet, sealed, grant, signed.as_ref())))
        });
        (Self(opened.collect()), None)
    }

    /// Replaces what is kept as a whole.
    pub(super) fn save(&self, state: &StateFolder) -> io::Result<()> {
        let grants = self.0.values().map(|granted| granted.sealed.clone()).collect();
        state.write(FILE, VERSION, &Written { grants })
    }

    pub(super) fn get(&self, device: &DeviceId) -> Option<&Granted> {
        self.0.get(device)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Granted> {
        self.0.values()
    }

    /// Takes a grant in that is newer than what is known of its device, and that counts by this list of what is revoked.
    /// `None` when that is known already. What operators granted gives way to their own word alone, and comes before what a device granted by a
    /// rule; what was granted by a rule gives way to no other rule as long as it counts; all that whatever the versions: those who have the key of a
    /// device that applies a rule would else take places away from others, or keep them for ever.
    pub(super) fn take(
        &mut self,
        fleet: &Fleet,
        list: Option<&Revocation>,
        sealed: &Bytes,
        time_ms: u64,
    ) -> Result<Option<DeviceId>, TrustError> {
        let wrong = |error| TrustError::Grant(GrantError::Grant(error));
        let peeked = cosign::peek::<Grant>(sealed).map_err(wrong)?;
        // What is not a rule is refused below.
        let rule = peeked
            .under
            .as_ref()
            .map(|under| cosign::payload_hash(Kind::Rule, &under.0).map(DocumentId).ok());
        let is_other =
            |known: &Granted| rule.is_some() && rule != Some(known.under.as_ref().map(|(rule, _)| *rule));
        match self.0.get(&peeked.device) {
            Some(known) if known.sealed == *sealed => return Ok(None),
            // By operators.
            Some(known) if known.under.is_some() && rule.is_none() => {}
            Some(known) if is_other(known) && known.counts(list, time_ms) => {
                return Err(TrustError::Approved);
            }
            Some(known) if is_other(known) || known.is_void(list) => {}
            Some(known) if known.grant.version >= peeked.version => {
                return Err(TrustError::OlderGrant(peeked.version, known.grant.version));
            }
            Some(_) => {}
            None if self.0.len() >= MEMBERS => return Err(TrustError::TooManyMembers),
            None => {}
        }
        let (grant, signed) = verify_grant(fleet, sealed).map_err(TrustError::Grant)?;
        super::not_expired("the grant", grant.expires_ms, time_ms)?;
        let device = grant.device;
        let granted = Granted::new(fleet.id(), sealed.clone(), grant, signed.as_ref());
        if granted.is_void(list) {
            let is_out = list.is_some_and(|list| list.is_out(&device));
            return Err(if is_out { TrustError::Out(fleet.id()) } else { TrustError::Void });
        }
        self.0.insert(device, granted);
        Ok(Some(device))
    }

    /// Forgets those that are of another fleet, or count no more: they leave room for others.
    pub(super) fn forget(&mut self, fleet: &FleetId, mut is_out: impl FnMut(&Granted) -> bool) {
        self.0.retain(|_, granted| granted.fleet == *fleet && !is_out(granted));
    }
}
