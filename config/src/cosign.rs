//! The form of a document of a fleet, which one or several sign: COSE_Sign (RFC 9052) with Ed25519 over the exact
//! bytes received.
//!
//! Always tagged, in one encoding only: empty protected header, no unprotected one, the document's CBOR, and then
//! one signature or more by distinct keys in ascending order, each with the protected header `{alg: EdDSA, kid: key}`
//! and no unprotected one. The external data names kind and fleet, so that no document passes for one of another kind
//! or in another fleet. Every signature that is there has to hold, whether it counts or not. Whatever else COSE allows is
//! refused.

use coset::{CoseSign, CoseSignBuilder, CoseSignature, CoseSignatureBuilder, TaggedCborSerializable};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cbor, cose,
    envelope::header,
    hash::sha256,
    identity::{FleetId, PublicKey},
    limits::{GRANT_BYTES, JOINING_BYTES, ROOT_BYTES, RULE_BYTES, SEALED_BYTES, SECRET_SEALED_BYTES},
    quorum::Quorum,
    signer::{SignError, Signer},
};

/// A document of a fleet, which is always signed and read as what it is.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is.
    const KIND: Kind;
}

/// What a document of a fleet is. Part of what is signed, so one kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`crate::fleet::Root`].
    Root,
    /// [`crate::document::Release`].
    Release,
    /// [`crate::document::Assignment`].
    Assignment,
    /// [`crate::document::TwinChange`].
    TwinChange,
    /// [`crate::document::Revocation`].
    Revocation,
    /// [`crate::document::Grant`].
    Grant,
    /// [`crate::rule::Rule`].
    Rule,
    /// [`crate::rule::Joining`].
    Joining,
    /// [`crate::secret::SecretChange`].
    Secret,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Root,
        Self::Release,
        Self::Assignment,
        Self::TwinChange,
        Self::Revocation,
        Self::Grant,
        Self::Rule,
        Self::Joining,
        Self::Secret,
    ];

    fn context(self, fleet: &FleetId) -> Vec<u8> {
        let kind: &[u8] = match self {
            Self::Root => b"wayside/v2/root",
            Self::Release => b"wayside/v2/release",
            Self::Assignment => b"wayside/v2/assignment",
            Self::TwinChange => b"wayside/v2/twin-change",
            Self::Revocation => b"wayside/v2/revocation",
            Self::Grant => b"wayside/v2/grant",
            Self::Rule => b"wayside/v2/rule",
            Self::Joining => b"wayside/v2/joining",
            Self::Secret => b"wayside/v2/secret",
        };
        [kind, fleet.as_bytes()].concat()
    }

    /// The largest sealed document of this kind.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Root => ROOT_BYTES,
            Self::Grant => GRANT_BYTES,
            Self::Rule => RULE_BYTES,
            Self::Joining => JOINING_BYTES,
            Self::Secret => SECRET_SEALED_BYTES,
            Self::Release | Self::Assignment | Self::TwinChange | Self::Revocation => SEALED_BYTES,
        }
    }
}

/// Why a sealed document was not accepted, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignError {
    /// Larger than [`Kind::max_bytes`].
    #[error("the document is {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Of its kind.
        limit: usize,
    },
    /// Not COSE_Sign, or not as this version writes it.
    #[error("not a signed document: {0}")]
    Malformed(String),
    /// Too few of those who may sign did.
    #[error("{have} of {need} signatures that it needs: it is signed by {}, and may be by {}", names(.signers), names(.allowed))]
    Threshold {
        /// How many count.
        have: u64,
        /// How many have to.
        need: u64,
        /// Who signed.
        signers: Vec<PublicKey>,
        /// Whose signatures count.
        allowed: Vec<PublicKey>,
    },
    /// A signature does not hold.
    #[error(
        "the signature of {} is not valid: the document was changed, or is of another kind or fleet", .0.short()
    )]
    BadSignature(PublicKey),
    /// A key signs once.
    #[error("{} has signed it already", .0.short())]
    Again(PublicKey),
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignError),
}

/// Encodes `document` and has `signer` sign it. Others may follow: see [`add`].
///
/// # Errors
/// See [`CosignError`].
pub fn seal<T: Document>(fleet: &FleetId, document: &T, signer: &dyn Signer) -> Result<Vec<u8>, CosignError> {
    let mut message = CoseSignBuilder::new().payload(cbor::encode(document)).build();
    sign(&mut message, T::KIND, fleet, signer)?;
    encode(message, T::KIND)
}

