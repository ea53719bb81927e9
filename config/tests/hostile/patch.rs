//! A patch of any bytes on properties of any bytes: refused with a reason, or properties again, within their bounds.

use wayside_config::{
    limits::TWIN_BYTES,
    patch::{object, patched},
};

/// The properties end at the first zero, the patch follows.
pub(crate) fn read(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let properties = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let patch = parts.next().unwrap_or_default();
    match patched(&properties, patch) {
        Ok(once) => {
            assert!(once.len() <= TWIN_BYTES, "beyond the bound");
            assert!(object(once.as_bytes()).is_ok(), "what comes of a patch are properties");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
}
