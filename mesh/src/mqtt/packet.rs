//! What clients say, in one form for both protocol versions.

use bytes::Bytes;
use wayside_actors::message::Properties;

use super::window::MAX_KEEP_ALIVE_S;

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
    Subscribe { packet_id: u16, identifier: Option<u32>, filters: Vec<Wish> },
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
    pub(crate) as_published: bool,
    pub(crate) retained: WhenRetained,
}

/// When a subscription gets what is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenRetained {
    /// Each time that it is made.
    Always,
    /// When there was none of that filter.
    IfNew,
    /// Never.
    Never,
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) alias: Option<u16>,
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
    /// How many topic aliases the client takes.
    pub(crate) topic_aliases: u16,
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
    /// What travels with it; `None` when it has properties that would not reach a subscriber.
    pub(crate) properties: Option<Properties>,
    /// How many seconds the client may be gone before it is published.
    pub(crate) delay_s: u32,
}

impl Connect {
    /// The keep-alive, where the client wants none or one so long that a device would not notice that it is gone.
    pub(crate) fn server_keep_alive(&self) -> Option<u16> {
        let is_bounded = (1..=MAX_KEEP_ALIVE_S).contains(&self.keep_alive_s);
        (self.version == Version::V5 && !is_bounded).then_some(MAX_KEEP_ALIVE_S)
    }
}
