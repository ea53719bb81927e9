//! The MQTT listener: bound where modules and leaf devices find it, as soon as there is such a place.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use wayside_config::workload::ModuleId;
use wayside_mesh::mqtt::{Authenticator, Listener, MqttEvent, Settings};

use super::{UpOptions, leaves::Leaves};
use crate::{
    clock::wall_ms,
    engine::{Credentials, Ready},
    shell::Device,
    state::Identity,
};

/// Before a taken port is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Events that are passed on together, at most: few enough that they do not fill an actor's room.
const AT_ONCE: usize = 256;

/// Between two looks at whether the queues are open.
const QUEUES: Duration = Duration::from_millis(50);

/// The task that keeps the listener.
pub(super) struct Mqtt {
    device: Rc<Device>,
    task: JoinHandle<()>,
}

/// Starts it. It waits for the modules' network, or for nothing where leaf devices are expected, and for the queues.
pub(super) fn start(
    device: &Rc<Device>,
    options: &UpOptions,
    identity: Identity,
    credentials: Arc<Credentials>,
    io: &Handle,
) -> Mqtt {
    let leaves = Leaves::new(&options.settings.leaves, &identity, &options.name(), &device.adapters().state);
    let keeper = Keeper {
        device: Rc::clone(device),
        port: options.settings.mqtt_port,
        loopback: options.settings.mqtt_loopback,
        passwords: Arc::new(Passwords { identity, credentials }),
        leaves,
        io: io.clone(),
    };
    Mqtt { device: Rc::clone(device), task: actix::spawn(keeper.run()) }
}

impl Mqtt {
    /// Stops accepting, and answers what was taken before it closes.
    pub(super) async fn close(self) {
        // The task goes on meanwhile: it passes on the last events.
        if let Some(listener) = self.device.adapters().mqtt.listener() {
            listener.close().await;
        }
        self.task.abort();
    }
}

struct Keeper {
    device: Rc<Device>,
    port: u16,
    loopback: bool,
    passwords: Arc<Passwords>,
    leaves: Leaves,
    io: Handle,
}

struct Passwords {
    identity: Identity,
    credentials: Arc<Credentials>,
}

impl Authenticator for Passwords {
    fn passwords(&self, module: &ModuleId) -> Vec<Vec<u8>> {
        let numbers = self.credentials.numbers(module);
        numbers.iter().map(|number| self.identity.mqtt_password(module, number).into_bytes()).collect()
    }
}

impl Keeper {
    async fn run(self) {
        let mut ready = self.device.adapters().engine.ready();
        loop {
            let addresses = self.addresses(&ready.borrow_and_update());
            if addresses.is_empty() && !self.leaves.are_expected() {
                // An error means that the daemon is ending.
                let _ = ready.changed().await;
                continue;
            }
            match self.bind(&addresses).await {
                Ok(Some((listener, events))) => {
                    self.device.problem("mqtt", None);
                    let listener = self.device.adapters().mqtt.begin(listener);
                    tokio::select! {
                        () = pump(&self.device, events) => {}
                        () = self.leaves.welcome(&self.device, &listener) => {}
                        () = self.moved(&addresses, &mut ready) => {
                            tracing::info!("the modules' network moved; listening there");
                        }
                    }
                    self.device.adapters().mqtt.end(&self.device);
                }
                Ok(None) => tokio::time::sleep(QUEUES).await,
                Err(problem) => {
                    self.device.problem("mqtt", Some(problem));
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// `None` while there is nothing to keep messages in.
    async fn bind(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Option<(Listener, mpsc::Receiver<MqttEvent>)>, String> {
        let Some(store) = self.device.store() else { return Ok(None) };
        let reading = self.io.spawn_blocking(move || store.restored());
        let held = reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let passwords = Arc::clone(&self.passwords);
        let adapters = self.device.adapters();
        let (counts, lost) = (adapters.view.counts(), adapters.lost.clone());
        let settings = Settings { device: Some(adapters.device), counts, lost, ..Settings::default() };
        Listener::bind(addresses, settings, passwords, held.marks, &self.io)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    fn addresses(&self, engine: &Result<Ready, String>) -> Vec<SocketAddr> {
        let of_modules = engine.iter().map(|ready| ready.broker.address());
        let loopback = self.loopback.then_some(Ipv4Addr::LOCALHOST);
        of_modules.chain(loopback).map(|address| SocketAddr::from((address, self.port))).collect()
    }

    /// Resolves when the listener should be elsewhere. An engine that is gone changes nothing.
    async fn moved(&self, addresses: &[SocketAddr], ready: &mut watch::Receiver<Result<Ready, String>>) {
        while ready.changed().await.is_ok() {
            let engine = ready.borrow_and_update();
            if engine.is_ok() && self.addresses(&engine) != addresses {
                return;
            }
        }
        std::future::pending().await
    }
}

async fn pump(device: &Rc<Device>, mut events: mpsc::Receiver<MqttEvent>) {
    let mut here = Vec::with_capacity(AT_ONCE);
    while events.recv_many(&mut here, AT_ONCE).await > 0 {
        device.send_all(here.drain(..).map(|event| event.wired(wall_ms()))).await;
    }
}
