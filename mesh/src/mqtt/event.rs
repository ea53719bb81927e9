//! What the listener tells the device. Each variant has its twin among the router's or a delivery's events.

use bytes::Bytes;
use wayside_actors::{
    device::{calls, delivery, reconciler, router, twins, wiring},
    message::Properties,
    queue::{Endpoint, Queue},
};
use wayside_config::{text::Text, workload::ModuleId};

/// Something a module did. Events of one module come in the order of its doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttEvent {
    /// It published. See `router::Event::Published`; the receiver adds the wall clock.
    Published {
        /// Answered by `Mqtt::Accept` or `Mqtt::Refuse`, for QoS 0 too: unanswered publishes are counted.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// A valid topic that does not begin with `$`.
        topic: Text,
        /// What travels with it.
        properties: Properties,
        /// At most [`wayside_actors::message::MAX_PAYLOAD_BYTES`].
        payload: Bytes,
        /// 0, 1 or 2.
        qos: u8,
        /// For QoS 2 only, and not for a will.
        packet_id: Option<u16>,
    },
    /// It released a QoS 2 identifier. See `router::Event::Released`.
    Released {
        /// Answered by `Mqtt::Accept`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// The identifier.
        packet_id: u16,
    },
    /// It began a clean session. See `router::Event::SessionCleared`.
    SessionCleared {
        /// Who.
        module: ModuleId,
    },
    /// Its session changed and must be found again after a restart. See `router::Event::Session`.
    Session {
        /// Answered by `Mqtt::Accept` or `Mqtt::Refuse`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// At most [`super::settings::MAX_SESSION_BYTES`]; `None` when nothing is to be kept.
        kept: Option<Vec<u8>>,
    },
    /// What it has of QoS 2 changed, and goes no further before that is kept. See `router::Event::Flights`.
    Flights {
        /// Answered by `Mqtt::Accept`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// At most [`super::settings::MAX_SESSION_BYTES`].
        kept: Vec<u8>,
    },
    /// It subscribed to something new, and wants what is retained of it. See `router::Event::Subscribed`.
    Subscribed {
        /// Who.
        module: ModuleId,
    },
    /// Its connection ended: what it published and is not answered is not answered any more. See
    /// `router::Event::Disconnected`. A will that it left is published next.
    Disconnected {
        /// Who.
        module: ModuleId,
    },
    /// It is connected and subscribes to something: `delivery::Event::Up` for its queues.
    Online {
        /// Who.
        module: ModuleId,
    },
    /// It is gone, or subscribes to nothing any more: `delivery::Event::Down` for its queues.
    Offline {
        /// Who.
        module: ModuleId,
    },
    /// It acknowledged everything up to this number: `delivery::Event::Acked` without an epoch.
    Acked {
        /// The queue.
        queue: Queue,
        /// The highest number acknowledged without a gap.
        upto: u64,
    },
    /// It answered a call. See `calls::Event::Answered`.
    Answered {
        /// Which.
        call: u64,
        /// Who.
        module: ModuleId,
        /// Its answer, or its refusal; at most [`wayside_actors::message::MAX_PAYLOAD_BYTES`].
        answer: Result<Bytes, Bytes>,
    },
    /// It wants to hear what is desired of it. See `twins::Event::Wanted`.
    TwinWanted {
        /// Who.
        module: ModuleId,
    },
    /// It says what of itself is different. See `twins::Event::Reported`.
    Reported {
        /// Answered by `Mqtt::Accept` or `Mqtt::Refuse`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// At most [`wayside_config::limits::TWIN_BYTES`].
        patch: Bytes,
    },
    /// It holds updates of its workload back, or lets them go on. See `reconciler::Event::Lock`.
    Lock {
        /// Answered by `Mqtt::Accept` or `Mqtt::Refuse`.
        ticket: u64,
        /// Who.
        module: ModuleId,
        /// 0 to let them go on.
        for_ms: u64,
        /// For a person.
        reason: String,
    },
    /// A call is not answered any more. See `calls::Event::Undelivered`.
    Undelivered {
        /// Which.
        call: u64,
        /// Why.
        why: calls::Undelivered,
    },
}

impl MqttEvent {
    /// The event of the machines that this is. `wall_ms`: milliseconds since the Unix epoch, now.
    #[must_use]
    pub fn wired(self, wall_ms: u64) -> wiring::Event {
        let deliveries = |module, event| wiring::Event::Deliveries(Endpoint::Module(module), event);
        wiring::Event::Router(match self {
            Self::Published { ticket, module, topic, properties, payload, qos: _, packet_id } => {
                router::Event::Published { ticket, module, topic, properties, payload, wall_ms, packet_id }
            }
            Self::Released { ticket, module, packet_id } => {
                router::Event::Released { ticket, module, packet_id }
            }
            Self::SessionCleared { module } => router::Event::SessionCleared { module },
            Self::Session { ticket, module, kept } => router::Event::Session { ticket, module, kept },
            Self::Flights { ticket, module, kept } => router::Event::Flights { ticket, module, kept },
            Self::Subscribed { module } => router::Event::Subscribed { module, wall_ms },
            Self::Disconnected { module } => router::Event::Disconnected { module },
            Self::Online { module } => return deliveries(module, delivery::Event::Up),
            Self::Offline { module } => return deliveries(module, delivery::Event::Down),
            Self::Answered { call, module, answer } => {
                return wiring::Event::Calls(calls::Event::Answered { call, module, answer });
            }
            Self::TwinWanted { module } => {
                return wiring::Event::Twins(twins::Event::Wanted { module });
            }
            Self::Reported { ticket, module, patch } => {
                return wiring::Event::Twins(twins::Event::Reported { ticket, module, patch, wall_ms });
            }
            Self::Lock { ticket, module, for_ms, reason } => {
                let (owner, ticket) = (reconciler::Owner::Module(module), Some(ticket));
                let lock = reconciler::Event::Lock { owner, for_ms, reason, wall_ms, ticket };
                return wiring::Event::Reconciler(lock);
            }
            Self::Undelivered { call, why } => {
                return wiring::Event::Calls(calls::Event::Undelivered { call, why });
            }
            Self::Acked { queue, upto } => {
                return wiring::Event::Delivery(queue, delivery::Event::Acked { epoch: None, upto });
            }
        })
    }
}
