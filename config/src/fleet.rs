//! The root of a fleet's trust: whose signatures count for what, and the chain of roots that says so.
//!
//! Root 1 is the fleet: its payload's hash is the fleet's id, which every signature binds. Each root after it is signed
//! by enough keys of the one before and of itself, and names the one before by its hash. So whoever knows the id alone
//! can follow the chain to the keys of today, and nobody who lacks the keys of the time can make another one.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    cbor,
    cosign::{self, CosignError, Document, Kind},
    document::{DocumentId, Revocation},
    hash::sha256,
    identity::{FleetId, PublicKey},
    limits::{CHAIN_BYTES, ROOTS},
    quorum::Quorum,
    signer::Signer,
};

/// Whose signatures count for what, from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// 1 for the first; each one more than the one before.
    pub version: u64,
    /// When it was signed: wall clock, milliseconds since the Unix epoch; 0 where nobody looked at a clock.
    pub issued_ms: u64,
    /// From when on nothing new is taken before a newer root has come; `None` for never.
    pub expires_ms: Option<u64>,
    /// The payload's hash of the root before; `None` for the first.
    pub previous: Option<DocumentId>,
    /// Who may do what.
    pub roles: Roles,
}

impl Document for Root {
    const KIND: Kind = Kind::Root;
}

/// Who may do what in a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Who may make the next root.
    pub root: Quorum,
    /// Who says what may run: releases.
    pub release: Quorum,
    /// Who says what runs where, day by day: assignments, changes of twins, and secrets. Each of these keys may ask devices.
    pub assign: Quorum,
    /// Who says which devices belong to the fleet, and which devices and documents do not count any more.
    pub admit: Quorum,
}

impl Roles {
    /// All roles for the same quorum.
    #[must_use]
    pub fn all(quorum: &Quorum) -> Self {
        let [root, release, assign, admit] = std::array::from_fn(|_| quorum.clone());
        Self { root, release, assign, admit }
    }

    const fn of(&self, kind: Kind) -> &Quorum {
        match kind {
            Kind::Root => &self.root,
            Kind::Release => &self.release,
            Kind::Assignment | Kind::TwinChange | Kind::Secret => &self.assign,
            // What a token's key signs is verified with that, and counts for nothing here.
            Kind::Revocation | Kind::Grant | Kind::Rule | Kind::Joining => &self.admit,
        }
    }
}

/// A fleet as far as its roots are known: a chain that holds from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    id: FleetId,
    root: Root,
    sealed: Vec<Vec<u8>>,
    /// Of the last root.
    payload_hash: [u8; 32],
}

/// Why a chain of roots does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// There is no root.
    #[error("no root came with it")]
    Empty,
    /// More than [`ROOTS`], or more than [`CHAIN_BYTES`].
    #[error("{roots} roots in {bytes} bytes: there are at most {ROOTS}, in {CHAIN_BYTES}")]
    TooLarge {
        /// How many.
        roots: usize,
        /// Their bytes together.
        bytes: usize,
    },
    /// A root is not sealed as it must be.
    #[error("root {version}: {source}")]
    Root {
        /// Its place in the chain.
        version: u64,
        /// What is wrong.
        source: CosignError,
    },
    /// A root that does not continue the one before.
    #[error("root {0} does not continue the one before it")]
    Broken(u64),
    /// Two chains of one fleet part.
    #[error("root {0} is another one than the root {0} that is known: two chains, of which one is false")]
    Fork(u64),
    /// Of another fleet.
    #[error("they are of fleet {theirs}, and this is {ours}")]
    Other {
        /// The one that came.
        theirs: FleetId,
        /// The one that counts.
        ours: FleetId,
    },
}

impl Fleet {
    /// The fleet of one key that may do everything: always the same for the same key.
    ///
    /// # Errors
    /// When the signer does not sign.
    pub fn of_one(signer: &dyn Signer) -> Result<Self, FleetError> {
        Self::found(&first_root_of_one(signer.key()), signer)
    }

    /// The id of the fleet of one key.
    #[must_use]
    pub fn id_of_one(key: PublicKey) -> FleetId {
        FleetId::from_bytes(sha256(&cbor::encode(&first_root_of_one(key))))
    }

    fn found(root: &Root, signer: &dyn Signer) -> Result<Self, FleetError> {
        let id = FleetId::from_bytes(sha256(&cbor::encode(root)));
        let sealed =
            cosign::seal(&id, root, signer).map_err(|source| FleetError::Root { version: 1, source })?;
        Self::open(&[sealed])
    }

    /// Verifies a whole chain. Nothing else is needed: its first root says which fleet it is.
    ///
    /// # Errors
    /// See [`FleetError`].
    pub fn open<B: AsRef<[u8]>>(roots: &[B]) -> Result<Self, FleetError> {
        check_size(roots)?;
        let (first, others) = roots.split_first().ok_or(FleetError::Empty)?;
        let sealed = first.as_ref();
        let wrong = |source| FleetError::Root { version: 1, source };
        let payload_hash = cosign::payload_hash(Kind::Root, sealed).map_err(wrong)?;
        let id = FleetId::from_bytes(payload_hash);
        let (_, root) = cosign::inspect::<Root>(&id, sealed).map_err(wrong)?;
        if root.version != 1 || root.previous.is_some() {
            return Err(FleetError::Broken(1));
        }
        cosign::open::<Root>(&id, sealed, &root.roles.root).map_err(wrong)?;
        let mut fleet = Self { id, root, sealed: vec![sealed.to_vec()], payload_hash };
        others.iter().try_for_each(|next| fleet.step(next.as_ref()))?;
        Ok(fleet)
    }

