//! Bytes to packets. `mqtt-protocol-core` frames and parses; what it leaves unchecked is checked here.
//!
//! Its `Connection` endpoint is not used: it answers a QoS 2 publish that it has seen before on its own, which
//! may be before the first one is committed.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::{
    connection::{PacketData, RawPacket},
    packet::{Property, Qos, RetainHandling, v3_1_1, v5_0},
};

use super::{
    fault::{Fault, Refusal},
    packet::{Connect, Incoming, Publish, Version, WhenRetained, Will, Wish},
    properties,
};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Why a first packet is no CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotConnect {
    /// Close without a word.
    Fault(Fault),
    /// Answer with a refusal in this version, then close.
    Refused(Version, Refusal),
}

/// Reads the first packet of a connection.
pub(super) fn connect(raw: &RawPacket) -> Result<Connect, NotConnect> {
    let data = raw.data_as_slice();
    if raw.packet_type() != CONNECT || raw.flags() != 0 {
        return Err(NotConnect::Fault(Fault::Protocol("the first packet must be CONNECT")));
    }
    if data.starts_with(b"\0\x06MQIsdp") {
        return Err(NotConnect::Refused(Version::V4, Refusal::Version));
    }
    let (Some(b"\0\x04MQTT"), Some(&level), Some(&flags)) = (data.get(..6), data.get(6), data.get(7)) else {
        return Err(NotConnect::Fault(Fault::Malformed));
    };
    let has_will = flags & 0b100 != 0;
    let will_qos = flags >> 3 & 0b11;
    if flags & 1 != 0 || will_qos == 3 || (!has_will && flags & 0b11_1000 != 0) {
        return Err(NotConnect::Fault(Fault::Malformed));
    }
    match level {
        4 => raw.parse_exact(v3_1_1::Connect::parse).map(|packet| connect_v4(&packet)),
        5 => raw.parse_exact(v5_0::Connect::parse).map(|packet| connect_v5(&packet)),
        _ => return Err(NotConnect::Refused(Version::V4, Refusal::Version)),
    }
    .map_err(|error| NotConnect::Fault(error.into()))
}

/// Reads any later packet.
pub(super) fn packet(version: Version, raw: &RawPacket) -> Result<Incoming, Fault> {
    let expected_flags = match raw.packet_type() {
        PUBLISH => raw.flags(),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    };
    if raw.flags() != expected_flags {
        return Err(Fault::Malformed);
    }
    match (version, raw.packet_type()) {
        // The parser would take a reason code of MQTT 5 here.
        (Version::V4, PUBACK | PUBREC | PUBREL | PUBCOMP) if raw.remaining_length() != 2 => {
            Err(Fault::Malformed)
        }
        (_, CONNECT) => Err(Fault::Protocol("a second CONNECT")),
        (_, PUBLISH) => publish(version, raw),
        (Version::V4, PUBACK) => {
            let packet = raw.parse_exact(v3_1_1::Puback::parse)?;
            Ok(Incoming::Puback { packet_id: packet.packet_id(), refused: false })
        }
        (Version::V5, PUBACK) => {
            let packet = raw.parse_exact(v5_0::Puback::parse)?;
            let refused = packet.reason_code().is_some_and(|code| code.is_failure());
            Ok(Incoming::Puback { packet_id: packet.packet_id(), refused })
        }
        (Version::V4, PUBREC) => {
            let packet = raw.parse_exact(v3_1_1::Pubrec::parse)?;
            Ok(Incoming::Pubrec { packet_id: packet.packet_id(), refused: false })
        }
        (Version::V5, PUBREC) => {
            let packet = raw.parse_exact(v5_0::Pubrec::parse)?;
            let refused = packet.reason_code().is_some_and(|code| code.is_failure());
            Ok(Incoming::Pubrec { packet_id: packet.packet_id(), refused })
        }
        (Version::V4, PUBCOMP) => {
            let packet_id = raw.parse_exact(v3_1_1::Pubcomp::parse)?.packet_id();
            Ok(Incoming::Pubcomp { packet_id })
        }
        (Version::V5, PUBCOMP) => {
            let packet_id = raw.parse_exact(v5_0::Pubcomp::parse)?.packet_id();
            Ok(Incoming::Pubcomp { packet_id })
        }
        (Version::V4, PUBREL) => {
            let packet_id = raw.parse_exact(v3_1_1::Pubrel::parse)?.packet_id();
            Ok(Incoming::Pubrel { packet_id })
        }
        (Version::V5, PUBREL) => {
            let packet_id = raw.parse_exact(v5_0::Pubrel::parse)?.packet_id();
            Ok(Incoming::Pubrel { packet_id })
        }
        (_, SUBSCRIBE) => subscribe(version, raw),
        (_, UNSUBSCRIBE) => unsubscribe(version, raw),
        (_, PINGREQ) if raw.remaining_length() == 0 => Ok(Incoming::Ping),
        (Version::V4, DISCONNECT) if raw.remaining_length() == 0 => {
            Ok(Incoming::Disconnect { publish_will: false, expiry_s: None })
        }
        (Version::V5, DISCONNECT) => disconnect_v5(raw),
        (_, PINGREQ | DISCONNECT) => Err(Fault::Malformed),
        (_, _) => Err(Fault::Protocol("a packet that clients do not send, or not to this device")),
    }
}

