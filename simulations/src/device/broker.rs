//! The daemon's MQTT listener: sessions of modules, and the tickets that the router settles.

use std::collections::{BTreeMap, BTreeSet};

use wayside_actors::{
    device::{calls, delivery, io, router, wiring::Event},
    queue::Endpoint,
};
use wayside_config::workload::ModuleId;

use super::{Host, daemon::Daemon};
use crate::{
    happening::{Happening, InProgram, OnDevice, ToBroker, ToModule},
    program::{self, PACKET_MS},
    workload::TOPIC,
    world::Nature,
};

/// The MQTT listener's state.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) allowed: BTreeSet<ModuleId>,
    /// Each connected module's session.
    pub(super) sessions: BTreeMap<ModuleId, u64>,
    /// Publishes and releases that wait for the router: whose, in which session, which.
    pub(super) tickets: BTreeMap<u64, Ticket>,
    pub(super) ticketed: u64,
    /// Calls that are not answered, and whose they are.
    pub(super) calls: BTreeMap<u64, ModuleId>,
}

/// What a router's answer is for.
pub(super) struct Ticket {
    pub(super) module: ModuleId,
    pub(super) session: u64,
    pub(super) packet_id: u16,
    pub(super) released: bool,
}

impl Daemon {
    pub(super) fn mqtt(&mut self, mqtt: io::Mqtt, host: &mut Host, nature: &mut Nature) {
        match mqtt {
            io::Mqtt::Accept { tickets } => {
                for ticket in tickets {
                    let Some(ticket) = self.broker.tickets.remove(&ticket) else { continue };
                    let Ticket { module, session, packet_id, released } = ticket;
                    let packet = if released {
                        ToModule::Complete { packet_id }
                    } else {
                        ToModule::Received { packet_id }
                    };
                    self.to_module(module, session, packet, nature);
                }
            }
            io::Mqtt::Deny { .. } => unreachable!("simulated modules publish what their routes take"),
            io::Mqtt::Refuse { ticket, reason } => {
                if let Some(Ticket { module, session, packet_id, .. }) = self.broker.tickets.remove(&ticket) {
                    self.to_module(module, session, ToModule::Refused { packet_id, reason }, nature);
                }
            }
            io::Mqtt::Deliver { queue, first_seq, messages } => {
                if let Endpoint::Module(module) = &queue.to
                    && let Some(session) = self.broker.sessions.get(module).copied()
                {
                    let module = module.clone();
                    let packet = ToModule::Deliver { queue, first_seq, messages };
                    self.to_module(module, session, packet, nature);
                }
            }
            io::Mqtt::Forward { .. } => unreachable!("the simulated workload has no best-effort route"),
            io::Mqtt::Clients(_) | io::Mqtt::Pause => {
                let clients = if let io::Mqtt::Clients(clients) = mqtt { clients } else { Vec::new() };
                self.broker.allowed = clients.into_iter().map(|client| client.id).collect();
                let sessions = self.broker.sessions.keys();
                let unwanted = sessions.filter(|module| !self.broker.allowed.contains(module));
                for module in unwanted.cloned().collect::<Vec<_>>() {
                    self.disconnected(&module, host, nature);
                    if let Some(program) = host.programs.get_mut(&module) {
                        program.dial(nature);
                    }
                }
            }
            io::Mqtt::AskUp { module } => {
                let up = self.broker.sessions.contains_key(&module);
                self.ready.push_back(reachable(module, up));
            }
            io::Mqtt::Call { call, module, .. } => match self.broker.sessions.get(&module).copied() {
                Some(session) => {
                    self.broker.calls.insert(call, module.clone());
                    self.to_module(module, session, ToModule::Call { call }, nature);
                }
                None => self.ready.push_back(undelivered(call, calls::Undelivered::NotConnected)),
            },
            io::Mqtt::Withdraw { call, .. } => {
                self.broker.calls.remove(&call);
            }
            io::Mqtt::Retained { .. }
            | io::Mqtt::Forget(_)
            | io::Mqtt::Names(_)
            | io::Mqtt::Desired { .. } => {}
        }
    }

    fn to_module(&self, module: ModuleId, session: u64, packet: ToModule, nature: &mut Nature) {
        let what = OnDevice::Program(module, InProgram::Packet { session, packet });
        nature.schedule.after(PACKET_MS, Happening::Device(self.index, what));
    }

    /// A module dials the broker.
    pub(super) fn dialled(&mut self, module: ModuleId, host: &mut Host, nature: &mut Nature) {
        let Some(program) = host.programs.get_mut(&module) else { return };
        if !self.broker.allowed.contains(&module) {
            return program.dial(nature);
        }
        let session = nature.links.new_connection();
        self.broker.sessions.insert(module.clone(), session);
        program.connected(session, self.life, nature);
        self.tell(reachable(module, true), host, nature);
    }

    /// A module's connection to the broker ended.
    pub(super) fn disconnected(&mut self, module: &ModuleId, host: &mut Host, nature: &mut Nature) {
        if self.broker.sessions.remove(module).is_some() {
            self.broker.tickets.retain(|_, ticket| ticket.module != *module);
            let of_module = self.broker.calls.iter().filter(|(_, whose)| *whose == module);
            for call in of_module.map(|(call, _)| *call).collect::<Vec<_>>() {
                self.broker.calls.remove(&call);
                self.ready.push_back(undelivered(call, calls::Undelivered::Ended));
            }
            self.ready.push_back(Event::Router(router::Event::Disconnected { module: module.clone() }));
            self.tell(reachable(module.clone(), false), host, nature);
        }
    }

    pub(super) fn packet(
        &mut self,
        module: ModuleId,
        session: u64,
        packet: ToBroker,
        host: &mut Host,
        nature: &mut Nature,
    ) {
        if self.broker.sessions.get(&module) != Some(&session) {
            return;
        }
        let (packet_id, number) = match packet {
            ToBroker::Ack { queue, upto } => {
                let event = delivery::Event::Acked { epoch: None, upto };
                return self.tell(Event::Delivery(queue, event), host, nature);
            }
            ToBroker::Answer { call } => {
                if self.broker.calls.remove(&call).is_some() {
                    let answer = Ok(bytes::Bytes::from_static(b"{}"));
                    self.tell(Event::Calls(calls::Event::Answered { call, module, answer }), host, nature);
                }
                return;
            }
            ToBroker::Publish { packet_id, number } => (packet_id, Some(number)),
            ToBroker::Release { packet_id } => (packet_id, None),
        };
        self.broker.ticketed += 1;
        let ticket = self.broker.ticketed;
        let released = number.is_none();
        self.broker.tickets.insert(ticket, Ticket { module: module.clone(), session, packet_id, released });
        let event = match number {
            Some(number) => router::Event::Published {
                ticket,
                module,
                topic: TOPIC.into(),
                properties: Default::default(),
                payload: program::payload(number),
                wall_ms: nature.wall_ms(),
                packet_id: Some(packet_id),
            },
            None => router::Event::Released { ticket, module, packet_id },
        };
        self.tell(Event::Router(event), host, nature);
    }
}

fn undelivered(call: u64, why: calls::Undelivered) -> Event {
    Event::Calls(calls::Event::Undelivered { call, why })
}

fn reachable(module: ModuleId, up: bool) -> Event {
    let event = if up { delivery::Event::Up } else { delivery::Event::Down };
    Event::Deliveries(Endpoint::Module(module), event)
}
