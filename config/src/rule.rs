//! Rules by which one device admits others in place of the operators, who signed the rule: with a join token, or for whoever says
//! of itself what the rule asks for.
//!
//! A rule names the device that applies it, which alone counts how often it was used. What that device signs under it is a
//! [`Grant`] that carries the rule, so that everybody can see that it gives no more than the operators allowed.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, str::FromStr};

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    blob::Blob,
    cosign::{self, CosignError, Document, Kind},
    document::{DocumentId, Grant, labels, site},
    fleet::Fleet,
    identity::{BadFleetId, BadPublicKey, DeviceId, FleetId, PublicKey},
    limits::MEMBERS,
    quorum::Quorum,
    signer::Signer,
};

/// Whom a device may admit, signed in the role `admit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The device that applies it. Grants under it are signed by its key.
    pub by: DeviceId,
    /// When it was signed: wall clock, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// From when on nobody is admitted under it; who was stays. `None` for never.
    pub expires_ms: Option<u64>,
    /// The token's key, which a device has to prove; `None` for a standing rule, under which nothing has to be proven.
    pub token: Option<PublicKey>,
    /// How many devices it admits, from 1 to [`MEMBERS`]; `None` for any number.
    #[serde(deserialize_with = "uses")]
    pub uses: Option<u64>,
    /// Labels that a device has to say of itself.
    #[serde(deserialize_with = "labels")]
    pub when: BTreeMap<String, String>,
    /// Labels that it is given besides these. Of what else it says of itself nothing counts but its name.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// The site that it is given.
    #[serde(default, deserialize_with = "site", skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

impl Document for Rule {
    const KIND: Kind = Kind::Rule;
}

/// What a token's key signs: that this device may come in with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joining {
    /// The device.
    pub device: DeviceId,
}

impl Document for Joining {
    const KIND: Kind = Kind::Joining;
}

/// A sealed rule and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// As it travels.
    pub sealed: Vec<u8>,
    /// What names it.
    pub id: DocumentId,
    /// What it says.
    pub rule: Rule,
}

/// A join token: whoever has its text may come in, as the rule of its key says. It names the fleet, so that a device that has it joins no other.
#[derive(Clone)]
pub struct Token {
    /// The fleet.
    pub fleet: FleetId,
    key: SigningKey,
}

/// The text is no join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a join token: a fleet, a dot and 52 characters, as `wayside token new` prints it")]
pub struct BadToken;

/// Why a grant does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It is not signed by enough of those who may admit, or not by the device that its rule names; or it was changed.
    #[error("{0}")]
    Grant(CosignError),
    /// Its rule is not signed by enough of those who may admit, or was changed.
    #[error("its rule: {0}")]
    Rule(CosignError),
    /// It gives more than its rule allows, or gave it at another time.
    #[error("its rule does not allow {0}")]
    Beyond(&'static str),
}

impl Rule {
    /// The labels of whoever is admitted under it.
    #[must_use]
    pub fn given(&self) -> BTreeMap<String, String> {
        self.when.iter().chain(&self.labels).map(|(label, value)| (label.clone(), value.clone())).collect()
    }

    /// Whether a device that says so of itself may come in, as far as that goes.
    #[must_use]
    pub fn suits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.when.iter().all(|(label, value)| labels.get(label) == Some(value))
    }

    /// Whether nobody is admitted under it any more at this time.
    #[must_use]
    pub fn has_expired(&self, time_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= time_ms)
    }

    fn allows(&self, grant: &Grant) -> Result<(), GrantError> {
        let Grant { device, version: _, issued_ms, expires_ms: _, name: _, labels, site, under: _ } = grant;
        let beyond = |what, is_so: bool| if is_so { Err(GrantError::Beyond(what)) } else { Ok(()) };
        beyond("that it is for the device that admits", *device == self.by)?;
        beyond("these labels", *labels != self.given())?;
        beyond("this site", *site != self.site)?;
        beyond("this time", *issued_ms < self.issued_ms || self.has_expired(*issued_ms))
    }
}

