//! What a client subscribes to, and what that makes of a message.

use std::collections::BTreeMap;

use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;
use wayside_config::topic;

use super::{outbox::Parcel, packet::Wish};

/// What a client wants of the topics that a filter matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) qos: u8,
    /// Not what the client published itself.
    pub(super) no_local: bool,
    /// With the retain flag as it was published.
    pub(super) as_published: bool,
    /// Given back with each message.
    pub(super) identifier: Option<u32>,
}

/// All of a client, by filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    by_filter: BTreeMap<String, Subscription>,
    /// None has an identifier or asks for the retain flag.
    are_plain: bool,
}

/// What subscriptions make of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// None matches.
    Nothing,
    /// It is the client's own, and none that matches wants those.
    NotWanted,
    /// Send it with this QoS.
    Send(u8),
}

impl Subscriptions {
    pub(super) const fn by_filter(&self) -> &BTreeMap<String, Subscription> {
        &self.by_filter
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_filter.is_empty()
    }

    pub(super) fn insert(&mut self, filter: String, subscription: Subscription) -> Option<Subscription> {
        let before = self.by_filter.insert(filter, subscription);
        self.look();
        before
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<Subscription> {
        let before = self.by_filter.remove(filter);
        self.look();
        before
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The highest QoS of those that match.
    pub(super) fn grant(&self, parcel: &Parcel) -> Grant {
        let mut grant = Grant::Nothing;
        for (_, subscription) in self.matching(&parcel.topic) {
            let now = match grant {
                _ if parcel.is_own && subscription.no_local => Grant::NotWanted,
                Grant::Send(qos) => Grant::Send(qos.max(subscription.qos)),
                Grant::Nothing | Grant::NotWanted => Grant::Send(subscription.qos),
            };
            if !(matches!(grant, Grant::Send(_)) && now == Grant::NotWanted) {
                grant = now;
            }
        }
        grant
    }

    /// Whether it is sent with the retain flag, and the identifiers that go with it.
    pub(super) fn mentions(&self, parcel: &Parcel) -> (bool, Vec<u32>) {
        if self.are_plain {
            return (false, Vec::new());
        }
        let (mut is_retained, mut identifiers) = (false, Vec::new());
        for (_, subscription) in self.matching(&parcel.topic) {
            is_retained |= parcel.is_retained && subscription.as_published;
            identifiers.extend(subscription.identifier);
        }
        (is_retained, identifiers)
    }

    fn matching<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a String, &'a Subscription)> {
        self.by_filter.iter().filter(move |(filter, _)| topic::matches(plain(filter), topic))
    }

    fn look(&mut self) {
        let is_plain =
            |subscription: &Subscription| subscription.identifier.is_none() && !subscription.as_published;
        self.are_plain = self.by_filter.values().all(is_plain);
    }
}

impl FromIterator<(String, Subscription)> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = (String, Subscription)>>(subscriptions: I) -> Self {
        let mut all = Self { by_filter: subscriptions.into_iter().collect(), are_plain: true };
        all.look();
        all
    }
}

impl Wish {
    /// Whether such a subscription may be made at all.
    pub(super) fn check(&self) -> Result<(), SubackReasonCode> {
        let filter = plain(&self.filter);
        let has_group = filter.len() < self.filter.len();
        if !topic::is_filter(&self.filter) || !topic::is_filter(filter) {
            return Err(SubackReasonCode::TopicFilterInvalid);
        }
        if has_group
            && self
                .filter
                .split('/')
                .nth(1)
                .is_none_or(|group| group.contains(['+', '#']) || group.is_empty())
        {
            return Err(SubackReasonCode::TopicFilterInvalid);
        }
        if filter.starts_with('$') {
            // Nothing is ever published there.
            return Err(SubackReasonCode::NotAuthorized);
        }
        Ok(())
    }
}

/// The filter of a shared subscription `$share/GROUP/FILTER`, and others as they are. A client has one session, so
/// it has nobody to share with: such a subscription gets what any other gets.
pub(super) fn plain(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

/// Whether a client may publish to this topic.
pub(super) fn is_publishable(topic: &str) -> bool {
    topic::is_topic(topic) && !topic.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(is_own: bool) -> Parcel {
        Parcel { topic: "a/b".into(), is_own, is_retained: true, ..Parcel::default() }
    }

    fn subscriptions(all: &[(&str, Subscription)]) -> Subscriptions {
        all.iter().map(|(filter, subscription)| ((*filter).to_owned(), *subscription)).collect()
    }

    const PLAIN: Subscription =
        Subscription { qos: 0, no_local: false, as_published: false, identifier: None };

    #[test]
    fn the_highest_qos_of_those_that_match_and_want_it_counts() {
        let all = subscriptions(&[
            ("a/#", Subscription { qos: 1, ..PLAIN }),
            ("$share/g/a/+", Subscription { qos: 2, no_local: true, ..PLAIN }),
            ("b", Subscription { qos: 2, ..PLAIN }),
        ]);
        assert_eq!(all.grant(&parcel(false)), Grant::Send(2));
        assert_eq!(all.grant(&parcel(true)), Grant::Send(1));
        let own = subscriptions(&[("a/b", Subscription { no_local: true, ..PLAIN })]);
        assert_eq!((own.grant(&parcel(true)), own.grant(&parcel(false))), (Grant::NotWanted, Grant::Send(0)));
        assert_eq!(subscriptions(&[("b", PLAIN)]).grant(&parcel(true)), Grant::Nothing);
    }

    #[test]
    fn identifiers_and_the_retain_flag_are_given_where_they_were_asked_for() {
        let mut all = subscriptions(&[("a/#", PLAIN)]);
        assert_eq!(all.mentions(&parcel(false)), (false, vec![]));
        all.insert("+/b".to_owned(), Subscription { identifier: Some(7), ..PLAIN });
        all.insert("a/b".to_owned(), Subscription { as_published: true, identifier: Some(9), ..PLAIN });
        assert_eq!(all.mentions(&parcel(false)), (true, vec![7, 9]));
        all.remove("a/b");
        assert_eq!(all.mentions(&parcel(false)), (false, vec![7]));
    }
}
