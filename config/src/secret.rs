//! Secrets: which of them a module gets is in its release, and their values are not. A value reaches each device in a document of
//! its own, which enough operators of the role `assign` have signed, and which that device alone can open.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    cosign::{Document, Kind},
    document::version,
    identity::{DeviceId, FleetId},
    limits::SECRET_BYTES,
    workload::is_name,
};

/// Permissions of a secret's file where nobody says otherwise, as in Compose.
pub const MODE: u32 = 0o444;

/// What a sealed value has beyond the value itself.
pub const TAG_BYTES: usize = 16;

/// A secret of a module: a file in `/run/secrets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretMount {
    /// The secret, as operators set it.
    #[serde(deserialize_with = "name")]
    pub secret: String,
    /// The file's name there: no path, whoever signed it.
    #[serde(deserialize_with = "name")]
    pub file: String,
    /// The file's owner; `None` for the daemon's user.
    pub uid: Option<u32>,
    /// The file's group.
    pub gid: Option<u32>,
    /// The file's permissions, at most 0o777.
    #[serde(deserialize_with = "mode")]
    pub mode: u32,
}

/// Which secret. That of a workload comes before the one for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretName {
    /// The workload whose modules alone may have it; `None` for those of all.
    #[serde(deserialize_with = "workload")]
    pub workload: Option<String>,
    /// Its name.
    #[serde(deserialize_with = "name")]
    pub secret: String,
}

/// Sets a secret on one device, or removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretChange {
    /// The device this is for; every other one refuses it, and cannot open it.
    pub device: DeviceId,
    /// Higher than that of every change of a secret that this device took before, of whichever secret.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// Which secret.
    pub secret: SecretName,
    /// The value; `None` to remove the secret.
    pub value: Option<SealedValue>,
}

impl Document for SecretChange {
    const KIND: Kind = Kind::Secret;
}

/// A value that its device alone can open.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedValue {
    /// The sender's X25519 key, made for this value alone.
    #[serde(with = "crate::hash::as_bytes")]
    pub sender: [u8; 32],
    /// ChaCha20-Poly1305, at most [`SECRET_BYTES`] and [`TAG_BYTES`].
    pub sealed: Ciphertext,
}

/// Bytes that say nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Ciphertext(pub Vec<u8>);

impl SecretChange {
    /// What the value is bound to: it opens for this fleet, device, secret and version alone.
    #[must_use]
    pub fn binding(&self, fleet: &FleetId) -> Vec<u8> {
        let workload = self.secret.workload.as_deref().unwrap_or_default();
        let version = self.version.to_be_bytes();
        // No name has a slash, and all before the names has one length.
        let names = format!("{workload}/{}", self.secret.secret);
        [
            b"wayside/v2/secret-value",
            &fleet.as_bytes()[..],
            self.device.as_bytes(),
            &version,
            names.as_bytes(),
        ]
        .concat()
    }
}

/// Whether this can name a secret, and a file: 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
#[must_use]
pub fn is_secret_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.workload {
            Some(workload) => write!(f, "{workload}/{}", self.secret),
            None => f.write_str(&self.secret),
        }
    }
}

/// Without what is in it.
impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue({} bytes)", self.sealed.0.len())
    }
}

impl Serialize for Ciphertext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Ciphertext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl de::Visitor<'_> for Bytes {
    type Value = Ciphertext;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a sealed value of at most {SECRET_BYTES} bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Ciphertext, E> {
        self.visit_byte_buf(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Ciphertext, E> {
        match bytes.len() {
            TAG_BYTES.. if bytes.len() <= SECRET_BYTES + TAG_BYTES => Ok(Ciphertext(bytes)),
            length => Err(de::Error::invalid_length(length, &self)),
        }
    }
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_secret_name(&name) { Ok(name) } else { Err(de::Error::custom("this is no name of a secret")) }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let mode = u32::deserialize(deserializer)?;
    if mode <= 0o777 { Ok(mode) } else { Err(de::Error::custom("these are no permissions")) }
}

fn workload<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let workload = Option::<String>::deserialize(deserializer)?;
    match workload.as_deref().is_none_or(is_name) {
        true => Ok(workload),
        false => Err(de::Error::custom("this is no name of a workload")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cbor, limits::VERSION_MAX};

    fn change(workload: Option<&str>, secret: &str, version: u64, bytes: usize) -> SecretChange {
        let secret = SecretName { workload: workload.map(Into::into), secret: secret.into() };
        let value = SealedValue { sender: [3; 32], sealed: Ciphertext(vec![7; bytes]) };
        SecretChange { device: DeviceId::from_bytes([1; 32]), version, secret, value: Some(value) }
    }

    fn is_read(change: &SecretChange) -> bool {
        cbor::decode::<SecretChange>(&cbor::encode(change)).is_ok_and(|read| read == *change)
    }

    #[test]
    fn a_change_has_names_a_version_and_a_size_that_could_be() {
        for good in
            [change(None, "token", 1, 16), change(Some("grid"), "a.b-C_1", VERSION_MAX, SECRET_BYTES + 16)]
        {
            assert!(is_read(&good));
        }
        for bad in [
            change(None, "../token", 1, 16),
            change(None, "", 1, 16),
            change(None, ".hidden", 1, 16),
            change(Some("Grid"), "token", 1, 16),
            change(None, "token", VERSION_MAX + 1, 16),
            change(None, "token", 1, 15),
            change(None, "token", 1, SECRET_BYTES + 17),
        ] {
            assert!(!is_read(&bad), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_of_a_module_is_no_path_whoever_signed_it() {
        let mount = |secret: &str, file: &str, mode| SecretMount {
            secret: secret.into(),
            file: file.into(),
            uid: None,
            gid: None,
            mode,
        };
        let is_read =
            |mount: &SecretMount| cbor::decode::<SecretMount>(&cbor::encode(mount)).as_ref() == Ok(mount);
        assert!(is_read(&mount("token", "tls.key", 0o400)));
        for bad in [
            mount("token", "../x", MODE),
            mount("token", "/x", MODE),
            mount("a/b", "x", MODE),
            mount("a", "b", 0o4755),
        ] {
            assert!(!is_read(&bad), "{bad:?}");
        }
    }

    #[test]
    fn no_two_changes_have_one_binding() {
        let fleet = FleetId::from_bytes([4; 32]);
        let all =
            [change(None, "token", 1, 16), change(Some("a"), "token", 1, 16), change(None, "token", 2, 16)];
        let mut bindings: Vec<_> = all.iter().map(|change| change.binding(&fleet)).collect();
        bindings.push(all[0].binding(&FleetId::from_bytes([5; 32])));
        bindings
            .push(SecretChange { device: DeviceId::from_bytes([2; 32]), ..all[0].clone() }.binding(&fleet));
        bindings.sort();
        bindings.dedup();
        assert_eq!(bindings.len(), 5);
    }

    #[test]
    fn what_is_sealed_is_in_no_log() {
        assert_eq!(format!("{:?}", change(None, "token", 1, 16).value), "Some(SealedValue(16 bytes))");
    }
}
