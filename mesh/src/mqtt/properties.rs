//! The properties of MQTT 5 that travel with a message. What has no name of its own in a message goes under one that begins with
//! `$`, which no user property may.

use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, PayloadFormat, PayloadFormatIndicator, Property, ResponseTopic,
    UserProperty,
};
use wayside_actors::message::{MAX_PROPERTIES, MAX_PROPERTY_BYTES, Properties, property};
use wayside_config::{hash::hex, topic};

/// What a payload is that says to be text.
const UTF_8: &str = "utf-8";

/// What travels of a PUBLISH or a will; `None` when something of it would be lost.
pub(super) fn read(properties: &[Property]) -> Option<Properties> {
    let mut kept = Properties::new();
    for property in properties {
        let (name, value) = match named(property) {
            Named::Kept(name, value) => (name, value),
            Named::Aside => continue,
            Named::Lost => return None,
        };
        let fits = name.len().max(value.len()) <= MAX_PROPERTY_BYTES;
        if !fits || kept.insert(name.to_owned(), value).is_some() || kept.len() > MAX_PROPERTIES {
            return None;
        }
    }
    Some(kept)
}

enum Named<'a> {
    Kept(&'a str, String),
    /// Of this connection alone.
    Aside,
    Lost,
}

fn named(property: &Property) -> Named<'_> {
    // The library's enum is not ours to list.
    if let Property::ContentType(kind) = property {
        Named::Kept(property::CONTENT_TYPE, kind.val().to_owned())
    } else if let Property::UserProperty(pair) = property {
        if pair.key().starts_with('$') { Named::Lost } else { Named::Kept(pair.key(), pair.val().to_owned()) }
    } else if let Property::ResponseTopic(to) = property {
        if topic::is_topic(to.val()) {
            Named::Kept(property::RESPONSE_TOPIC, to.val().to_owned())
        } else {
            Named::Lost
        }
    } else if let Property::CorrelationData(data) = property {
        Named::Kept(property::CORRELATION_DATA, hex(data.val()))
    } else if let Property::PayloadFormatIndicator(format) = property {
        match format.val() {
            0 => Named::Aside,
            _ => Named::Kept(property::PAYLOAD_FORMAT, UTF_8.to_owned()),
        }
    } else if let Property::MessageExpiryInterval(seconds) = property {
        Named::Kept(property::EXPIRY, seconds.val().to_string())
    } else if matches!(property, Property::TopicAlias(_) | Property::WillDelayInterval(_)) {
        Named::Aside
    } else {
        Named::Lost
    }
}

/// The same for a PUBLISH to a client. How long it may still wait is said apart.
pub(super) fn write(properties: &Properties) -> Vec<Property> {
    let property = |(name, value): (&String, &String)| match name.as_str() {
        property::CONTENT_TYPE => ContentType::new(value.as_str()).ok().map(Property::ContentType),
        property::RESPONSE_TOPIC => ResponseTopic::new(value.as_str()).ok().map(Property::ResponseTopic),
        property::CORRELATION_DATA => CorrelationData::new(unhex(value)?).ok().map(Property::CorrelationData),
        property::PAYLOAD_FORMAT => {
            PayloadFormatIndicator::new(PayloadFormat::String).ok().map(Property::PayloadFormatIndicator)
        }
        name if name.starts_with('$') => None,
        name => UserProperty::new(name, value.as_str()).ok().map(Property::UserProperty),
    };
    properties.iter().filter_map(property).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::packet::{MessageExpiryInterval, SubscriptionIdentifier};

    use super::*;

    #[test]
    fn what_travels_comes_back_and_the_rest_is_not_lost_silently() {
        let kept = Properties::from([
            (property::CONTENT_TYPE.to_owned(), "application/json".to_owned()),
            (property::RESPONSE_TOPIC.to_owned(), "answers/1".to_owned()),
            (property::CORRELATION_DATA.to_owned(), "00ff".to_owned()),
            (property::PAYLOAD_FORMAT.to_owned(), UTF_8.to_owned()),
            ("unit".to_owned(), "C".to_owned()),
        ]);
        let mut properties = write(&kept);
        assert_eq!(read(&properties), Some(kept.clone()));
        let expiry = Property::MessageExpiryInterval(MessageExpiryInterval::new(5).unwrap());
        properties.push(expiry);
        let expiring = read(&properties).unwrap();
        assert_eq!(expiring[property::EXPIRY], "5");
        assert_eq!(write(&expiring), write(&kept), "what is left of it is said apart");
        properties.push(Property::UserProperty(UserProperty::new("unit", "F").unwrap()));
        assert_eq!(read(&properties), None, "a name that comes twice");
        let user = |name: &str| Property::UserProperty(UserProperty::new(name, "x").unwrap());
        assert_eq!(read(&[user("$retain")]), None, "a name of ours");
        assert_eq!(read(&[user(&"x".repeat(MAX_PROPERTY_BYTES + 1))]), None);
        assert_eq!(read(&[Property::ResponseTopic(ResponseTopic::new("a/#").unwrap())]), None);
        let strange = Property::SubscriptionIdentifier(SubscriptionIdentifier::new(1).unwrap());
        assert_eq!(read(&[strange]), None);
    }
}