fn connect_v4(packet: &v3_1_1::Connect) -> Connect {
    Connect {
        version: Version::V4,
        client_id: packet.client_id().to_owned(),
        clean: packet.clean_session(),
        keep_alive_s: packet.keep_alive(),
        user_name: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will: packet.will_topic().map(|topic| Will {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
            qos: packet.will_qos() as u8,
            retain: packet.will_retain(),
            properties: Some(Default::default()),
            delay_s: 0,
        }),
        expiry_s: if packet.clean_session() { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        max_packet: u32::MAX,
        topic_aliases: 0,
        reasons: false,
        authentication: false,
    }
}

fn connect_v5(packet: &v5_0::Connect) -> Connect {
    let mut connect = Connect {
        version: Version::V5,
        client_id: packet.client_id().to_owned(),
        clean: packet.clean_start(),
        keep_alive_s: packet.keep_alive(),
        user_name: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        will: packet.will_topic().map(|topic| Will {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(packet.will_payload().unwrap_or_default()),
            qos: packet.will_qos() as u8,
            retain: packet.will_retain(),
            properties: properties::read(packet.will_props()),
            delay_s: packet.will_props().iter().find_map(will_delay).unwrap_or(0),
        }),
        expiry_s: 0,
        receive_maximum: u16::MAX,
        max_packet: u32::MAX,
        topic_aliases: 0,
        reasons: true,
        authentication: false,
    };
    for property in packet.props() {
        if let Property::SessionExpiryInterval(seconds) = property {
            connect.expiry_s = seconds.val();
        } else if let Property::ReceiveMaximum(count) = property {
            connect.receive_maximum = count.val();
        } else if let Property::MaximumPacketSize(bytes) = property {
            connect.max_packet = bytes.val();
        } else if let Property::TopicAliasMaximum(count) = property {
            connect.topic_aliases = count.val();
        } else if let Property::RequestProblemInformation(wanted) = property {
            connect.reasons = wanted.val() != 0;
        } else if let Property::AuthenticationMethod(_) = property {
            connect.authentication = true;
        }
    }
    connect
}

fn will_delay(property: &Property) -> Option<u32> {
    if let Property::WillDelayInterval(delay) = property { Some(delay.val()) } else { None }
}

fn publish(version: Version, raw: &RawPacket) -> Result<Incoming, Fault> {
    let PacketData::Publish(data) = &raw.data else {
        return Err(Fault::Malformed);
    };
    let publish = match version {
        Version::V4 => {
            let (packet, _) = v3_1_1::Publish::parse(raw.flags(), data.clone())?;
            Publish {
                topic: packet.topic_name().to_owned(),
                payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                qos: packet.qos() as u8,
                retain: packet.retain(),
                packet_id: packet.packet_id(),
                alias: None,
                properties: Some(Default::default()),
            }
        }
        Version::V5 => {
            let (packet, _) = v5_0::Publish::parse(raw.flags(), data.clone())?;
            let alias = |property: &Property| {
                if let Property::TopicAlias(alias) = property { Some(alias.val()) } else { None }
            };
            Publish {
                topic: packet.topic_name().to_owned(),
                payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                qos: packet.qos() as u8,
                retain: packet.retain(),
                packet_id: packet.packet_id(),
                alias: packet.props().iter().find_map(alias),
                properties: properties::read(packet.props()),
            }
        }
    };
    let is_qos0 = publish.qos == Qos::AtMostOnce as u8;
    if publish.packet_id == Some(0) || (is_qos0 && raw.flags() & 0b1000 != 0) {
        return Err(Fault::Malformed);
    }
    Ok(Incoming::Publish(publish))
}

fn subscribe(version: Version, raw: &RawPacket) -> Result<Incoming, Fault> {
    let (packet_id, identifier, entries) = match version {
        Version::V4 => {
            let packet = raw.parse_exact(v3_1_1::Subscribe::parse)?;
            (packet.packet_id(), None, packet.entries().clone())
        }
        Version::V5 => {
            let packet = raw.parse_exact(v5_0::Subscribe::parse)?;
            let identifier = packet.props().iter().find_map(|property| {
                if let Property::SubscriptionIdentifier(id) = property { Some(id.val()) } else { None }
            });
            (packet.packet_id(), identifier, packet.entries().clone())
        }
    };
    let wish = |entry: &mqtt_protocol_core::mqtt::packet::SubEntry| Wish {
        filter: entry.topic_filter().to_owned(),
        qos: entry.sub_opts().qos() as u8,
        no_local: version == Version::V5 && entry.sub_opts().nl(),
        as_published: version == Version::V5 && entry.sub_opts().rap(),
        retained: match entry.sub_opts().rh() {
            RetainHandling::DoNotSendRetained if version == Version::V5 => WhenRetained::Never,
            RetainHandling::SendRetainedIfNotExists if version == Version::V5 => WhenRetained::IfNew,
            RetainHandling::SendRetained
            | RetainHandling::SendRetainedIfNotExists
            | RetainHandling::DoNotSendRetained => WhenRetained::Always,
        },
    };
    if packet_id == 0 {
        return Err(Fault::Malformed);
    }
    Ok(Incoming::Subscribe { packet_id, identifier, filters: entries.iter().map(wish).collect() })
}

fn unsubscribe(version: Version, raw: &RawPacket) -> Result<Incoming, Fault> {
    let (packet_id, entries) = match version {
        Version::V4 => {
            let packet = raw.parse_exact(v3_1_1::Unsubscribe::parse)?;
            (packet.packet_id(), packet.entries().clone())
        }
        Version::V5 => {
            let packet = raw.parse_exact(v5_0::Unsubscribe::parse)?;
            (packet.packet_id(), packet.entries().clone())
        }
    };
    if packet_id == 0 {
        return Err(Fault::Malformed);
    }
    let filters = entries.iter().map(|filter| filter.as_str().to_owned()).collect();
    Ok(Incoming::Unsubscribe { packet_id, filters })
}

fn disconnect_v5(raw: &RawPacket) -> Result<Incoming, Fault> {
    let packet = raw.parse_exact(v5_0::Disconnect::parse)?;
    // Any reason but a normal disconnection leaves the will to be published.
    let publish_will = packet.reason_code().is_some_and(|code| code as u8 != 0);
    let expiry_s = packet.props().iter().flatten().find_map(|property| {
        if let Property::SessionExpiryInterval(seconds) = property { Some(seconds.val()) } else { None }
    });
    Ok(Incoming::Disconnect { publish_will, expiry_s })
}

#[cfg(test)]
mod tests {
    use mqtt_protocol_core::mqtt::{
        common::Cursor,
        connection::{PacketBuildResult, PacketBuilder},
    };
    use proptest::prelude::*;

    use super::*;

    fn raw(first: u8, body: &[u8]) -> RawPacket {
        let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
        bytes.extend(body);
        match PacketBuilder::new().feed(&mut Cursor::new(&bytes[..])) {
            PacketBuildResult::Complete(raw) => raw,
            PacketBuildResult::Incomplete | PacketBuildResult::Error(_) => panic!("not one packet"),
        }
    }

    fn connect_with_flags(flags: u8) -> RawPacket {
        raw(0x10, &[&b"\0\x04MQTT\x04"[..], &[flags], b"\0\x3c\0\x01c\0\x01w\0\x01p"].concat())
    }

    #[test]
    fn flags_of_connect_that_mean_nothing_are_malformed() {
        assert!(connect(&connect_with_flags(0b100)).is_ok());
        // The reserved bit, a will of QoS 3, then the QoS and the retain flag of a will that is none.
        for flags in [0b101, 0b1_1100, 0b1000, 0b10_0000] {
            let error = connect(&connect_with_flags(flags)).unwrap_err();
            assert_eq!(error, NotConnect::Fault(Fault::Malformed), "{flags:b}");
        }
    }

    #[test]
    fn bytes_beyond_the_packet_are_malformed() {
        assert_eq!(packet(Version::V4, &raw(0xc0, &[])), Ok(Incoming::Ping));
        for (first, body) in [(0xc0, &[0][..]), (0xe0, &[0]), (0x62, &[0, 1, 0]), (0x60, &[0, 1])] {
            assert_eq!(packet(Version::V4, &raw(first, body)), Err(Fault::Malformed), "{first:x}");
        }
    }

    #[test]
    fn packet_identifiers_are_not_0() {
        for (first, body) in [(0x32, &b"\0\x01t\0\0"[..]), (0x82, b"\0\0\0\x01f\0"), (0xa2, b"\0\0\0\x01f")] {
            assert_eq!(packet(Version::V4, &raw(first, body)), Err(Fault::Malformed), "{first:x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_bytes_are_a_packet_or_an_error(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..100)) {
            let raw = raw(first, &body);
            let _ = packet(Version::V4, &raw);
            let _ = packet(Version::V5, &raw);
        }

        #[test]
        fn any_connect_is_a_packet_or_an_error(level in 3u8..7, body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = connect(&raw(0x10, &[&b"\0\x04MQTT"[..], &[level], &body].concat()));
        }

        #[test]
        fn properties_are_a_packet_or_an_error(
            first in prop::sample::select(vec![0x30u8, 0x32, 0x40, 0x62, 0x82, 0xa2, 0xe0]),
            properties in prop::collection::vec((1u8..43, prop::collection::vec(any::<u8>(), 0..6)), 0..4),
            end in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let properties: Vec<u8> = properties.into_iter().flat_map(|(id, value)| [vec![id], value].concat()).collect();
            let length = u8::try_from(properties.len()).unwrap();
            let start = match first {
                0x30 => &b"\0\x01t"[..],
                0x32 => b"\0\x01t\0\x01",
                0x40 | 0x62 => b"\0\x01\0",
                0xe0 => b"\0",
                _ => b"\0\x01",
            };
            let _ = packet(Version::V5, &raw(first, &[start, &[length], &properties, &end].concat()));
        }
    }
}
