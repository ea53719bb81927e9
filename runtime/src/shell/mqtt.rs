//! The MQTT listener as effects reach it: it comes when modules have a network, and may come anew.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use wayside_actors::{
    device::{access::Client, calls, delivery, io, router, wiring::Event},
    queue::Endpoint,
};
use wayside_config::{identity::DeviceId, workload::ModuleId};
use wayside_mesh::mqtt::Listener;

use super::Device;

/// Holds what a listener that comes later must know. Without a listener nothing can be delivered, and
/// deliveries wait for their module.
#[derive(Default)]
pub struct MqttPort {
    listener: RefCell<Option<Rc<Listener>>>,
    clients: RefCell<Vec<Client>>,
    names: RefCell<BTreeMap<DeviceId, String>>,
}

impl MqttPort {
    /// A listener is there.
    pub fn begin(&self, listener: Listener) -> Rc<Listener> {
        listener.perform(io::Mqtt::Names(self.names.borrow().clone()));
        listener.perform(io::Mqtt::Clients(self.clients.borrow().clone()));
        let listener = Rc::new(listener);
        self.listener.replace(Some(Rc::clone(&listener)));
        listener
    }

    /// The listener, to be closed while what it took is still answered through it.
    pub fn listener(&self) -> Option<Rc<Listener>> {
        self.listener.borrow().clone()
    }

    /// The listener is gone, and its sessions with it.
    pub fn end(&self, device: &Rc<Device>) {
        self.listener.take();
        device.tell(Event::Calls(calls::Event::ListenerGone));
        for client in &*self.clients.borrow() {
            device.tell(Event::Router(router::Event::Disconnected { module: client.id.clone() }));
            down(device, client.id.clone());
        }
    }

    pub(super) fn command(&self, device: &Rc<Device>, command: io::Mqtt) {
        match &command {
            io::Mqtt::Names(names) => {
                self.names.replace(names.clone());
            }
            io::Mqtt::Clients(clients) => {
                self.clients.replace(clients.clone());
            }
            io::Mqtt::Pause => self.clients.borrow_mut().clear(),
            io::Mqtt::Accept { .. }
            | io::Mqtt::Deny { .. }
            | io::Mqtt::Refuse { .. }
            | io::Mqtt::Deliver { .. }
            | io::Mqtt::Forward { .. }
            | io::Mqtt::Retained { .. }
            | io::Mqtt::Forget(_)
            | io::Mqtt::AskUp { .. }
            | io::Mqtt::Call { .. }
            | io::Mqtt::Withdraw { .. }
            | io::Mqtt::Desired { .. } => {}
        }
        if let Some(listener) = &*self.listener.borrow() {
            listener.perform(command);
            return;
        }
        match command {
            io::Mqtt::AskUp { module } => down(device, module),
            io::Mqtt::Forward { queue, .. } => device.adapters.lost.add(&queue.route, 1),
            io::Mqtt::Call { call, .. } => {
                let why = calls::Undelivered::NotConnected;
                device.tell(Event::Calls(calls::Event::Undelivered { call, why }));
            }
            io::Mqtt::Accept { .. }
            | io::Mqtt::Withdraw { .. }
            | io::Mqtt::Desired { .. }
            | io::Mqtt::Deny { .. }
            | io::Mqtt::Refuse { .. }
            | io::Mqtt::Deliver { .. }
            | io::Mqtt::Retained { .. }
            | io::Mqtt::Forget(_)
            | io::Mqtt::Names(_)
            | io::Mqtt::Clients(_)
            | io::Mqtt::Pause => {}
        }
    }
}

fn down(device: &Rc<Device>, module: ModuleId) {
    device.tell(Event::Deliveries(Endpoint::Module(module), delivery::Event::Down));
}
