//! A file that a passphrase locks: the format of age (age-encryption.org/v1) with its scrypt recipient and one chunk,
//! so that `age -d` opens it as well. Only what a key needs of it; the primitives are others'.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD as BASE64};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use scrypt::Params;

const MAGIC: &str = "age-encryption.org/v1\n";
const SALT: &[u8] = b"age-encryption.org/v1/scrypt";
const KEY_BYTES: usize = 32;

/// The logarithm of scrypt's work for a new file: half a second and 128 MiB. Tests have less time.
pub(super) const WORK: u8 = if cfg!(test) { 4 } else { 17 };

/// The most that is taken from a file: a strange one must not take all memory. 1 GiB.
const MAX_WORK: u8 = 20;

/// One chunk of age, and some room for its header.
const MAX_BYTES: usize = 64 << 10;

/// Whether these bytes are locked.
pub(super) fn is_locked(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC.as_bytes())
}

/// Locks `plain`, which is short.
pub(super) fn lock(plain: &[u8], passphrase: &str, work: u8) -> Result<Vec<u8>, String> {
    let (salt, file_key, nonce) = (random()?, random()?, random()?);
    let wrapped = seal(&wrapping_key(passphrase, &salt, work)?, [0; 12], &file_key)?;
    let mut text =
        format!("{MAGIC}-> scrypt {} {work}\n{}\n---", BASE64.encode(salt), BASE64.encode(wrapped));
    let mac = hmac::sign(&mac_key(&file_key)?, text.as_bytes());
    text.push_str(&format!(" {}\n", BASE64.encode(mac)));
    let payload = seal(&payload_key(&file_key, &nonce)?, LAST, plain)?;
    Ok([text.as_bytes(), &nonce, &payload].concat())
}

/// Unlocks what [`lock`] or age locked with a passphrase.
pub(super) fn unlock(bytes: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let malformed =
        || "it is locked in a form that is not known here: make it anew with `wayside key new`".to_owned();
    if bytes.len() > MAX_BYTES {
        return Err(malformed());
    }
    let header_bytes = bytes.windows(5).position(|window| window == b"\n--- ").ok_or_else(malformed)? + 4;
    let (header, rest) = bytes.split_at(header_bytes);
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(malformed)?;
    let (mac, payload) = (&rest[1..end], &rest[end + 1..]);
    let text = std::str::from_utf8(header).map_err(|_| malformed())?;
    let mut lines = text.strip_prefix(MAGIC).ok_or_else(malformed)?.lines();
    let stanza = lines.next().and_then(|line| line.strip_prefix("-> scrypt ")).ok_or_else(malformed)?;
    let (salt, work) = stanza.split_once(' ').ok_or_else(malformed)?;
    let salt = decode::<16>(salt.as_bytes()).ok_or_else(malformed)?;
    let work = work.parse().ok().filter(|work| (1..=MAX_WORK).contains(work)).ok_or_else(malformed)?;
    let wrapped = lines.next().and_then(|line| decode::<32>(line.as_bytes())).ok_or_else(malformed)?;
    if lines.next() != Some("---") || lines.next().is_some() {
        return Err(malformed());
    }
    let file_key = open(&wrapping_key(passphrase, &salt, work)?, [0; 12], &wrapped)
        .ok_or("the passphrase is another one, or the file is damaged")?;
    let file_key = <[u8; 16]>::try_from(file_key).map_err(|_| malformed())?;
    let mac = decode::<32>(mac).ok_or_else(malformed)?;
    let damaged = || "it is damaged: bring back a copy of it".to_owned();
    hmac::verify(&mac_key(&file_key)?, header, &mac).map_err(|_| damaged())?;
    let (nonce, sealed) = payload.split_first_chunk::<16>().ok_or_else(damaged)?;
    open(&payload_key(&file_key, nonce)?, LAST, sealed).ok_or_else(damaged)
}

/// The nonce of a first chunk that is the last.
const LAST: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

fn wrapping_key(passphrase: &str, salt: &[u8; 16], work: u8) -> Result<[u8; KEY_BYTES], String> {
    let mut key = [0; KEY_BYTES];
    let params = Params::new(work, 8, 1, KEY_BYTES).map_err(|error| error.to_string())?;
    scrypt::scrypt(passphrase.as_bytes(), &[SALT, salt].concat(), &params, &mut key)
        .map_err(|error| error.to_string())?;
    Ok(key)
}

fn mac_key(file_key: &[u8; 16]) -> Result<hmac::Key, String> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &derive(file_key, &[], b"header")?))
}

fn payload_key(file_key: &[u8; 16], nonce: &[u8; 16]) -> Result<[u8; KEY_BYTES], String> {
    derive(file_key, nonce, b"payload")
}

fn derive(file_key: &[u8; 16], salt: &[u8], purpose: &[u8]) -> Result<[u8; KEY_BYTES], String> {
    let mut key = [0; KEY_BYTES];
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(file_key);
    extracted
        .expand(&[purpose], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key))
        .map_err(|_| "no key could be derived".to_owned())?;
    Ok(key)
}

fn cipher(key: &[u8; KEY_BYTES]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

fn seal(key: &[u8; KEY_BYTES], nonce: [u8; 12], plain: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = plain.to_vec();
    cipher(key)
        .and_then(|cipher| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            cipher.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).ok()
        })
        .ok_or("it could not be encrypted")?;
    Ok(bytes)
}

fn open(key: &[u8; KEY_BYTES], nonce: [u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher(key)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok().map(|plain| plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_opens_with_its_passphrase_alone() {
        let locked = lock(b"secret", "correct horse", 2).unwrap();
        assert!(is_locked(&locked) && !is_locked(b"WAYSIDE\n"));
        assert!(!locked.windows(6).any(|window| window == b"secret"));
        assert_eq!(unlock(&locked, "correct horse"), Ok(b"secret".to_vec()));
        assert!(unlock(&locked, "correct hors").unwrap_err().contains("passphrase"));
        assert_ne!(lock(b"secret", "correct horse", 2), Ok(locked));
    }

    #[test]
    fn any_changed_byte_is_noticed_and_nothing_takes_all_memory() {
        let locked = lock(b"secret", "p", 1).unwrap();
        for at in 0..locked.len() {
            let mut changed = locked.clone();
            changed[at] ^= 1;
            assert!(unlock(&changed, "p").is_err(), "byte {at}");
            assert!(unlock(&locked[..at], "p").is_err(), "{at} bytes");
        }
        let text = format!(
            "{MAGIC}-> scrypt {} 40\n{}\n--- {}\n",
            BASE64.encode([0; 16]),
            BASE64.encode([0; 32]),
            BASE64.encode([0; 32])
        );
        assert!(unlock(text.as_bytes(), "p").unwrap_err().contains("not known"));
    }
}