/// Adds a signature to a document whose others hold.
///
/// # Errors
/// See [`CosignError`].
pub fn add(kind: Kind, fleet: &FleetId, sealed: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, CosignError> {
    let mut read = Read::new(sealed, kind.max_bytes())?;
    read.verify(kind, fleet)?;
    if read.signers.contains(&signer.key()) {
        return Err(CosignError::Again(signer.key()));
    }
    sign(&mut read.message, kind, fleet, signer)?;
    read.message.signatures.sort_by(|a, b| a.protected.header.key_id.cmp(&b.protected.header.key_id));
    encode(read.message, kind)
}

/// Verifies `sealed` and decodes it: enough of `quorum` have signed. Gives all signers and the document.
///
/// # Errors
/// See [`CosignError`]; the document is not decoded before the signatures hold.
pub fn open<T: Document>(
    fleet: &FleetId,
    sealed: &[u8],
    quorum: &Quorum,
) -> Result<(Vec<PublicKey>, T), CosignError> {
    let read = Read::new(sealed, T::KIND.max_bytes())?;
    read.check(quorum)?;
    read.verify(T::KIND, fleet)?;
    let document = read.document()?;
    Ok((read.signers, document))
}

/// As [`open`], for whoever only asks who signed: every signature holds, and none has to count.
///
/// # Errors
/// See [`CosignError`].
pub fn inspect<T: Document>(fleet: &FleetId, sealed: &[u8]) -> Result<(Vec<PublicKey>, T), CosignError> {
    let read = Read::new(sealed, T::KIND.max_bytes())?;
    read.verify(T::KIND, fleet)?;
    let document = read.document()?;
    Ok((read.signers, document))
}

/// What `sealed` says. Proves nothing: it is for what was verified before, or will be.
///
/// # Errors
/// [`CosignError::TooLarge`] or [`CosignError::Malformed`].
pub fn peek<T: Document>(sealed: &[u8]) -> Result<T, CosignError> {
    Read::new(sealed, T::KIND.max_bytes())?.document()
}

/// Who claims to have signed `sealed`.
///
/// # Errors
/// [`CosignError::TooLarge`] or [`CosignError::Malformed`].
pub fn claimed_signers(kind: Kind, sealed: &[u8]) -> Result<Vec<PublicKey>, CosignError> {
    Read::new(sealed, kind.max_bytes()).map(|read| read.signers)
}

/// SHA-256 of what `sealed` says: it stays when signatures are added or left out.
///
/// # Errors
/// [`CosignError::TooLarge`] or [`CosignError::Malformed`].
pub fn payload_hash(kind: Kind, sealed: &[u8]) -> Result<[u8; 32], CosignError> {
    Read::new(sealed, kind.max_bytes()).map(|read| sha256(read.payload()))
}

fn names(keys: &[PublicKey]) -> String {
    keys.iter().map(PublicKey::short).collect::<Vec<_>>().join(", ")
}

fn sign(message: &mut CoseSign, kind: Kind, fleet: &FleetId, signer: &dyn Signer) -> Result<(), CosignError> {
    let mut signature = unsigned(signer.key());
    signature.signature = signer.sign(&message.tbs_data(&kind.context(fleet), &signature))?.to_vec();
    message.signatures.push(signature);
    Ok(())
}

fn unsigned(signer: PublicKey) -> CoseSignature {
    CoseSignatureBuilder::new().protected(header(signer)).build()
}

fn encode(message: CoseSign, kind: Kind) -> Result<Vec<u8>, CosignError> {
    let sealed = message.to_tagged_vec().map_err(|error| malformed(&error.to_string()))?;
    // Nobody would accept what cannot be read back: too large, or signed by too many.
    Read::new(&sealed, kind.max_bytes())?;
    Ok(sealed)
}

fn malformed(what: &str) -> CosignError {
    CosignError::Malformed(what.to_owned())
}

/// A document of the right form. Nothing is verified yet.
struct Read {
    message: CoseSign,
    /// Who claims to have signed, in ascending order.
    signers: Vec<PublicKey>,
}

impl Read {
    fn new(sealed: &[u8], limit: usize) -> Result<Self, CosignError> {
        if sealed.len() > limit {
            return Err(CosignError::TooLarge { bytes: sealed.len(), limit });
        }
        let (payload, signatures) = cose::several(sealed).map_err(malformed)?;
        let signers = signatures.iter().map(|signature| signature.signer).collect();
        let signed = signatures.iter().map(|signature| CoseSignature {
            signature: signature.bytes.to_vec(),
            ..unsigned(signature.signer)
        });
        let builder = CoseSignBuilder::new().payload(payload.to_vec());
        let message = signed.fold(builder, CoseSignBuilder::add_signature).build();
        Ok(Self { message, signers })
    }

    fn check(&self, quorum: &Quorum) -> Result<(), CosignError> {
        let (have, need) = (quorum.count(&self.signers), quorum.threshold());
        if have >= need {
            return Ok(());
        }
        let (signers, allowed) = (self.signers.clone(), quorum.keys().to_vec());
        Err(CosignError::Threshold { have, need, signers, allowed })
    }

    fn verify(&self, kind: Kind, fleet: &FleetId) -> Result<(), CosignError> {
        let context = kind.context(fleet);
        for (signer, signature) in self.signers.iter().zip(&self.message.signatures) {
            let bad = |_| CosignError::BadSignature(*signer);
            let key = VerifyingKey::from_bytes(signer.as_bytes()).map_err(bad)?;
            let bytes = self.message.tbs_data(&context, signature);
            let signature = Signature::from_slice(&signature.signature).map_err(bad)?;
            key.verify_strict(&bytes, &signature).map_err(bad)?;
        }
        Ok(())
    }

    fn payload(&self) -> &[u8] {
        self.message.payload.as_deref().unwrap_or_default()
    }

    /// One document has one payload: what could be written in another way is refused.
    fn document<T: Serialize + DeserializeOwned>(&self) -> Result<T, CosignError> {
        let document = cbor::decode(self.payload()).map_err(|error| malformed(&error.to_string()))?;
        if cbor::encode(&document) != self.payload() {
            return Err(malformed("what it says is not written as this version writes it"));
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests;
