//! A state file of any bytes: refused, or what it says is written and read again.

use std::collections::BTreeMap;

use wayside_config::statefile::{decode, encode};

pub(crate) fn read(bytes: &[u8]) {
    if let Ok(value) = decode::<BTreeMap<String, Vec<u64>>>("state", 1, bytes) {
        assert_eq!(decode("state", 1, &encode("state", 1, &value)), Ok(value));
    }
}
