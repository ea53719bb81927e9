//! Packets to bytes, for both protocol versions.

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::{
    packet::{
        AssignedClientIdentifier, GenericPacketTrait, MaximumPacketSize, MessageExpiryInterval, Properties,
        Property, Qos, ReasonString, ReceiveMaximum, ServerKeepAlive, SubscriptionIdentifier, TopicAlias,
        TopicAliasMaximum, v3_1_1, v5_0,
    },
    result_code::{
        ConnectReasonCode, ConnectReturnCode, PubackReasonCode, PubrecReasonCode, PubrelReasonCode,
        SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
    },
};

use super::{
    fault::{Fault, Refusal},
    outbox::Parcel,
    packet::Version,
    pending::Answer,
    properties,
    session::OwnPublish,
    window::{MAX_PACKET_BYTES, RECEIVE_MAXIMUM, TOPIC_ALIASES},
};

/// Longest reason string, in bytes; longer ones are cut.
const REASON_BYTES: usize = 256;
const NOT_YOURS: &str =
    "no route takes this topic from you, and no grant names it: see `routes` and `leaves` of the workload";
const BUILT: &str = "every field that the packet needs is set and within its range";

/// Writes packets of one version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    pub(super) version: Version,
    /// MQTT 5 clients may decline reason strings.
    pub(super) reasons: bool,
}

/// What a PUBLISH says besides its message.
#[derive(Clone, Debug, Default)]
pub(super) struct How {
    pub(super) qos: u8,
    /// For QoS 1 and 2.
    pub(super) packet_id: Option<u16>,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// Of the subscriptions that match.
    pub(super) identifiers: Vec<u32>,
    pub(super) alias: Option<Alias>,
}

/// A topic's alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// Goes with the topic.
    New(u16),
    /// Stands for it.
    Known(u16),
}

impl Encoder {
    /// CONNACK of a client that is let in.
    pub(super) fn connack(
        self,
        session_present: bool,
        assigned: Option<&str>,
        keep_alive_s: Option<u16>,
        out: &mut BytesMut,
    ) {
        match self.version {
            Version::V4 => put(
                out,
                &v3_1_1::Connack::builder()
                    .session_present(session_present)
                    .return_code(ConnectReturnCode::Accepted)
                    .build()
                    .expect(BUILT),
            ),
            Version::V5 => {
                let max_packet = u32::try_from(MAX_PACKET_BYTES).expect("a few MiB");
                let mut props: Properties = vec![
                    Property::ReceiveMaximum(ReceiveMaximum::new(RECEIVE_MAXIMUM).expect(BUILT)),
                    Property::MaximumPacketSize(MaximumPacketSize::new(max_packet).expect(BUILT)),
                    Property::TopicAliasMaximum(TopicAliasMaximum::new(TOPIC_ALIASES).expect(BUILT)),
                ];
                props.extend(
                    keep_alive_s.map(|seconds| {
                        Property::ServerKeepAlive(ServerKeepAlive::new(seconds).expect(BUILT))
                    }),
                );
                props.extend(assigned.map(|id| {
                    Property::AssignedClientIdentifier(AssignedClientIdentifier::new(id).expect(BUILT))
                }));
                put(
                    out,
                    &v5_0::Connack::builder()
                        .session_present(session_present)
                        .reason_code(ConnectReasonCode::Success)
                        .props(props)
                        .build()
                        .expect(BUILT),
                );
            }
        }
    }

    /// CONNACK of a client that is not.
    pub(super) fn refusal(self, refusal: &Refusal, out: &mut BytesMut) {
        match self.version {
            Version::V4 => put(
                out,
                &v3_1_1::Connack::builder()
                    .session_present(false)
                    .return_code(refusal.return_code())
                    .build()
                    .expect(BUILT),
            ),
            Version::V5 => put(
                out,
                &v5_0::Connack::builder()
                    .session_present(false)
                    .reason_code(refusal.code())
                    .props(self.reason(&refusal.to_string()))
                    .build()
                    .expect(BUILT),
            ),
        }
    }

