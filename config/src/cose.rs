//! The one form of COSE (RFC 9052) that is read here, byte by byte, before anything is made of it. What reads all of COSE follows
//! headers inside of headers as deep as somebody nests them, until the stack is used up.
//!
//! ```text
//! header    = << {1: -8, 4: key} >>                       alg: EdDSA; kid: an Ed25519 key
//! COSE_Sign1 = 18([header, {}, payload, signature])
//! COSE_Sign  = 98([<< >>, {}, payload, [1* [header, {}, signature]]])
//! ```

use crate::{identity::PublicKey, limits::SIGNERS};

/// A protected header as a byte string, before its key.
const HEADER: [u8; 8] = [0x58, 0x26, 0xa2, 0x01, 0x27, 0x04, 0x58, 0x20];
/// A map with nothing in it.
const NO_HEADER: [u8; 1] = [0xa0];
/// A byte string of 64 bytes.
const SIGNATURE: [u8; 2] = [0x58, 0x40];

/// A signature and whose it claims to be. Nothing is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature<'a> {
    pub(crate) signer: PublicKey,
    pub(crate) bytes: &'a [u8; 64],
}

/// A tagged COSE_Sign1: its payload and its signature.
///
/// # Errors
/// What is not in its form, for a person.
pub(crate) fn one(sealed: &[u8]) -> Result<(&[u8], Signature<'_>), &'static str> {
    let mut rest = Rest(sealed);
    rest.expect(&[0xd2, 0x84], "it is not a tagged COSE_Sign1 in its shortest form")?;
    let signer = rest.signer()?;
    rest.expect(&NO_HEADER, "it has an unprotected header")?;
    let payload = rest.payload()?;
    let bytes = rest.signature()?;
    rest.end()?;
    Ok((payload, Signature { signer, bytes }))
}

/// A tagged COSE_Sign: its payload and its signatures, one to [`SIGNERS`], by distinct keys in ascending order.
///
/// # Errors
/// As [`one`].
pub(crate) fn several(sealed: &[u8]) -> Result<(&[u8], Vec<Signature<'_>>), &'static str> {
    let mut rest = Rest(sealed);
    rest.expect(&[0xd8, 0x62, 0x84], "it is not a tagged COSE_Sign in its shortest form")?;
    rest.expect(&[0x40], "it has a header as a whole")?;
    rest.expect(&NO_HEADER, "it has a header as a whole")?;
    let payload = rest.payload()?;
    let count = match rest.byte()? {
        // An array of so many.
        head @ 0x81..=0x97 if usize::from(head - 0x80) <= SIGNERS => head - 0x80,
        _ => return Err("it does not have 1 to 16 signatures"),
    };
    let mut signatures = Vec::<Signature<'_>>::new();
    for _ in 0..count {
        rest.expect(&[0x83], "a signature is not one of COSE_Sign in its shortest form")?;
        let signer = rest.signer()?;
        rest.expect(&NO_HEADER, "a signature has an unprotected header")?;
        let bytes = rest.signature()?;
        if signatures.last().is_some_and(|last| last.signer >= signer) {
            return Err("its signers are not in ascending order, or one has signed twice");
        }
        signatures.push(Signature { signer, bytes });
    }
    rest.end()?;
    Ok((payload, signatures))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn expect(&mut self, bytes: &[u8], otherwise: &'static str) -> Result<(), &'static str> {
        self.0 = self.0.strip_prefix(bytes).ok_or(otherwise)?;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], &'static str> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(first)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.array::<1>().map(|[byte]| *byte)
    }

    /// A protected header.
    fn signer(&mut self) -> Result<PublicKey, &'static str> {
        self.expect(&HEADER, "a protected header is not exactly EdDSA and the signer's key")?;
        self.array().map(|key| PublicKey::from_bytes(*key))
    }

    fn signature(&mut self) -> Result<&'a [u8; 64], &'static str> {
        self.expect(&SIGNATURE, "a signature is not one of Ed25519")?;
        self.array()
    }

    /// A byte string whose length is written in the shortest way.
    fn payload(&mut self) -> Result<&'a [u8], &'static str> {
        let (length, least) = match self.byte()? {
            head @ 0x40..=0x57 => (u32::from(head - 0x40), 0),
            0x58 => (u32::from(self.byte()?), 24),
            0x59 => (u32::from(u16::from_be_bytes(*self.array()?)), 1 << 8),
            0x5a => (u32::from_be_bytes(*self.array()?), 1 << 16),
            _ => return Err("it has no payload"),
        };
        if length < least {
            return Err("its encoding is not the shortest one");
        }
        let parts = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (payload, rest) = parts.ok_or("it ends too early")?;
        self.0 = rest;
        Ok(payload)
    }

    fn end(&self) -> Result<(), &'static str> {
        if self.0.is_empty() { Ok(()) } else { Err("bytes follow it") }
    }
}

