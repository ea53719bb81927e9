//! Wills: what a client leaves to be published, at once or when it was gone for long enough.

use std::time::Duration;

use super::{MqttEvent, Session, Will, packets::carried};

impl Session {
    /// The will that waits, by the connection that left it, and for how long.
    pub(in crate::mqtt) fn waiting_will(&self) -> Option<(u64, Duration)> {
        self.will.as_ref().map(|(number, _, delay)| (*number, *delay))
    }

    /// The client of this connection was not back in time.
    pub(in crate::mqtt) fn will_is_due(&mut self, number: u64) {
        if let Some((_, will, _)) = self.will.take_if(|(waiting, ..)| *waiting == number) {
            self.publish_will(will);
        }
    }

    pub(super) fn publish_will(&mut self, will: Will) {
        self.events.push_back(MqttEvent::Published {
            ticket: self.tickets.next(),
            module: self.module.clone(),
            topic: will.topic.into(),
            properties: carried(will.properties.unwrap_or_default(), will.retain),
            payload: will.payload,
            qos: will.qos,
            packet_id: None,
        });
    }
}