    /// PUBACK. 3.1.1 knows no other than a good one.
    pub(super) fn puback(self, packet_id: u16, answer: &Answer, out: &mut BytesMut) {
        let (code, reason) = match (self.version, answer) {
            (Version::V4, _) => {
                return put(out, &v3_1_1::Puback::builder().packet_id(packet_id).build().expect(BUILT));
            }
            (Version::V5, Answer::Accepted) => {
                return put(out, &v5_0::Puback::builder().packet_id(packet_id).build().expect(BUILT));
            }
            (Version::V5, Answer::Denied) => (PubackReasonCode::NotAuthorized, NOT_YOURS),
            (Version::V5, Answer::Refused(reason)) => {
                (PubackReasonCode::ImplementationSpecificError, reason.as_str())
            }
        };
        let packet = v5_0::Puback::builder().packet_id(packet_id).reason_code(code);
        put(out, &packet.props(self.reason(reason)).build().expect(BUILT));
    }

    /// PUBREC. 3.1.1 knows no other than a good one.
    pub(super) fn pubrec(self, packet_id: u16, answer: &Answer, out: &mut BytesMut) {
        let (code, reason) = match (self.version, answer) {
            (Version::V4, _) => {
                return put(out, &v3_1_1::Pubrec::builder().packet_id(packet_id).build().expect(BUILT));
            }
            (Version::V5, Answer::Accepted) => {
                return put(out, &v5_0::Pubrec::builder().packet_id(packet_id).build().expect(BUILT));
            }
            (Version::V5, Answer::Denied) => (PubrecReasonCode::NotAuthorized, NOT_YOURS),
            (Version::V5, Answer::Refused(reason)) => {
                (PubrecReasonCode::ImplementationSpecificError, reason.as_str())
            }
        };
        let packet = v5_0::Pubrec::builder().packet_id(packet_id).reason_code(code);
        put(out, &packet.props(self.reason(reason)).build().expect(BUILT));
    }

    /// PUBCOMP.
    pub(super) fn pubcomp(self, packet_id: u16, out: &mut BytesMut) {
        match self.version {
            Version::V4 => {
                put(out, &v3_1_1::Pubcomp::builder().packet_id(packet_id).build().expect(BUILT));
            }
            Version::V5 => {
                put(out, &v5_0::Pubcomp::builder().packet_id(packet_id).build().expect(BUILT));
            }
        }
    }

    /// PUBREL; where no such publish is known MQTT 5 says so.
    pub(super) fn pubrel(self, packet_id: u16, is_known: bool, out: &mut BytesMut) {
        match self.version {
            Version::V4 => {
                put(out, &v3_1_1::Pubrel::builder().packet_id(packet_id).build().expect(BUILT));
            }
            Version::V5 => {
                let mut packet = v5_0::Pubrel::builder().packet_id(packet_id);
                if !is_known {
                    packet = packet.reason_code(PubrelReasonCode::PacketIdentifierNotFound);
                }
                put(out, &packet.build().expect(BUILT));
            }
        }
    }

