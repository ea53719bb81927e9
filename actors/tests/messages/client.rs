//! A module that publishes with QoS 2 and sends again what was not answered.

use std::collections::VecDeque;

use wayside_actors::device::{router, wiring::Event};
use wayside_config::workload::ModuleId;

/// At most so many publishes are on their way.
const IN_FLIGHT: usize = 3;

/// The publishing module `plant/sensor`.
#[derive(Debug, Default)]
pub struct Client {
    pub published: u64,
    in_flight: VecDeque<Flight>,
    tickets: u64,
    packet_id: u16,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    packet_id: u16,
    ticket: u64,
    received: bool,
}

impl Client {
    /// Publishes the next number, if there is room in flight.
    pub fn publish(&mut self) -> Option<Event> {
        if self.in_flight.len() >= IN_FLIGHT {
            return None;
        }
        self.published += 1;
        self.packet_id = self.packet_id % 7 + 1;
        let flight = Flight { number: self.published, packet_id: self.packet_id, ticket: 0, received: false };
        self.in_flight.push_back(flight);
        Some(self.send(self.in_flight.len() - 1))
    }

    /// The router accepted a ticket.
    pub fn accepted(&mut self, ticket: u64) -> Option<Event> {
        let at = self.in_flight.iter().position(|flight| flight.ticket == ticket)?;
        if self.in_flight[at].received {
            self.in_flight.remove(at);
            return None;
        }
        self.in_flight[at].received = true;
        Some(self.send(at))
    }

    /// The connection was lost: all that is in flight goes again, in order.
    pub fn reconnect(&mut self) -> Vec<Event> {
        let mut events = vec![Event::Router(router::Event::Disconnected { module: sensor() })];
        events.extend((0..self.in_flight.len()).map(|at| self.send(at)));
        events
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn send(&mut self, at: usize) -> Event {
        self.tickets += 1;
        let flight = &mut self.in_flight[at];
        flight.ticket = self.tickets;
        let (ticket, module, packet_id) = (flight.ticket, sensor(), flight.packet_id);
        Event::Router(if flight.received {
            router::Event::Released { ticket, module, packet_id }
        } else {
            router::Event::Published {
                ticket,
                module,
                topic: "data".into(),
                properties: Default::default(),
                payload: flight.number.to_be_bytes().to_vec().into(),
                wall_ms: 0,
                packet_id: Some(packet_id),
            }
        })
    }
}

/// The module that publishes.
pub fn sensor() -> ModuleId {
    ModuleId::new("plant", "sensor")
}
