//! What runs in the containers: a sensor that publishes at QoS 2 and a detector that takes what comes.
//!
//! Both keep their MQTT session on disk, as a client that means exactly once has to: a module that
//! crashes goes on with the packets that were not settled.

use std::collections::VecDeque;

use bytes::Bytes;
use wayside_actors::message::Message;
use wayside_config::workload::ModuleId;

use crate::{
    happening::{Happening, InDaemon, InProgram, OnDevice, ToBroker, ToModule},
    links::device_index,
    workload::SENSOR,
    world::Nature,
};

/// A module's program.
#[derive(Debug)]
pub(crate) struct Program {
    device: u32,
    module: ModuleId,
    /// The run of its container, while there is one.
    run: Option<u64>,
    /// Its connection: the session's number and the life of the daemon.
    session: Option<(u64, u32)>,
    sensor: Option<Sensor>,
}

#[derive(Debug, Default)]
struct Sensor {
    /// Messages measured so far.
    measured: u64,
    /// Messages handed to MQTT so far.
    sent: u64,
    in_flight: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    /// Whether PUBREC came: the message is the daemon's from then on.
    received: bool,
}

/// QoS 2 publishes in flight at once.
const WINDOW: usize = 8;

/// Milliseconds that a packet takes between a module and the daemon.
pub(crate) const PACKET_MS: u64 = 1;

impl Program {
    pub(crate) fn new(device: u32, module: ModuleId) -> Self {
        let sensor = (module.module == SENSOR).then(Sensor::default);
        Self { device, module, run: None, session: None, sensor }
    }

    pub(crate) const fn session(&self) -> Option<u64> {
        match self.session {
            Some((session, _)) => Some(session),
            None => None,
        }
    }

    pub(crate) fn is_run(&self, run: u64) -> bool {
        self.run == Some(run)
    }

    pub(crate) fn started(&mut self, run: u64, nature: &mut Nature) {
        self.run = Some(run);
        self.session = None;
        let first_ms = nature.random.between(0, nature.scenario.period_ms);
        self.plan(first_ms, InProgram::Tick { run }, nature);
        self.dial(nature);
    }

    pub(crate) fn stopped(&mut self) {
        self.run = None;
        self.session = None;
    }

    /// The broker is gone, or does not want this module: tries again soon.
    pub(crate) fn dial(&mut self, nature: &mut Nature) {
        self.session = None;
        if let Some(run) = self.run {
            let after_ms = nature.random.between(50, 500);
            self.plan(after_ms, InProgram::Dial { run }, nature);
        }
    }

    /// The broker let it in: what was not settled is sent again, in order.
    pub(crate) fn connected(&mut self, session: u64, life: u32, nature: &mut Nature) {
        self.session = Some((session, life));
        if let Some(sensor) = &self.sensor {
            let again: Vec<_> = sensor.in_flight.iter().map(InFlight::packet).collect();
            for packet in again {
                self.send(packet, nature);
            }
        }
        self.publish(nature);
    }

    pub(crate) fn tick(&mut self, run: u64, nature: &mut Nature) {
        if self.run != Some(run) || !nature.is_busy() {
            return;
        }
        if let Some(sensor) = &mut self.sensor {
            sensor.measured += 1;
            self.plan(nature.scenario.period_ms, InProgram::Tick { run }, nature);
            self.publish(nature);
        }
    }

    pub(crate) fn packet(&mut self, session: u64, packet: ToModule, nature: &mut Nature) {
        if self.session() != Some(session) {
            return;
        }
        match packet {
            ToModule::Received { packet_id } => {
                let waits = self.sensor.iter_mut().flat_map(|sensor| &mut sensor.in_flight);
                for publish in waits.filter(|publish| !publish.received && publish.packet_id() == packet_id) {
                    publish.received = true;
                    nature.ledger.accepted(self.device);
                }
                self.send(ToBroker::Release { packet_id }, nature);
            }
            ToModule::Complete { packet_id } => {
                if let Some(sensor) = &mut self.sensor {
                    sensor.in_flight.retain(|publish| publish.packet_id() != packet_id);
                }
                self.publish(nature);
            }
            ToModule::Refused { packet_id, reason } => {
                nature.ledger.refused += 1;
                nature.broken.push(format!("{} was refused packet {packet_id}: {reason}", self.module));
            }
            ToModule::Call { call } => {
                if nature.calls.is_answered() {
                    self.send(ToBroker::Answer { call }, nature);
                }
            }
            ToModule::Deliver { queue, first_seq, messages } => {
                let upto = first_seq + messages.len() as u64 - 1;
                for message in &messages {
                    let origin = device_index(&message.origin);
                    nature.ledger.taken(origin, self.device, number_of(message), session);
                }
                self.send(ToBroker::Ack { queue, upto }, nature);
            }
        }
    }

    fn publish(&mut self, nature: &mut Nature) {
        while self.session.is_some()
            && let Some(sensor) = &mut self.sensor
            && sensor.sent < sensor.measured
            && sensor.in_flight.len() < WINDOW
        {
            sensor.sent += 1;
            let publish = InFlight { number: sensor.sent, received: false };
            let packet = publish.packet();
            sensor.in_flight.push_back(publish);
            self.send(packet, nature);
        }
    }

    fn send(&self, packet: ToBroker, nature: &mut Nature) {
        if let Some((session, life)) = self.session {
            let what = InDaemon::Packet { module: self.module.clone(), session, packet };
            let what = OnDevice::Daemon { life, what };
            nature.schedule.after(PACKET_MS, Happening::Device(self.device, what));
        }
    }

    fn plan(&self, after_ms: u64, what: InProgram, nature: &mut Nature) {
        let what = OnDevice::Program(self.module.clone(), what);
        nature.schedule.after(after_ms, Happening::Device(self.device, what));
    }

    /// What is measured and not yet settled.
    pub(crate) fn unsettled(&self) -> u64 {
        let unsettled = |sensor: &Sensor| sensor.measured - sensor.sent + sensor.in_flight.len() as u64;
        self.sensor.as_ref().map_or(0, unsettled)
    }
}

impl InFlight {
    /// Packet identifiers are used again after 65,535 publishes.
    const fn packet_id(&self) -> u16 {
        (self.number % 65_535) as u16 + 1
    }

    const fn packet(&self) -> ToBroker {
        if self.received {
            ToBroker::Release { packet_id: self.packet_id() }
        } else {
            ToBroker::Publish { packet_id: self.packet_id(), number: self.number }
        }
    }
}

/// The body of the message with this number.
pub(crate) fn payload(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The number of a message.
pub(crate) fn number_of(message: &Message) -> u64 {
    message.payload.as_ref().try_into().map(u64::from_be_bytes).expect("every body is a number")
}