    /// SUBACK with a code for each filter; 3.1.1 knows one failure only.
    pub(super) fn suback(self, packet_id: u16, codes: &[SubackReasonCode], out: &mut BytesMut) {
        match self.version {
            Version::V4 => {
                let codes = codes
                    .iter()
                    .map(|code| SubackReturnCode::try_from(*code as u8).unwrap_or(SubackReturnCode::Failure))
                    .collect::<Vec<_>>();
                let packet = v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes);
                put(out, &packet.build().expect(BUILT));
            }
            Version::V5 => {
                let packet = v5_0::Suback::builder().packet_id(packet_id);
                put(out, &packet.reason_codes(codes.to_vec()).build().expect(BUILT));
            }
        }
    }

    /// UNSUBACK; `existed` tells for each filter whether there was such a subscription.
    pub(super) fn unsuback(self, packet_id: u16, existed: &[bool], out: &mut BytesMut) {
        match self.version {
            Version::V4 => {
                put(out, &v3_1_1::Unsuback::builder().packet_id(packet_id).build().expect(BUILT));
            }
            Version::V5 => {
                let code = |existed: &bool| match existed {
                    true => UnsubackReasonCode::Success,
                    false => UnsubackReasonCode::NoSubscriptionExisted,
                };
                let codes = existed.iter().map(code).collect::<Vec<_>>();
                let packet = v5_0::Unsuback::builder().packet_id(packet_id).reason_codes(codes);
                put(out, &packet.build().expect(BUILT));
            }
        }
    }

    /// PINGRESP.
    pub(super) fn pong(self, out: &mut BytesMut) {
        match self.version {
            Version::V4 => put(out, &v3_1_1::Pingresp::builder().build().expect(BUILT)),
            Version::V5 => put(out, &v5_0::Pingresp::builder().build().expect(BUILT)),
        }
    }

    /// DISCONNECT, which under 3.1.1 a server does not send.
    pub(super) fn disconnect(self, fault: &Fault, out: &mut BytesMut) {
        if self.version == Version::V5 {
            put(
                out,
                &v5_0::Disconnect::builder()
                    .reason_code(fault.code())
                    .props(self.reason(&fault.to_string()))
                    .build()
                    .expect(BUILT),
            );
        }
    }

    /// PUBLISH to the client. The size that it took.
    pub(super) fn publish(self, parcel: &Parcel, how: &How, out: &mut BytesMut) -> usize {
        let before = out.len();
        let How { qos, packet_id, dup, retain, identifiers, alias } = how;
        let payload = parcel.payload.as_ref();
        let topic = if matches!(alias, Some(Alias::Known(_))) { "" } else { parcel.topic.as_str() };
        let qos = match qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        };
        match self.version {
            Version::V4 => {
                let packet = v3_1_1::Publish::builder().topic_name(topic).expect(BUILT).qos(qos);
                let packet = packet.packet_id(*packet_id).dup(*dup).retain(*retain).payload(payload);
                put(out, &packet.build().expect(BUILT));
            }
            Version::V5 => {
                let mut props = properties::write(&parcel.properties);
                if let Some(seconds) = parcel.expiry_s {
                    let interval = MessageExpiryInterval::new(seconds).expect(BUILT);
                    props.push(Property::MessageExpiryInterval(interval));
                }
                props.extend(identifiers.iter().filter_map(|id| {
                    SubscriptionIdentifier::new(*id).ok().map(Property::SubscriptionIdentifier)
                }));
                if let Some(Alias::New(alias) | Alias::Known(alias)) = alias {
                    props.push(Property::TopicAlias(TopicAlias::new(*alias).expect(BUILT)));
                }
                let packet = v5_0::Publish::builder().topic_name(topic).expect(BUILT).qos(qos);
                let packet = packet.packet_id(*packet_id).dup(*dup).retain(*retain).payload(payload);
                put(out, &packet.props(props).build().expect(BUILT));
            }
        }
        out.len() - before
    }

    /// PUBLISH of the device's own, at QoS 0.
    pub(super) fn own(self, publish: &OwnPublish, out: &mut BytesMut) {
        let (topic, body) = (publish.topic.as_str(), publish.body.as_ref());
        match self.version {
            Version::V4 => {
                let packet = v3_1_1::Publish::builder().topic_name(topic).expect(BUILT);
                put(out, &packet.qos(Qos::AtMostOnce).retain(false).payload(body).build().expect(BUILT));
            }
            Version::V5 => {
                let packet = v5_0::Publish::builder().topic_name(topic).expect(BUILT).qos(Qos::AtMostOnce);
                let packet = packet.retain(false).payload(body).props(publish.properties.clone());
                put(out, &packet.build().expect(BUILT));
            }
        }
    }

    fn reason(self, text: &str) -> Properties {
        if !self.reasons {
            return Properties::new();
        }
        let mut end = text.len().min(REASON_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        vec![Property::ReasonString(ReasonString::new(&text[..end]).expect(BUILT))]
    }
}

fn put(out: &mut BytesMut, packet: &impl GenericPacketTrait) {
    out.extend_from_slice(&packet.to_continuous_buffer());
}