    /// The fleet with the newer roots that `roots`, a chain from the first on, has; `None` when it has none. Of what is known already
    /// nothing is verified again.
    ///
    /// # Errors
    /// See [`FleetError`]; a chain that parts from the known one is refused.
    pub fn follow<B: AsRef<[u8]>>(&self, roots: &[B]) -> Result<Option<Self>, FleetError> {
        check_size(roots)?;
        let first = roots.first().ok_or(FleetError::Empty)?;
        for (version, (theirs, ours)) in (1..).zip(roots.iter().zip(&self.sealed)) {
            if theirs.as_ref() == ours {
                continue;
            }
            // Other signatures of the same root are no news.
            let hash = |sealed| cosign::payload_hash(Kind::Root, sealed);
            let wrong = |source| FleetError::Root { version, source };
            if hash(theirs.as_ref()).map_err(wrong)? != hash(ours).map_err(wrong)? {
                return Err(match version {
                    1 => {
                        let theirs = hash(first.as_ref()).map_err(wrong)?;
                        FleetError::Other { theirs: FleetId::from_bytes(theirs), ours: self.id }
                    }
                    _ => FleetError::Fork(version),
                });
            }
        }
        let Some(newer) = roots.get(self.sealed.len()..).filter(|newer| !newer.is_empty()) else {
            return Ok(None);
        };
        let mut fleet = self.clone();
        newer.iter().try_for_each(|next| fleet.step(next.as_ref()))?;
        Ok(Some(fleet))
    }

    /// Takes the root that follows, and no other.
    fn step(&mut self, sealed: &[u8]) -> Result<(), FleetError> {
        let version = self.root.version + 1;
        let wrong = |source| FleetError::Root { version, source };
        let open = |quorum: &Quorum| cosign::open::<Root>(&self.id, sealed, quorum);
        let (_, root) = open(&self.root.roles.root).map_err(wrong)?;
        open(&root.roles.root).map_err(wrong)?;
        if root.version != version || root.previous != Some(DocumentId(self.payload_hash)) {
            return Err(FleetError::Broken(version));
        }
        self.payload_hash = cosign::payload_hash(Kind::Root, sealed).map_err(wrong)?;
        self.root = root;
        self.sealed.push(sealed.to_vec());
        Ok(())
    }

    /// Which fleet it is.
    #[must_use]
    pub const fn id(&self) -> FleetId {
        self.id
    }

    /// The root that counts now.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The whole chain, from the first root on.
    #[must_use]
    pub fn roots(&self) -> &[Vec<u8>] {
        &self.sealed
    }

    /// The root that would follow with other roles.
    #[must_use]
    pub fn next(&self, roles: Roles, issued_ms: u64, expires_ms: Option<u64>) -> Root {
        let previous = Some(DocumentId(self.payload_hash));
        Root { version: self.root.version + 1, issued_ms, expires_ms, previous, roles }
    }

    /// Verifies a document: enough of those have signed who may. Gives all signers and the document.
    ///
    /// # Errors
    /// See [`CosignError`].
    pub fn verify<T: Document>(&self, sealed: &[u8]) -> Result<(Vec<PublicKey>, T), CosignError> {
        cosign::open(&self.id, sealed, self.root.roles.of(T::KIND))
    }

    /// Whether a list of what is revoked takes the place of the one that is `known`; `counts` where those who may admit now signed the
    /// known one. An older list is no news, whoever signed it then. But one that does not count gives way to one that was made with
    /// this root or since, whatever its number: or else keys that were stolen once used up all numbers.
    #[must_use]
    pub fn replaces(&self, known: &Revocation, counts: bool, offered: &Revocation) -> bool {
        let is_since = offered.issued_ms >= self.root.issued_ms;
        known.version < offered.version || (is_since && !counts)
    }
}

/// The fleet that a device or a cloud is told to belong to, before it has seen a root: by the fleet's id, or by the one
/// key of a fleet that one operator began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The fleet itself.
    Fleet(FleetId),
    /// The fleet that this key began alone.
    Operator(PublicKey),
}

impl Pinned {
    /// Which fleet is meant.
    #[must_use]
    pub fn id(&self) -> FleetId {
        match self {
            Self::Fleet(fleet) => *fleet,
            Self::Operator(key) => Fleet::id_of_one(*key),
        }
    }
}

impl FromStr for Pinned {
    type Err = BadPinned;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fleet = text.parse().map(Self::Fleet);
        fleet.or_else(|_| text.parse().map(Self::Operator)).map_err(|_| BadPinned)
    }
}

/// The text is neither a fleet nor a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a fleet, 64 hexadecimal digits as `wayside fleet` prints them, or the key of a fleet's only operator, as `wayside key` does"
)]
pub struct BadPinned;

impl<'de> Deserialize<'de> for Pinned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn first_root_of_one(key: PublicKey) -> Root {
    let roles = Roles::all(&Quorum::one(key));
    Root { version: 1, issued_ms: 0, expires_ms: None, previous: None, roles }
}

fn check_size<B: AsRef<[u8]>>(roots: &[B]) -> Result<(), FleetError> {
    let bytes = roots.iter().map(|root| root.as_ref().len()).sum();
    if roots.len() > ROOTS || bytes > CHAIN_BYTES {
        return Err(FleetError::TooLarge { roots: roots.len(), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
