//! A condition of any bytes over a body of any bytes: refused with a reason, or evaluated, and the same after a trip.

use std::collections::BTreeMap;

use wayside_config::{
    cbor,
    condition::{self, Condition, MessageView},
};

/// The condition ends at the first zero, the body follows.
pub(crate) fn read(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let source = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let body = parts.next().unwrap_or_default();
    match Condition::new(&source, condition::MESSAGE) {
        Ok(condition) => {
            let properties = BTreeMap::from([("unit".to_owned(), "C".to_owned())]);
            let message = MessageView::new("room/1", "sensor", &properties, body);
            let answer = condition.holds_for(&message);
            let travelled: Condition =
                cbor::decode(&cbor::encode(&condition)).expect("what was accepted travels");
            assert_eq!(travelled.holds_for(&message), answer);
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a reason"),
    }
}
