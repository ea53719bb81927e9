//! What a device says to everybody on its LAN, also before it belongs to anybody: who it is and where it is reached.
//!
//! ```text
//! packet = "wayside" version (1 byte) length of the hello (2 bytes, big-endian) sealed hello, sealed grant or nothing
//! who    = "wayside" version, and nothing more: whoever hears it says its hello again
//! ```
//!
//! Only the key is proven by it. The grant proves itself, to whoever knows the fleet.

use std::{collections::BTreeMap, net::SocketAddrV4};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    blob::Blob,
    document::{device_name, labels},
    envelope::{self, EnvelopeError, Kind},
    identity::{DeviceId, FleetId},
    limits::{GRANT_BYTES, HELLO_BYTES},
    signer::Signer,
};

/// What every packet begins with. The last byte is the version.
const MAGIC: [u8; 8] = *b"wayside\x01";

/// The question who is there.
pub const WHO: [u8; 8] = MAGIC;

/// The largest packet.
pub const PACKET_BYTES: usize = MAGIC.len() + 2 + HELLO_BYTES + GRANT_BYTES;

/// Addresses of one device that a hello names, at most.
pub const ADDRESSES: usize = 8;

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its key, which signs.
    pub device: DeviceId,
    /// A number that each run of the daemon chooses at random: where two take turns, two have the key.
    pub run: u64,
    /// Higher with each hello of this run.
    pub number: u64,
    /// What it wants to be called, or is called.
    #[serde(deserialize_with = "device_name")]
    pub name: String,
    /// Its labels; none where they are too many for a hello.
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// The fleet that it belongs to, or waits for.
    pub fleet: Option<FleetId>,
    /// The version of the newest root that it knows; 0 for none.
    pub root: u64,
    /// The version of the newest list of what is revoked that it knows; 0 for none.
    pub revocation: u64,
    /// The version of the newest assignment that it took; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub assigned: u64,
    /// The TCP port at which it takes grants.
    pub port: u16,
    /// Where members reach it.
    #[serde(deserialize_with = "addresses")]
    pub mesh: Vec<SocketAddrV4>,
    /// What shows that it has a join token: see [`crate::rule::Token::prove`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Blob>,
}

/// A packet of a LAN, of whose hello the signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Somebody asks who is there.
    Who,
    /// A device says who it is.
    Hello {
        /// What it says.
        hello: Box<Hello>,
        /// Its sealed [`crate::document::Grant`], unverified.
        grant: Option<Vec<u8>>,
    },
}

/// Why a packet is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It is something else.
    #[error("this is no packet of a lobby")]
    Malformed,
    /// The hello is not sealed as it must be.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Signed by another one than it says.
    #[error("it is signed by another key than its own")]
    Other,
}

impl Hello {
    /// The packet that says this. Labels that have no room are left out.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn seal(&self, signer: &dyn Signer, grant: Option<&[u8]>) -> Result<Vec<u8>, EnvelopeError> {
        let sealed = match envelope::seal(signer, Kind::Hello, self) {
            Err(EnvelopeError::TooLarge { .. }) if !self.labels.is_empty() => {
                let short = Self { labels: BTreeMap::new(), ..self.clone() };
                envelope::seal(signer, Kind::Hello, &short)?
            }
            sealed => sealed?,
        };
        let length = u16::try_from(sealed.len()).unwrap_or(u16::MAX).to_be_bytes();
        Ok([&MAGIC[..], &length, &sealed, grant.unwrap_or_default()].concat())
    }
}

/// Who says to have sent a packet; `None` when nobody does, or it is none. Costs next to nothing, and proves nothing.
#[must_use]
pub fn claimed_sender(packet: &[u8]) -> Option<DeviceId> {
    let (sealed, _) = split(packet).ok()??;
    envelope::claimed_signer(sealed).ok()
}

/// Reads a packet and verifies its hello.
///
/// # Errors
/// See [`PacketError`].
pub fn open(packet: &[u8]) -> Result<Packet, PacketError> {
    let Some((sealed, grant)) = split(packet)? else { return Ok(Packet::Who) };
    let sender = envelope::claimed_signer(sealed)?;
    let (_, hello) = envelope::open::<Hello>(sealed, Kind::Hello, &[sender])?;
    if hello.device != sender {
        return Err(PacketError::Other);
    }
    let grant = (!grant.is_empty()).then(|| grant.to_vec());
    Ok(Packet::Hello { hello: Box::new(hello), grant })
}

/// A sealed hello and a sealed grant.
type Parts<'a> = (&'a [u8], &'a [u8]);

/// What is in a packet; `None` for the question who is there.
fn split(packet: &[u8]) -> Result<Option<Parts<'_>>, PacketError> {
    let rest = packet.strip_prefix(&MAGIC).filter(|_| packet.len() <= PACKET_BYTES);
    let rest = rest.ok_or(PacketError::Malformed)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(PacketError::Malformed)?;
    let (sealed, grant) =
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(PacketError::Malformed)?;
    if grant.len() > GRANT_BYTES {
        return Err(PacketError::Malformed);
    }
    Ok(Some((sealed, grant)))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddrV4>, D::Error> {
    let addresses = Vec::<SocketAddrV4>::deserialize(deserializer)?;
    if addresses.len() > ADDRESSES {
        return Err(de::Error::custom(format!("more than {ADDRESSES} addresses")));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn hello() -> Hello {
        Hello {
            device: key(1).key(),
            run: 7,
            number: 1,
            name: "ewr".into(),
            labels: BTreeMap::from([("plant".into(), "p7".into())]),
            fleet: Some(FleetId::from_bytes([3; 32])),
            root: 2,
            revocation: 0,
            assigned: 5,
            port: 7448,
            mesh: vec!["192.168.1.5:7447".parse().unwrap()],
            proof: Some(Blob(vec![7; 200])),
        }
    }

    #[test]
    fn a_packet_says_what_was_put_in_and_only_in_its_own_name() {
        let packet = hello().seal(&key(1), Some(b"grant")).unwrap();
        assert_eq!(claimed_sender(&packet), Some(key(1).key()));
        let expected = Packet::Hello { hello: Box::new(hello()), grant: Some(b"grant".to_vec()) };
        assert_eq!(open(&packet), Ok(expected));
        assert_eq!(open(&hello().seal(&key(2), None).unwrap()), Err(PacketError::Other));
        assert_eq!(open(&WHO), Ok(Packet::Who));
        assert_eq!(open(b"wayside\x02"), Err(PacketError::Malformed));
    }

    #[test]
    fn any_changed_byte_of_a_hello_is_noticed() {
        let packet = hello().seal(&key(1), None).unwrap();
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert!(open(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn labels_that_have_no_room_are_left_out_and_what_is_too_large_is_refused() {
        let many = (0..100).map(|number| (format!("label-{number}"), "x".repeat(200))).collect();
        let packet = Hello { labels: many, ..hello() }.seal(&key(1), None).unwrap();
        let Ok(Packet::Hello { hello, .. }) = open(&packet) else { panic!("no hello") };
        assert!(hello.labels.is_empty() && hello.name == "ewr");
        let large = hello.seal(&key(1), Some(&[0; GRANT_BYTES + 1])).unwrap();
        assert_eq!(open(&large), Err(PacketError::Malformed));
        let wide = Hello { mesh: vec!["10.0.0.1:1".parse().unwrap(); ADDRESSES + 1], ..*hello };
        assert!(open(&wide.seal(&key(1), None).unwrap()).is_err());
    }
}
