//! What a device did that takes a right to do, in a chain that shows when something was changed or left out.
//!
//! Each entry is signed by the device and names the hash of the one before (as Crosby and Wallach, "Efficient Data
//! Structures for Tamper-Evident Logging", 2009, section 2, describe for a hash chain). A log in a file or on the wire is
//! its sealed entries one after the other, each after its length in 4 bytes, big-endian.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{
    envelope::{self, EnvelopeError, Kind},
    hash::{self, sha256},
    identity::{DeviceId, PublicKey},
    limits::AUDIT_ENTRY_BYTES,
    signer::Signer,
};

/// The bytes of the length before each entry.
pub const LENGTH_BYTES: usize = 4;

/// The most bytes of [`Entry::text`]; what is longer is cut.
pub const TEXT_BYTES: usize = 1024;

/// One act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number in the log, from 1 on.
    pub seq: u64,
    /// SHA-256 of the sealed entry before; zeros before the first.
    #[serde(with = "hash::as_bytes")]
    pub previous: [u8; 32],
    /// When: the device's wall clock in milliseconds.
    pub time_ms: u64,
    /// What was done.
    pub act: Act,
    /// By which way it was asked for.
    pub way: Way,
    /// Whose signatures asked for it; empty where nobody's had to.
    pub by: Vec<PublicKey>,
    /// In words. No secret, and no body of a call.
    pub text: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The daemon started; or the log began anew, and the text says why.
    Started,
    /// The device belongs to a fleet, or knows a newer root of it.
    Fleet,
    /// Desired state was taken. Of what a cloud alone assigns anew at most thirty in an hour; the text counts the others.
    Desired,
    /// A method of a module or of the device was called, or a module restarted.
    Call,
    /// What is desired of a module was changed.
    Twin,
    /// A secret was set or removed. Its value is not in the text.
    Secret,
    /// Updates were held back, or let go on; or a version was taken back.
    Update,
    /// Somebody read what a module wrote. At most once an hour of each reader and module.
    Logs,
    /// Somebody read this log. At most once an hour of each reader.
    Audit,
    /// Something was asked for and refused. At most once in ten minutes; the text counts what came between.
    Refused,
    /// Acts before this one could not be recorded; the text says how many and why.
    Lost,
}

/// By which way something was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Not asked for by anybody.
    Own,
    /// On the device itself, over the control socket, which its owner alone may use.
    Local,
    /// Over the LAN.
    Lan,
    /// Through the cloud.
    Cloud,
}

/// Where a log stands: what the next entry follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last entry; 0 before the first.
    pub seq: u64,
    /// SHA-256 of the last sealed entry; zeros before the first.
    #[serde(with = "hash::as_bytes")]
    pub hash: [u8; 32],
}

/// Why a log does not prove what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// It ends in the middle of an entry.
    #[error("entry {0} is cut short")]
    Truncated(u64),
    /// Longer than any entry.
    #[error("entry {0} would have {1} bytes, more than the limit of {AUDIT_ENTRY_BYTES}")]
    TooLarge(u64, usize),
    /// Not signed by the device, or changed.
    #[error("entry {0}: {1}")]
    Envelope(u64, EnvelopeError),
    /// Entries are missing, doubled or out of order.
    #[error("after entry {after} comes entry {found}: entries between them were taken away or put in")]
    Gap {
        /// The number of the last good entry.
        after: u64,
        /// The number that follows.
        found: u64,
    },
    /// The entry before is not the one that this entry followed.
    #[error("entry {0} does not follow the entry before it, but another one: the log was changed")]
    Forked(u64),
    /// Something was signed as an entry that is none.
    #[error("entry {0} is not understood: use a `wayside` of the device's version")]
    Unknown(u64),
}

impl Head {
    /// Signs an entry that follows, and gives the head after it. The entry's number and predecessor are filled in.
    ///
    /// # Errors
    /// [`EnvelopeError::Signer`].
    pub fn seal(self, signer: &dyn Signer, entry: Entry) -> Result<(Vec<u8>, Self), EnvelopeError> {
        let mut entry = Entry { seq: self.seq.saturating_add(1), previous: self.hash, ..entry };
        cut(&mut entry.text);
        let sealed = envelope::seal(signer, Kind::Audit, &entry)?;
        let hash = sha256(&sealed);
        Ok((sealed, Self { seq: entry.seq, hash }))
    }