impl Signed {
    /// Reads a rule that enough have signed of those who may admit.
    ///
    /// # Errors
    /// See [`CosignError`].
    pub fn open(fleet: &Fleet, sealed: &[u8]) -> Result<Self, CosignError> {
        let (_, rule) = fleet.verify::<Rule>(sealed)?;
        Self::of(sealed, rule)
    }

    /// Reads a rule that was verified before, whoever may sign now.
    ///
    /// # Errors
    /// See [`CosignError`].
    pub fn inspect(fleet: &FleetId, sealed: &[u8]) -> Result<Self, CosignError> {
        let (_, rule) = cosign::inspect::<Rule>(fleet, sealed)?;
        Self::of(sealed, rule)
    }

    fn of(sealed: &[u8], rule: Rule) -> Result<Self, CosignError> {
        let id = DocumentId(cosign::payload_hash(Kind::Rule, sealed)?);
        Ok(Self { sealed: sealed.to_vec(), id, rule })
    }
}

/// Verifies a grant: enough operators have signed it, or the device has that a rule names which they have signed. Gives
/// what it says, and the rule.
///
/// # Errors
/// See [`GrantError`].
pub fn verify_grant(fleet: &Fleet, sealed: &[u8]) -> Result<(Grant, Option<Signed>), GrantError> {
    let claimed = cosign::peek::<Grant>(sealed).map_err(GrantError::Grant)?;
    let Some(under) = claimed.under else {
        let (_, grant) = fleet.verify::<Grant>(sealed).map_err(GrantError::Grant)?;
        return Ok((grant, None));
    };
    let signed = Signed::open(fleet, &under.0).map_err(GrantError::Rule)?;
    let by = Quorum::one(signed.rule.by);
    let (_, grant) = cosign::open::<Grant>(&fleet.id(), sealed, &by).map_err(GrantError::Grant)?;
    signed.rule.allows(&grant)?;
    Ok((grant, Some(signed)))
}

/// The rule that a grant was given under, which was verified before.
#[must_use]
pub fn under(fleet: &FleetId, grant: &Grant) -> Option<Signed> {
    Signed::inspect(fleet, &grant.under.as_ref()?.0).ok()
}

impl Token {
    /// A token of this fleet from 32 random bytes.
    #[must_use]
    pub fn new(fleet: FleetId, seed: &[u8; 32]) -> Self {
        Self { fleet, key: SigningKey::from_bytes(seed) }
    }

    /// What others know it by.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        Signer::key(&self.key)
    }

    /// What shows that the device has the token, and helps nobody else.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn prove(&self, device: DeviceId) -> Result<Blob, CosignError> {
        cosign::seal(&self.fleet, &Joining { device }, &self.key).map(Blob)
    }

    /// Its text, which is a secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        // A seed is written as a key is.
        format!("{}.{}", self.fleet, PublicKey::from_bytes(self.key.to_bytes()))
    }
}

/// Whether `proof` shows that `device` has the token of this key.
#[must_use]
pub fn proves(fleet: &FleetId, token: PublicKey, device: DeviceId, proof: &[u8]) -> bool {
    cosign::open::<Joining>(fleet, proof, &Quorum::one(token))
        .is_ok_and(|(_, joining)| joining.device == device)
}

/// Shows which fleet, and not the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of fleet {}", self.fleet.short())
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.fleet == other.fleet && self.key() == other.key()
    }
}

impl Eq for Token {}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (fleet, seed) = text.trim().split_once('.').ok_or(BadToken)?;
        let fleet = fleet.parse().map_err(|BadFleetId| BadToken)?;
        let seed: PublicKey = seed.parse().map_err(|BadPublicKey| BadToken)?;
        Ok(Self::new(fleet, seed.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn uses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let uses = Option::<u64>::deserialize(deserializer)?;
    match uses {
        Some(uses) if uses == 0 || uses > MEMBERS as u64 => {
            Err(de::Error::custom(format!("a rule is for 1 to {MEMBERS} devices")))
        }
        Some(_) | None => Ok(uses),
    }
}
