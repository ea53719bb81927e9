//! What a device was granted, as the cloud knows it: from then on it is that here too, whatever it says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wayside_config::{
    document::{DocumentId, Grant, Revocation},
    identity::DeviceId,
};

/// What of a grant counts at the cloud. Whoever made it has verified the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Of the grant.
    pub version: u64,
    /// The rule that it was given under, and the device that did; `None` where operators did.
    pub under: Option<(DocumentId, DeviceId)>,
    /// What the device is called.
    pub name: String,
    /// What it was granted.
    pub labels: BTreeMap<String, String>,
}

impl Granted {
    /// What counts of a grant that was given under this rule, by this device.
    #[must_use]
    pub fn new(grant: Grant, under: Option<(DocumentId, DeviceId)>) -> Self {
        let Grant { version, name, labels, .. } = grant;
        Self { version, under, name, labels }
    }

    /// Whether it counts no more by this list: of the device, of the rule, or of the device that applied that.
    #[must_use]
    pub fn is_void(&self, device: &DeviceId, list: Option<&Revocation>) -> bool {
        let under = self.under.as_ref().map(|(rule, by)| (rule, by));
        list.is_some_and(|list| list.is_void(device, under))
    }

    /// Whether `next` takes its place, by the rule of devices: what operators granted gives way to their own word alone, and what was
    /// granted under a rule to no other rule while it counts. An older grant of the same kind is one that is shown again.
    pub(super) fn gives_way(&self, next: &Self, is_void: bool) -> bool {
        match (&self.under, &next.under) {
            (ours, theirs) if ours == theirs => self.version <= next.version,
            (_, None) => true,
            (None, Some(_)) => is_void,
            (Some(_), Some(_)) => is_void,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(version: u64, rule: Option<u8>) -> Granted {
        let by = DeviceId::from_bytes([7; 32]);
        let under = rule.map(|rule| (DocumentId([rule; 32]), by));
        Granted { version, under, name: "ewr".into(), labels: BTreeMap::new() }
    }

    #[test]
    fn operators_come_first_then_the_rule_that_was_first_then_the_newest() {
        let operators = granted(5, None);
        assert!(
            operators.gives_way(&granted(5, None), false) && operators.gives_way(&granted(6, None), false)
        );
        assert!(!operators.gives_way(&granted(4, None), true));
        assert!(!operators.gives_way(&granted(9, Some(1)), false));
        let by_rule = granted(5, Some(1));
        assert!(by_rule.gives_way(&granted(1, None), false));
        assert!(
            by_rule.gives_way(&granted(6, Some(1)), false) && !by_rule.gives_way(&granted(4, Some(1)), false)
        );
        assert!(
            !by_rule.gives_way(&granted(9, Some(2)), false) && by_rule.gives_way(&granted(1, Some(2)), true)
        );
    }
}
