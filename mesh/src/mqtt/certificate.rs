//! The certificate that a device makes for itself: X.509 over its own Ed25519 key, the same with every start, so that
//! leaf devices can be told its fingerprint once.

use std::net::IpAddr;

const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `1.3.101.112`
const ED25519: [u8; 5] = [OBJECT, 3, 0x2b, 0x65, 0x70];
/// `2.5.4.3`
const COMMON_NAME: [u8; 5] = [OBJECT, 3, 0x55, 0x04, 0x03];
/// `2.5.29.17`
const ALTERNATIVE_NAMES: [u8; 5] = [OBJECT, 3, 0x55, 0x1d, 0x11];
/// From 2000 on without an end (RFC 5280, 4.1.2.5): a device may not know what time it is.
const VALIDITY: [&[u8]; 2] = [b"\x17\x0d000101000000Z", b"\x18\x0f99991231235959Z"];

/// What a certificate is for.
pub(super) struct Subject<'a> {
    /// The Ed25519 key.
    pub(super) public_key: &'a [u8; 32],
    /// What it is called.
    pub(super) name: &'a str,
    /// Under which names it is found.
    pub(super) hosts: &'a [String],
    /// At which addresses it is found.
    pub(super) addresses: &'a [IpAddr],
}

/// The certificate in DER; `sign` makes the key's signature.
pub(super) fn self_signed<E>(
    subject: &Subject<'_>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let body = body(subject);
    let signature = sign(&body)?;
    Ok(der(SEQUENCE, &[&body, &der(SEQUENCE, &[&ED25519]), &der(0x03, &[&[0], &signature])]))
}

fn body(subject: &Subject<'_>) -> Vec<u8> {
    let Subject { public_key, name, hosts, addresses } = subject;
    let algorithm = der(SEQUENCE, &[&ED25519]);
    let name = der(SEQUENCE, &[&COMMON_NAME, &der(0x0c, &[name.as_bytes()])]);
    let name = der(SEQUENCE, &[&der(SET, &[&name])]);
    let key = der(SEQUENCE, &[&algorithm, &der(0x03, &[&[0], &public_key[..]])]);
    let hosts = hosts.iter().map(|host| der(0x82, &[host.as_bytes()]));
    let addresses = addresses.iter().map(|address| match address {
        IpAddr::V4(address) => der(0x87, &[&address.octets()]),
        IpAddr::V6(address) => der(0x87, &[&address.octets()]),
    });
    let names: Vec<u8> = hosts.chain(addresses).flatten().collect();
    let names = der(0x04, &[&der(SEQUENCE, &[&names])]);
    let extensions = der(SEQUENCE, &[&der(SEQUENCE, &[&ALTERNATIVE_NAMES, &names])]);
    // Version 3, serial number 1: nobody makes a second one of this name.
    let version = der(0xa0, &[&[0x02, 1, 2]]);
    der(
        SEQUENCE,
        &[
            &version,
            &[0x02, 1, 1],
            &algorithm,
            &name,
            &der(SEQUENCE, &VALIDITY),
            &name,
            &key,
            &der(0xa3, &[&extensions]),
        ],
    )
}

/// One element of these parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = vec![tag];
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            element.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            element.extend(long);
        }
    }
    parts.iter().for_each(|part| element.extend(*part));
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[&[7; 127]])[..2], [4, 127]);
        assert_eq!(der(4, &[&[7; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(der(4, &[&[7; 100], &[7; 200]])[..4], [4, 0x82, 1, 44]);
    }
}
