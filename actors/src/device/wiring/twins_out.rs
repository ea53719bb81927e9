//! What follows from what the twins want done.

use smallvec::smallvec;
use wayside_config::topic::TWIN_REPORTED;

use super::{Out, Outs, mqtt, to_health, to_router};
use crate::{
    device::{
        health,
        io::{self, Io},
        router, twins,
    },
    message::property,
};

/// What follows from an effect of the twins.
#[must_use]
pub fn twins(effect: twins::Effect) -> Outs {
    use twins::Effect as E;
    smallvec![match effect {
        E::Save(module, twin) => Out::Io(Io::SaveTwin(module, twin)),
        E::Drop(module) => Out::Io(Io::DropTwin(module)),
        E::Deliver { module, body } => mqtt(io::Mqtt::Desired { module, body }),
        E::Publish { ticket, module, body: payload, wall_ms } => {
            // Retained, for who subscribes later wants it too.
            let properties = [(property::RETAIN, ""), (property::CONTENT_TYPE, "application/json")];
            let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let topic = TWIN_REPORTED.into();
            let packet_id = None;
            to_router(router::Event::Published {
                ticket,
                module,
                topic,
                properties,
                payload,
                wall_ms,
                packet_id,
            })
        }
        E::Refuse { ticket, reason } => mqtt(io::Mqtt::Refuse { ticket, reason }),
        E::Shown { question, result } => Out::Io(Io::TwinShown { question, result }),
        E::Tell(frames) => Out::Io(Io::Uplink(io::Uplink::Together(frames))),
        E::Problems(problems) => to_health(health::Event::Problems { source: "twins".into(), problems }),
    }]
}
