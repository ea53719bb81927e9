//! The properties of MQTT 5 that travel with a message: user properties and the content type.

use mqtt_protocol_core::mqtt::packet::{ContentType, Property, UserProperty};
use wayside_actors::message::{MAX_PROPERTIES, MAX_PROPERTY_BYTES, Properties};

/// Under this name the content type travels.
const CONTENT_TYPE: &str = "content-type";

/// What travels of a PUBLISH; `None` when something of it would be lost.
pub(super) fn read(properties: &[Property]) -> Option<Properties> {
    let mut kept = Properties::new();
    for property in properties {
        let (name, value) = if let Property::ContentType(kind) = property {
            (CONTENT_TYPE, kind.val())
        } else if let Property::UserProperty(pair) = property {
            (pair.key(), pair.val())
        } else if matches!(property, Property::TopicAlias(_)) {
            continue;
        } else {
            return None;
        };
        let fits = name.len().max(value.len()) <= MAX_PROPERTY_BYTES;
        if !fits || kept.insert(name.to_owned(), value.to_owned()).is_some() || kept.len() > MAX_PROPERTIES {
            return None;
        }
    }
    Some(kept)
}

/// The same for a PUBLISH to a client.
pub(super) fn write(properties: &Properties) -> Vec<Property> {
    let property = |(name, value): (&String, &String)| {
        if name == CONTENT_TYPE {
            return ContentType::new(value.as_str()).ok().map(Property::ContentType);
        }
        UserProperty::new(name.as_str(), value.as_str()).ok().map(Property::UserProperty)
    };
    properties.iter().filter_map(property).collect()
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::packet::MessageExpiryInterval;

    use super::*;

    #[test]
    fn what_travels_comes_back_and_the_rest_is_not_lost_silently() {
        let kept = Properties::from([
            (CONTENT_TYPE.to_owned(), "application/json".to_owned()),
            ("unit".to_owned(), "C".to_owned()),
        ]);
        let mut properties = write(&kept);
        assert_eq!(read(&properties), Some(kept));
        properties.push(Property::UserProperty(UserProperty::new("unit", "F").unwrap()));
        assert_eq!(read(&properties), None, "a name that comes twice");
        let expiry = Property::MessageExpiryInterval(MessageExpiryInterval::new(5).unwrap());
        assert_eq!(read(&[expiry]), None);
        let long = "x".repeat(MAX_PROPERTY_BYTES + 1);
        assert_eq!(read(&[Property::UserProperty(UserProperty::new("a", &long).unwrap())]), None);
    }
}
