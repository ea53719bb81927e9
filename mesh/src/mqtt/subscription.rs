//! Which subscriptions are granted, and what they make of a topic.

use std::collections::BTreeMap;

use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;
use wayside_config::topic;

use super::packet::Wish;

impl Wish {
    /// Whether such a subscription may be made at all.
    pub(super) fn check(&self) -> Result<(), SubackReasonCode> {
        if !topic::is_filter(&self.filter) {
            return Err(SubackReasonCode::TopicFilterInvalid);
        }
        if self.filter.starts_with("$share/") {
            return Err(SubackReasonCode::SharedSubscriptionsNotSupported);
        }
        if self.filter.starts_with('$') {
            // Nothing is ever published there.
            return Err(SubackReasonCode::NotAuthorized);
        }
        if self.no_local {
            // Whether a module hears itself is for its routes to say.
            return Err(SubackReasonCode::ImplementationSpecificError);
        }
        Ok(())
    }
}

/// The highest QoS that `subscriptions`, by filter, grant a topic; `None` if none matches.
pub(super) fn granted(subscriptions: &BTreeMap<String, u8>, topic: &str) -> Option<u8> {
    subscriptions.iter().filter(|(filter, _)| topic::matches(filter, topic)).map(|(_, qos)| *qos).max()
}

/// Whether a client may publish to this topic.
pub(super) fn is_publishable(topic: &str) -> bool {
    topic::is_topic(topic) && !topic.starts_with('$')
}