#[cfg(test)]
mod tests {
    use coset::{CoseSign1Builder, CoseSignBuilder, CoseSignatureBuilder, TaggedCborSerializable};
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::header;

    fn key(number: u8) -> PublicKey {
        PublicKey::from_bytes([number; 32])
    }

    #[test]
    fn headers_in_headers_are_not_followed() {
        // {7: [header, {}, ""]}: a counter signature in a protected header has a protected header.
        let mut header = vec![0xa0];
        // Far more of them than a thread has stack for.
        for _ in 0..5000 {
            let length = u32::try_from(header.len()).unwrap().to_be_bytes();
            header = [&[0xa1, 0x07, 0x83, 0x5a], &length[..], &header, &[0xa0, 0x40]].concat();
        }
        let length = u32::try_from(header.len()).unwrap().to_be_bytes();
        let nested = [&[0x5a], &length[..], &header].concat();
        let sealed = [&[0xd2, 0x84], &nested[..], &[0xa0, 0x40, 0x40]].concat();
        assert_eq!(one(&sealed), Err("a protected header is not exactly EdDSA and the signer's key"));
        let whole = [&[0xd8, 0x62, 0x84], &nested[..], &[0xa0, 0x40, 0x80]].concat();
        assert_eq!(several(&whole), Err("it has a header as a whole"));
        let of_one = [&[0xd8, 0x62, 0x84, 0x40, 0xa0, 0x40, 0x81, 0x83], &nested[..], &[0xa0, 0x40]].concat();
        assert_eq!(several(&of_one), Err("a protected header is not exactly EdDSA and the signer's key"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_cose_writes_is_read_at_every_length(length in prop_oneof![0usize..300, 65_000usize..66_000], count in 1u8..=16) {
            let payload = vec![7; length];
            let sealed = CoseSign1Builder::new()
                .protected(header(key(1)))
                .payload(payload.clone())
                .signature(vec![9; 64])
                .build()
                .to_tagged_vec()
                .unwrap();
            let signature = Signature { signer: key(1), bytes: &[9; 64] };
            prop_assert_eq!(one(&sealed), Ok((&payload[..], signature)));
            let signatures = (1..=count).map(|number| {
                CoseSignatureBuilder::new().protected(header(key(number))).signature(vec![number; 64]).build()
            });
            let builder = CoseSignBuilder::new().payload(payload.clone());
            let sealed =
                signatures.fold(builder, CoseSignBuilder::add_signature).build().to_tagged_vec().unwrap();
            let (read, by) = several(&sealed).unwrap();
            prop_assert_eq!(read, &payload[..]);
            prop_assert_eq!(by.len(), usize::from(count));
            for (number, signature) in (1u8..).zip(by) {
                prop_assert_eq!(signature, Signature { signer: key(number), bytes: &[number; 64] });
            }
        }

        #[test]
        fn what_is_read_is_what_cose_writes(bytes in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), flip in any::<u8>()) {
            let mut sealed = CoseSign1Builder::new()
                .protected(header(key(1)))
                .payload(bytes)
                .signature(vec![9; 64])
                .build()
                .to_tagged_vec()
                .unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            if let Ok((payload, Signature { signer, bytes })) = one(&sealed) {
                let again = CoseSign1Builder::new()
                    .protected(header(signer))
                    .payload(payload.to_vec())
                    .signature(bytes.to_vec())
                    .build()
                    .to_tagged_vec()
                    .unwrap();
                prop_assert_eq!(again, sealed);
            }
        }
    }
}
