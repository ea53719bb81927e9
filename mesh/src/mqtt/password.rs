//! Passwords of leaf devices: Argon2id, so that whoever reads a release cannot guess them cheaply.

use argon2::{Algorithm, Argon2, Params, Version};
use subtle::ConstantTimeEq as _;
use wayside_config::leaf::PasswordHash;

/// What a new hash costs: the least that OWASP advises. A check takes some tens of milliseconds on a small device.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// The hash of a password, which has a salt that nobody used before. Takes a while.
///
/// # Errors
/// The password is longer than 4 GiB, or the salt has not 8 to 64 bytes.
pub fn hash(password: &[u8], salt: &[u8]) -> Result<PasswordHash, argon2::Error> {
    let mut hash = PasswordHash {
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: salt.to_vec(),
        hash: vec![0; HASH_BYTES],
    };
    hash.hash = compute(&hash, password)?;
    Ok(hash)
}

/// Whether `password` is the one that was hashed. Takes a while, and the memory that the hash says: up to 64 MiB.
pub(super) fn is_right(hash: &PasswordHash, password: &[u8]) -> bool {
    compute(hash, password).is_ok_and(|computed| computed.ct_eq(&hash.hash).into())
}

fn compute(hash: &PasswordHash, password: &[u8]) -> Result<Vec<u8>, argon2::Error> {
    let PasswordHash { memory_kib, passes, lanes, salt, hash } = hash;
    let params = Params::new(*memory_kib, *passes, *lanes, Some(hash.len()))?;
    let mut computed = vec![0; hash.len()];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        password,
        salt,
        &mut computed,
    )?;
    Ok(computed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_others_are_not() {
        let hash = hash(b"secret", b"a salt of some bytes").unwrap();
        assert_eq!(hash.to_string().parse(), Ok(hash.clone()));
        assert!(is_right(&hash, b"secret"));
        assert!(!is_right(&hash, b"Secret") && !is_right(&hash, b""));
    }

    /// Of the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 8 -p 1`.
    #[test]
    fn other_programs_hashes_are_understood() {
        let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash: PasswordHash = hash.parse().unwrap();
        assert!(is_right(&hash, b"password"));
        assert!(!is_right(&hash, b"passwort"));
    }
}
