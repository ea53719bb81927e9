//! How many of which keys have to sign: m of n.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{identity::PublicKey, limits::SIGNERS};

/// A set of keys, and how many of them have to sign. Every one that exists is sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    keys: Vec<PublicKey>,
    threshold: u64,
}

/// Why keys and a threshold are no quorum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuorum {
    /// No key, or more than [`SIGNERS`].
    #[error("{0} keys: there have to be 1 to {SIGNERS}")]
    Keys(usize),
    /// Not in ascending order, or one twice.
    #[error("the keys are not in ascending order, or one stands there twice")]
    Order,
    /// Nobody could reach it, or everybody would.
    #[error("a threshold of {threshold} with {keys} key(s): it has to be 1 to {keys}")]
    Threshold {
        /// What was given.
        threshold: u64,
        /// How many there are.
        keys: usize,
    },
}

impl Quorum {
    /// `threshold` of `keys`, which come in ascending order.
    ///
    /// # Errors
    /// See [`BadQuorum`].
    pub fn new(keys: Vec<PublicKey>, threshold: u64) -> Result<Self, BadQuorum> {
        if keys.is_empty() || keys.len() > SIGNERS {
            return Err(BadQuorum::Keys(keys.len()));
        }
        if !keys.is_sorted_by(|before, after| before < after) {
            return Err(BadQuorum::Order);
        }
        if threshold == 0 || threshold > keys.len() as u64 {
            return Err(BadQuorum::Threshold { threshold, keys: keys.len() });
        }
        Ok(Self { keys, threshold })
    }

    /// One key alone.
    #[must_use]
    pub fn one(key: PublicKey) -> Self {
        Self { keys: vec![key], threshold: 1 }
    }

    /// The keys, in ascending order.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many of them have to sign.
    #[must_use]
    pub const fn threshold(&self) -> u64 {
        self.threshold
    }

    /// How many of `signers`, who are distinct, count.
    #[must_use]
    pub fn count(&self, signers: &[PublicKey]) -> u64 {
        signers.iter().filter(|signer| self.keys.binary_search(signer).is_ok()).count() as u64
    }
}

impl<'de> Deserialize<'de> for Quorum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            keys: Vec<PublicKey>,
            threshold: u64,
        }
        let Written { keys, threshold } = Written::deserialize(deserializer)?;
        Self::new(keys, threshold).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor;

    fn keys(numbers: &[u8]) -> Vec<PublicKey> {
        numbers.iter().map(|number| PublicKey::from_bytes([*number; 32])).collect()
    }

    #[test]
    fn what_could_never_hold_is_no_quorum_wherever_it_comes_from() {
        let quorum = Quorum::new(keys(&[1, 2, 3]), 2).unwrap();
        assert_eq!(cbor::decode::<Quorum>(&cbor::encode(&quorum)), Ok(quorum.clone()));
        assert_eq!((quorum.count(&keys(&[1, 3])), quorum.count(&keys(&[4]))), (2, 0));
        let many: Vec<u8> = (0..=SIGNERS as u8).collect();
        for (numbers, threshold) in
            [(&[][..], 1), (&[1], 0), (&[1, 2], 3), (&[2, 1], 1), (&[1, 1], 1), (&many, 1)]
        {
            assert!(Quorum::new(keys(numbers), threshold).is_err(), "{numbers:?} {threshold}");
            let written = Quorum { keys: keys(numbers), threshold };
            assert!(cbor::decode::<Quorum>(&cbor::encode(&written)).is_err(), "{numbers:?} {threshold}");
        }
    }
}
