//! What clients say, in one form for both protocol versions.

use bytes::Bytes;
use wayside_actors::message::Properties;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// 3.1.1.
    V4,
    /// 5.
    V5,
}

/// A packet from a client that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK; `refused` carries a failure reason of MQTT 5.
    Puback { packet_id: u16, refused: bool },
    /// PUBREC; `refused` carries a failure reason of MQTT 5.
    Pubrec { packet_id: u16, refused: bool },
    /// PUBCOMP.
    Pubcomp { packet_id: u16 },
    /// PUBREL.
    Pubrel { packet_id: u16 },
    /// SUBSCRIBE.
    Subscribe { packet_id: u16, identifier: bool, filters: Vec<Wish> },
    /// UNSUBSCRIBE.
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    /// PINGREQ.
    Ping,
    /// DISCONNECT.
    Disconnect { publish_will: bool, expiry_s: Option<u32> },
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) alias: bool,
    /// What travels with it; `None` when it has properties that would not reach a subscriber.
    pub(crate) properties: Option<Properties>,
}

/// A CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    /// 0 for none.
    pub(crate) keep_alive_s: u16,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) will: Option<Will>,
    /// 0: the session ends with the connection. `u32::MAX`: it never does.
    pub(crate) expiry_s: u32,
    /// How many QoS 1 publishes the client takes before it acknowledges one.
    pub(crate) receive_maximum: u16,
    /// The largest packet that the client takes.
    pub(crate) max_packet: u32,
    /// The client wants reason strings.
    pub(crate) reasons: bool,
    /// The client asks for extended authentication.
    pub(crate) authentication: bool,
}

/// What a client leaves to be published should it end without a DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// It has properties that would not be honoured.
    pub(crate) properties: bool,
}
