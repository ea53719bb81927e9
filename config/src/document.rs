//! The documents that say what runs where, and what operators and devices say to each other. Each travels sealed:
//! what a fleet's operators sign as [`crate::cosign`] says, questions and answers as [`crate::envelope`] does.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    blob::Blob,
    cosign::{Document, Kind},
    hash::hex,
    identity::DeviceId,
    limits::{LABEL_BYTES, LABELS, REVOKED, VERSION_MAX},
    settings::is_device_name,
    workload::{ModuleId, Workload},
};

/// A workload at a version, signed in the role `release`. Says what runs, not where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Higher than every version of this workload before it; at most [`VERSION_MAX`].
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When it was signed: wall clock, milliseconds since the Unix epoch. A device's time never goes below it again.
    pub issued_ms: u64,
    /// From when on no device takes it that has not taken it before; `None` for never. What runs, runs on.
    pub expires_ms: Option<u64>,
    /// What runs.
    pub workload: Workload,
}

impl Document for Release {
    const KIND: Kind = Kind::Release;
}

/// What one device runs, signed by the cloud's key or, on a site without a cloud, in the role `assign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The device this is for; every other one refuses it.
    pub device: DeviceId,
    /// Higher than every version for this device before it; at most [`VERSION_MAX`], and beyond the
    /// current [`crate::limits::NUMBERING`] only where an operator signs.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// Everything that the device runs, by workload name in ascending order.
    pub releases: Vec<ReleaseRef>,
}

impl Document for Assignment {
    const KIND: Kind = Kind::Assignment;
}

/// A release by what it is, not by where it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRef {
    /// The workload's name.
    pub workload: String,
    /// The release's version.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// SHA-256 of the sealed release.
    #[serde(with = "crate::hash::as_bytes")]
    pub sha256: [u8; 32],
    /// All devices of the site that run this workload, so that `site` routes have queues before
    /// anyone is seen. In ascending order of their keys.
    pub members: Vec<Member>,
}

/// A device of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its key.
    pub device: DeviceId,
    /// Its name, as modules see it in topics.
    pub name: String,
    /// Its labels, for routes that choose by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An operator's request to one device over the mesh: signed, for this device, for these minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The device this is for; every other one refuses it.
    pub device: DeviceId,
    /// Wall clock of the asker, milliseconds since the Unix epoch. Refused when more than
    /// [`crate::limits::REQUEST_AGE_MS`] away from the device's clock.
    pub issued_ms: u64,
    /// Chosen at random, so that no two requests are the same: a device answers each only once.
    pub nonce: u64,
    /// What is asked: JSON of the control protocol.
    pub body: String,
}

/// A device's answer to one [`Request`] over the mesh, signed with the device's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// SHA-256 of the sealed request, so that an answer fits one question alone.
    #[serde(with = "crate::hash::as_bytes")]
    pub request: [u8; 32],
    /// The answer: JSON of the control protocol.
    pub body: String,
}

/// An operator's change of what is desired of one module: signed, for one version of one life of its twin, so that it
/// needs no time after which it is void: nobody can have it taken twice, or by another twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwinChange {
    /// The device this is for; every other one refuses it.
    pub device: DeviceId,
    /// The name by which the operator means the device, whose key somebody else may have told: a device of another name
    /// does not take it. `None` when it was meant by its key.
    pub name: Option<String>,
    /// Whose twin.
    pub module: ModuleId,
    /// The life of the twin, as the device told it.
    pub life: u64,
    /// The version of the desired properties that this makes: one above the version that it is a change of.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// A JSON merge patch: see [`crate::patch`].
    pub patch: String,
}

impl Document for TwinChange {
    const KIND: Kind = Kind::TwinChange;
}

/// What does not count any more, signed in the role `admit`. Each list replaces the one before as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Higher than every version of this fleet before it; at most [`VERSION_MAX`].
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When it was signed: wall clock, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// Devices that are out of the fleet.
    #[serde(deserialize_with = "ascending")]
    pub devices: Vec<DeviceId>,
    /// Documents that are taken no more, by the hash of what they say, whoever signs that again.
    #[serde(deserialize_with = "ascending")]
    pub documents: Vec<DocumentId>,
}

impl Document for Revocation {
    const KIND: Kind = Kind::Revocation;
}

impl Revocation {
    /// Whether it puts this device out of the fleet.
    #[must_use]
    pub fn is_out(&self, device: &DeviceId) -> bool {
        self.devices.binary_search(device).is_ok()
    }

    /// Whether this document counts no more.
    #[must_use]
    pub fn is_over(&self, document: &DocumentId) -> bool {
        self.documents.binary_search(document).is_ok()
    }

    /// Whether a grant counts no more: the device is out, or the rule that it came in by is over, or the device that applied that
    /// rule is out.
    #[must_use]
    pub fn is_void(&self, device: &DeviceId, under: Option<(&DocumentId, &DeviceId)>) -> bool {
        self.is_out(device) || under.is_some_and(|(rule, by)| self.is_over(rule) || self.is_out(by))
    }
}