    /// Verifies that `sealed` is the device's and follows.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub fn open(self, device: DeviceId, sealed: &[u8]) -> Result<(Entry, Self), AuditError> {
        let seq = self.seq.saturating_add(1);
        let entry = open(device, sealed, seq)?;
        if entry.seq != seq {
            return Err(AuditError::Gap { after: self.seq, found: entry.seq });
        }
        if entry.previous != self.hash {
            return Err(AuditError::Forked(entry.seq));
        }
        Ok((entry, Self { seq, hash: sha256(sealed) }))
    }

    /// Begins with an entry whose predecessors are not at hand: older ones are dropped when the log is full.
    ///
    /// # Errors
    /// See [`AuditError`].
    pub fn begin(device: DeviceId, sealed: &[u8]) -> Result<(Entry, Self), AuditError> {
        let entry = open(device, sealed, 1)?;
        let head = Self { seq: entry.seq, hash: sha256(sealed) };
        Ok((entry, head))
    }
}

/// Verifies a whole log of `device`, from its first entry on, whichever that is. Gives the entries and the head.
///
/// # Errors
/// See [`AuditError`]: what comes before is good.
pub fn verify(device: DeviceId, log: &[u8]) -> Result<(Vec<Entry>, Head), AuditError> {
    let (mut entries, mut head) = (Vec::<Entry>::new(), None);
    for sealed in split(log) {
        let after = head.map_or(0, |head: Head| head.seq);
        let sealed = sealed.map_err(|error| error.at(after.saturating_add(1)))?;
        let (entry, next) = match head {
            None => Head::begin(device, sealed)?,
            Some(head) => head.open(device, sealed)?,
        };
        entries.push(entry);
        head = Some(next);
    }
    Ok((entries, head.unwrap_or_default()))
}

/// The form of one entry in a log.
#[must_use]
pub fn framed(sealed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(sealed.len()).expect("entries are small");
    [&length.to_be_bytes(), sealed].concat()
}

/// The sealed entries of a log, not verified, up to the first that is not whole.
pub fn split(log: &[u8]) -> impl Iterator<Item = Result<&[u8], Cut>> {
    let mut rest = log;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = take(rest);
        rest = match &taken {
            Ok(sealed) => &rest[LENGTH_BYTES + sealed.len()..],
            Err(_) => &[],
        };
        Some(taken)
    })
}

/// Why no further entry can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The bytes end first.
    Truncated,
    /// It would be longer than any entry.
    TooLarge(usize),
}

impl Cut {
    const fn at(self, seq: u64) -> AuditError {
        match self {
            Self::Truncated => AuditError::Truncated(seq),
            Self::TooLarge(bytes) => AuditError::TooLarge(seq, bytes),
        }
    }
}

fn take(rest: &[u8]) -> Result<&[u8], Cut> {
    let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or(Cut::Truncated)?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > AUDIT_ENTRY_BYTES {
        return Err(Cut::TooLarge(length));
    }
    rest.get(..length).ok_or(Cut::Truncated)
}

fn open(device: DeviceId, sealed: &[u8], seq: u64) -> Result<Entry, AuditError> {
    envelope::open::<Entry>(sealed, Kind::Audit, &[device]).map(|(_, entry)| entry).map_err(|error| {
        match error {
            // The signature holds by then.
            EnvelopeError::Malformed(_) if envelope::claimed_signer(sealed).is_ok() => {
                AuditError::Unknown(seq)
            }
            EnvelopeError::Malformed(_)
            | EnvelopeError::TooLarge { .. }
            | EnvelopeError::Untrusted(_)
            | EnvelopeError::BadSignature
            | EnvelopeError::Signer(_) => AuditError::Envelope(seq, error),
        }
    })
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
}
