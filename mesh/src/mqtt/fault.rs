//! Why a client is turned away or disconnected, and how each protocol version says so.

use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError,
};
use thiserror::Error;

/// A connection ends for this reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    /// Bytes that are no MQTT packet.
    #[error("malformed packet")]
    Malformed,
    /// A packet that is not allowed here.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A packet or payload above the limit.
    #[error("packet too large")]
    TooLarge,
    /// A topic with wildcards, above the length limit or below `$`.
    #[error("not a topic to publish to: {0:?}")]
    Topic(String),
    /// A topic alias that was not offered, or not set.
    #[error("no topic has this alias, or it is above the maximum")]
    TopicAlias,
    /// More unanswered publishes than announced.
    #[error("more unanswered publishes than the receive maximum")]
    ReceiveMaximum,
    /// A publish with properties that would be lost.
    #[error(
        "a property is too long, or a name comes twice or begins with `$`; a QoS 0 publish cannot be refused"
    )]
    Properties,
    /// The device refuses a publish and the version has no other way to say so.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing heard for one and a half times the keep-alive.
    #[error("nothing heard for one and a half times the keep-alive")]
    KeepAlive,
    /// Another connection of the same module came.
    #[error("taken over by another connection of the module")]
    TakenOver,
    /// The module may not connect any more.
    #[error("the module is no longer wanted on this device")]
    Unwanted,
    /// The daemon stops.
    #[error("the device is stopping")]
    Stopping,
}

impl Fault {
    /// The reason in an MQTT 5 DISCONNECT.
    pub(crate) fn code(&self) -> DisconnectReasonCode {
        match self {
            Self::Malformed => DisconnectReasonCode::MalformedPacket,
            Self::Protocol(_) => DisconnectReasonCode::ProtocolError,
            Self::TooLarge => DisconnectReasonCode::PacketTooLarge,
            Self::Topic(_) => DisconnectReasonCode::TopicNameInvalid,
            Self::TopicAlias => DisconnectReasonCode::TopicAliasInvalid,
            Self::ReceiveMaximum => DisconnectReasonCode::ReceiveMaximumExceeded,
            Self::Properties | Self::Refused(_) => DisconnectReasonCode::ImplementationSpecificError,
            Self::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
            Self::TakenOver => DisconnectReasonCode::SessionTakenOver,
            Self::Unwanted => DisconnectReasonCode::AdministrativeAction,
            Self::Stopping => DisconnectReasonCode::ServerShuttingDown,
        }
    }
}

impl From<MqttError> for Fault {
    fn from(error: MqttError) -> Self {
        if error == MqttError::PacketTooLarge {
            Self::TooLarge
        } else if error == MqttError::ProtocolError {
            Self::Protocol("a field or property that is not allowed here")
        } else {
            Self::Malformed
        }
    }
}

/// A CONNECT is answered with this refusal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// Neither 3.1.1 nor 5.
    #[error("unsupported protocol version: use MQTT 3.1.1 or 5")]
    Version,
    /// Unknown module, or the wrong password.
    #[error("bad user name or password: the user name is workload/module")]
    Credentials,
    /// Too long, or empty where the session should last.
    #[error("client identifier not accepted: 1 to 256 bytes, empty only with a clean session")]
    ClientId,
    /// Extended authentication.
    #[error("extended authentication is not supported: use user name and password")]
    AuthenticationMethod,
    /// A will whose topic is no topic.
    #[error("not a topic to publish a will to: {0:?}")]
    WillTopic(String),
    /// A will with properties that would be lost.
    #[error("a property of the will is too long, or a name comes twice or begins with `$`")]
    WillProperties,
    /// What must be remembered of the session could not be stored.
    #[error("the session cannot be stored: {0}")]
    Unavailable(String),
}

impl Refusal {
    /// The reason in an MQTT 5 CONNACK.
    pub(crate) fn code(&self) -> ConnectReasonCode {
        match self {
            Self::Version => ConnectReasonCode::UnsupportedProtocolVersion,
            Self::Credentials => ConnectReasonCode::BadUserNameOrPassword,
            Self::ClientId => ConnectReasonCode::ClientIdentifierNotValid,
            Self::AuthenticationMethod => ConnectReasonCode::BadAuthenticationMethod,
            Self::WillTopic(_) => ConnectReasonCode::TopicNameInvalid,
            Self::WillProperties => ConnectReasonCode::ImplementationSpecificError,
            Self::Unavailable(_) => ConnectReasonCode::ServerUnavailable,
        }
    }

    /// The nearest of the five reasons that MQTT 3.1.1 has.
    pub(crate) fn return_code(&self) -> ConnectReturnCode {
        match self {
            Self::Version => ConnectReturnCode::UnacceptableProtocolVersion,
            Self::Credentials => ConnectReturnCode::BadUserNameOrPassword,
            Self::ClientId => ConnectReturnCode::IdentifierRejected,
            Self::AuthenticationMethod | Self::WillTopic(_) | Self::WillProperties => {
                ConnectReturnCode::NotAuthorized
            }
            Self::Unavailable(_) => ConnectReturnCode::ServerUnavailable,
        }
    }
}