/// A device's place in a fleet, signed in the role `admit` or by the device that a rule names: who shows it and proves the key may link with the devices of its site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The device this is for.
    pub device: DeviceId,
    /// Higher than that of every grant for this device before it; at most [`VERSION_MAX`].
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When it was signed: wall clock, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// From when on it counts no more; `None` for never.
    pub expires_ms: Option<u64>,
    /// What the device is called.
    #[serde(deserialize_with = "device_name")]
    pub name: String,
    /// Its labels.
    #[serde(default, deserialize_with = "labels", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The site whose devices it may link with; `None` for those of all sites.
    #[serde(default, deserialize_with = "site", skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The sealed [`crate::rule::Rule`] that a device gave it under; `None` where operators did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<Blob>,
}

impl Document for Grant {
    const KIND: Kind = Kind::Grant;
}

impl Grant {
    /// Whether the devices of both may link.
    #[must_use]
    pub fn shares_a_site_with(&self, other: &Self) -> bool {
        match (&self.site, &other.site) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether it counts no more at this time.
    #[must_use]
    pub fn has_expired(&self, time_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= time_ms)
    }
}

/// SHA-256 of a document's payload, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentId(#[serde(with = "crate::hash::as_bytes")] pub [u8; 32]);

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A set that has one form: in ascending order, each once, at most [`REVOKED`].
fn ascending<'de, D: Deserializer<'de>, T: Deserialize<'de> + Ord>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::<T>::deserialize(deserializer)?;
    if list.len() > REVOKED || !list.is_sorted_by(|before, after| before < after) {
        return Err(de::Error::custom(format!(
            "a list that is not in ascending order, or names more than {REVOKED}"
        )));
    }
    Ok(list)
}

/// The name of a device, wherever it comes from.
pub(crate) fn device_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_device_name(&name) { Ok(name) } else { Err(de::Error::custom("this is no name of a device")) }
}

pub(crate) fn site<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let site = Option::<String>::deserialize(deserializer)?;
    match site.as_deref().is_none_or(is_device_name) {
        true => Ok(site),
        false => Err(de::Error::custom("this is no name of a site")),
    }
}

/// Labels within their limits.
pub(crate) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
    let is_long = |(label, value): (&String, &String)| label.len().max(value.len()) > LABEL_BYTES;
    if labels.len() > LABELS || labels.iter().any(is_long) {
        return Err(de::Error::custom(format!(
            "more than {LABELS} labels, or one of more than {LABEL_BYTES} bytes"
        )));
    }
    Ok(labels)
}

/// A version within its limit.
pub(crate) fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let version = u64::deserialize(deserializer)?;
    if version > VERSION_MAX {
        return Err(de::Error::custom(format!(
            "version {version} is above {VERSION_MAX}, the highest there is"
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    #[test]
    fn a_grant_names_a_device_that_could_be_called_so_and_a_site() {
        let grant = |name: &str, site: Option<&str>| Grant {
            device: DeviceId::from_bytes([1; 32]),
            version: 1,
            issued_ms: 5,
            expires_ms: Some(10),
            name: name.into(),
            labels: BTreeMap::from([("plant".into(), "p7".into())]),
            site: site.map(Into::into),
            under: None,
        };
        let read = |grant: &Grant| cbor::decode::<Grant>(&cbor::encode(grant));
        let (everywhere, hall, yard) =
            (grant("ewr", None), grant("ewr", Some("hall")), grant("ewr", Some("yard")));
        for good in [&everywhere, &hall] {
            assert_eq!(read(good).as_ref(), Ok(good));
        }
        assert!(read(&grant("e w r", None)).is_err() && read(&grant("ewr", Some("../x"))).is_err());
        let long = Grant { labels: BTreeMap::from([("x".repeat(300), "".into())]), ..grant("ewr", None) };
        assert!(read(&long).is_err());
        assert!(everywhere.shares_a_site_with(&hall) && hall.shares_a_site_with(&hall));
        assert!(!hall.shares_a_site_with(&yard));
        assert!(!hall.has_expired(9) && hall.has_expired(10));
    }

    #[test]
    fn versions_beyond_the_highest_are_refused_where_they_are_read() {
        let device = DeviceId::from_bytes([1; 32]);
        let assignment = |version| cbor::encode(&Assignment { device, version, releases: Vec::new() });
        assert_eq!(cbor::decode::<Assignment>(&assignment(VERSION_MAX)).unwrap().version, VERSION_MAX);
        for version in [VERSION_MAX + 1, u64::MAX] {
            assert!(cbor::decode::<Assignment>(&assignment(version)).is_err());
            let reference =
                ReleaseRef { workload: "w".into(), version, sha256: [0; 32], members: Vec::new() };
            assert!(cbor::decode::<ReleaseRef>(&cbor::encode(&reference)).is_err());
        }
    }
}
