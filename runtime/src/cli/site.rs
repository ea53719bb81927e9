//! The devices of this LAN: the one on this machine over its socket, others over the mesh, signed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use wayside_config::identity::DeviceId;
use wayside_mesh::{
    client::{Client as Mesh, ClientError as MeshError},
    session::SCOUTING,
};

use super::{failure::Failure, operator::KeyFile};
use crate::control::{Answer, Ask, Client, MessageLine, Neighbour, Reply, Status, Versions, seal_ask};

/// How long a device on the mesh may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom one can ask on this LAN.
pub(super) struct Site {
    local: Option<Client>,
    mesh: Option<Mesh>,
    key_file: KeyFile,
    key: Option<SigningKey>,
    /// The device on this machine first, when there is one.
    devices: Vec<Neighbour>,
}

impl Site {
    /// Finds the devices: through the daemon on this machine, or by scouting.
    pub(super) fn new(mut local: Option<Client>, key_file: KeyFile) -> Result<Self, Failure> {
        let mut mesh = None;
        let devices = match &mut local {
            Some(client) => {
                let Answer::Devices { devices } = client.ask(&Ask::Devices)? else {
                    return Err(unexpected());
                };
                devices
            }
            None => {
                let opened = mesh.insert(open_mesh()?);
                let live = opened.devices().map_err(|error| failure(&error))?;
                live.into_iter().map(|live| Neighbour { device: live.device, name: live.name }).collect()
            }
        };
        Ok(Self { local, mesh, key_file, key: None, devices })
    }

    /// Everyone there, the device on this machine first.
    pub(super) fn devices(&self) -> &[Neighbour] {
        &self.devices
    }

    /// The device on this machine.
    pub(super) fn own(&self) -> Option<&Neighbour> {
        self.local.as_ref().and(self.devices.first())
    }

    /// The device of this name or key.
    pub(super) fn find(&self, name: &str) -> Result<Neighbour, Failure> {
        let is_meant = |device: &&Neighbour| device.name == name || device.device.to_string() == name;
        match self.devices.iter().filter(is_meant).collect::<Vec<_>>().as_slice() {
            [device] => Ok((*device).clone()),
            [] => {
                let names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
                Err(Failure::Failed(format!("no device {name} is here; there are: {}", names.join(", "))))
            }
            several => {
                let keys: Vec<String> = several.iter().map(|device| device.device.to_string()).collect();
                Err(Failure::Failed(format!(
                    "several devices are named {name}; name one by its key: {}",
                    keys.join(", ")
                )))
            }
        }
    }

    /// The operator's key, made at first use.
    pub(super) fn key(&mut self) -> Result<&SigningKey, Failure> {
        match &mut self.key {
            Some(key) => Ok(key),
            none => Ok(none.insert(self.key_file.load()?)),
        }
    }

    /// How a device is.
    pub(super) fn status(&mut self, device: DeviceId) -> Result<Status, Failure> {
        let Answer::Status(status) = self.ask(device, &Ask::Status)? else { return Err(unexpected()) };
        Ok(*status)
    }

    /// What a device has been told to run.
    pub(super) fn versions(&mut self, device: DeviceId) -> Result<Versions, Failure> {
        let Answer::Versions(versions) = self.ask(device, &Ask::Versions)? else { return Err(unexpected()) };
        Ok(versions)
    }

    /// What a module wrote.
    pub(super) fn logs(&mut self, device: DeviceId, ask: &Ask) -> Result<String, Failure> {
        let Answer::Logs { text } = self.ask(device, ask)? else { return Err(unexpected()) };
        Ok(text)
    }

    /// Asks one device.
    pub(super) fn ask(&mut self, device: DeviceId, ask: &Ask) -> Result<Answer, Failure> {
        let is_own = self.own().is_some_and(|own| own.device == device);
        if let Some(client) = self.local.as_mut().filter(|_| is_own) {
            return Ok(client.ask(ask)?);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let sealed = seal_ask(self.key()?, device, now_ms, ask).map_err(|error| {
            Failure::Failed(format!(
                "too large for the mesh: {error}; apply it through a cloud or on the device itself"
            ))
        })?;
        let mesh = match &self.mesh {
            Some(mesh) => mesh,
            None => self.mesh.insert(open_mesh()?),
        };
        let answer = mesh.ask(&device, sealed, PATIENCE).map_err(|error| failure(&error))?;
        match serde_json::from_slice(&answer) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(reason)) => Err(Failure::Failed(format!("{}: {reason}", self.name(device)))),
            Err(error) => {
                let text = format!(
                    "the answer of {} is not understood: {error}; use a `wayside` of its version",
                    self.name(device)
                );
                Err(Failure::Failed(text))
            }
        }
    }

    /// Follows what modules on this machine publish.
    pub(super) fn messages(
        self,
        show: impl FnMut(MessageLine) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(client) = self.local else {
            let text = "messages are shown by the device itself or by the cloud: run this on the device, or give --cloud URL";
            return Err(Failure::Usage(text.into()));
        };
        Ok(client.messages(show)?)
    }

    fn name(&self, device: DeviceId) -> String {
        let known = self.devices.iter().find(|known| known.device == device);
        known.map_or_else(|| device.short(), |known| known.name.clone())
    }
}

fn open_mesh() -> Result<Mesh, Failure> {
    Mesh::open(SCOUTING, &[]).map_err(|error| failure(&error))
}

fn failure(error: &MeshError) -> Failure {
    match error {
        // What Zenoh says of it is no help.
        MeshError::Nobody(_) => Failure::Unreachable(
            "no device answers on this LAN: is `wayside up` running on one, and does the network carry multicast?".into(),
        ),
        MeshError::NoAnswer(_) => Failure::Unreachable(error.to_string()),
        MeshError::Failed(_) => Failure::Failed(error.to_string()),
    }
}

fn unexpected() -> Failure {
    Failure::Failed("the device answered another question: use a `wayside` of its version".into())
}
