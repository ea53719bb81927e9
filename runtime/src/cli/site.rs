//! The devices of this LAN: the one on this machine over its socket, others over the mesh, signed.

mod asking;
mod handing;
mod proof;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use wayside_config::{document::Grant, identity::DeviceId, signer::Signer};
use wayside_mesh::{
    client::Client as Mesh,
    lobby::{LOBBY, look},
};

pub(in crate::cli) use self::proof::{Proven, Standing};
use super::{
    failure::Failure,
    operator::{Key, KeyFile, Operator},
    output,
    wait::now_ms,
};
use crate::control::{Answer, Ask, Client, InLobby, MessageLine, Neighbour, Present, Status, seal_ask};

/// How long a device on the mesh may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Devices that are asked at once, each up to some MiB.
const ABREAST: usize = 32;

/// For devices to say that they are there.
const LOOK: Duration = Duration::from_millis(2500);

/// For devices that were admitted to link.
const LINK: Duration = Duration::from_secs(20);

/// Whom one can ask on this LAN.
pub(super) struct Site {
    local: Option<Client>,
    mesh: Option<Mesh>,
    key_file: KeyFile,
    key: Option<Key>,
    /// Everybody who says to be there, the device on this machine first.
    lobby: Vec<Present>,
    /// Members of the mesh, the device on this machine first, when there is one.
    devices: Vec<Neighbour>,
    /// What is granted to them, in the operator's fleet.
    grants: BTreeMap<DeviceId, Grant>,
    /// Until when the mesh may be tried again.
    patient_until: Option<Instant>,
    /// The member that is linked with, where it can be: one that did not answer by way of another.
    first: Option<DeviceId>,
}

impl Site {
    /// Finds the devices: through the daemon on this machine, or by listening.
    pub(super) fn new(local: Option<Client>, key_file: KeyFile) -> Result<Self, Failure> {
        let (lobby, devices, grants) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (patient_until, first) = (None, None);
        let mut site =
            Self { local, mesh: None, key_file, key: None, lobby, devices, grants, patient_until, first };
        site.key = site.key_file.existing()?;
        site.look()?;
        if site.lobby.is_empty() {
            return Err(nobody());
        }
        Ok(site)
    }

    /// Sees who is there now.
    fn look(&mut self) -> Result<(), Failure> {
        let operator = self.key.clone().map(|key| self.key_file.operator_of(key)).transpose()?;
        match &mut self.local {
            Some(client) => {
                let Answer::Lobby(InLobby { own, devices }) = client.ask(&Ask::Lobby)? else {
                    return Err(unexpected());
                };
                let Answer::Devices { devices: members } = client.ask(&Ask::Devices)? else {
                    return Err(unexpected());
                };
                self.lobby = std::iter::once(*own).chain(devices).collect();
                self.devices = members;
            }
            None => {
                let heard = look(LOBBY, LOOK).map_err(|error| {
                    Failure::Unreachable(format!("cannot listen on the LAN for UDP {LOBBY}: {error}"))
                })?;
                self.lobby = heard.into_iter().map(Present::from).collect();
            }
        }
        self.grants = BTreeMap::new();
        if let Some(operator) = &operator {
            let granted = self.lobby.iter().filter_map(|device| operator.grant_of(device));
            self.grants = granted.map(|grant| (grant.device, grant)).collect();
        }
        if self.local.is_none() {
            let member = |grant: &Grant| Neighbour { device: grant.device, name: grant.name.clone() };
            self.devices = self.grants.values().map(member).collect();
            self.devices.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
        }
        Ok(())
    }

    /// Devices that this operator's fleet may admit.
    pub(super) fn waiting(&self, operator: &Operator) -> Vec<Present> {
        self.lobby.iter().filter(|device| operator.awaits(device)).cloned().collect()
    }

    /// Devices with a grant that counts in the operator's fleet.
    pub(super) fn members(&self, operator: &Operator) -> Vec<Present> {
        self.lobby.iter().filter(|device| operator.grant_of(device).is_some()).cloned().collect()
    }

    /// Devices that say to be of this operator's fleet, whatever they have been granted.
    pub(super) fn of_fleet(&self, operator: &Operator) -> Vec<Present> {
        self.lobby.iter().filter(|device| device.fleet == Some(operator.fleet.id())).cloned().collect()
    }

    /// What is granted to a device.
    pub(super) fn grant_of(&self, device: &DeviceId) -> Option<&Grant> {
        self.grants.get(device)
    }

    /// Waits until these devices are members.
    pub(super) fn await_members(&mut self, operator: &Operator, devices: &[DeviceId]) -> Result<(), Failure> {
        let begun = Instant::now();
        self.key = Some(Arc::clone(&operator.signer));
        // Who was admitted says so before its mesh is open.
        self.patient_until = Some(begun + LINK);
        loop {
            // What was opened before does not take the new ones.
            self.mesh = None;
            self.look()?;
            let is_there = |device: &DeviceId| self.devices.iter().any(|there| there.device == *device);
            if devices.iter().all(is_there) {
                return Ok(());
            }
            if begun.elapsed() > LINK {
                let missing = devices.iter().filter(|device| !is_there(device)).map(DeviceId::short);
                output::note(&format!(
                    "warning: admitted, but not linked with the others yet: {}; see `wayside status` there",
                    missing.collect::<Vec<_>>().join(", ")
                ));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
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
                let others = if names.is_empty() {
                    "none of your fleet is; `wayside devices` shows who is there".to_owned()
                } else {
                    format!("there are: {}", names.join(", "))
                };
                Err(Failure::Failed(format!("no device {name} is here; {others}")))
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
    fn key(&mut self) -> Result<Key, Failure> {
        match &self.key {
            Some(key) => Ok(Arc::clone(key)),
            None => {
                self.key = Some(self.key_file.load()?);
                self.look()?;
                self.key()
            }
        }
    }

    /// The operator whose key it is, and the fleet.
    pub(super) fn operator(&mut self) -> Result<Operator, Failure> {
        let key = self.key()?;
        self.key_file.operator_of(key)
    }

    /// How a device is.
    pub(super) fn status(&mut self, device: DeviceId) -> Result<Status, Failure> {
        let Answer::Status(status) = self.ask(device, &Ask::Status)? else { return Err(unexpected()) };
        Ok(*status)
    }

    /// How several devices are.
    pub(super) fn statuses(&mut self, devices: &[DeviceId]) -> Vec<Result<Status, Failure>> {
        let answers = self.ask_each(devices.iter().map(|device| (*device, Ask::Status)));
        let status = |(device, answer): (&DeviceId, Result<Answer, Failure>)| match answer {
            Ok(Answer::Status(status)) => Ok(*status),
            Ok(_) => Err(unexpected()),
            Err(Failure::Failed(reason)) => Err(Failure::Failed(format!("{}: {reason}", self.name(*device)))),
            Err(other) => Err(other),
        };
        devices.iter().zip(answers).map(status).collect()
    }

    /// What a module wrote.
    pub(super) fn logs(&mut self, device: DeviceId, ask: &Ask) -> Result<String, Failure> {
        let Answer::Logs { text } = self.ask(device, ask)? else { return Err(unexpected()) };
        Ok(text)
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

/// A question to `device` as the operator's signed request.
pub(super) fn seal(key: &dyn Signer, device: DeviceId, ask: &Ask) -> Result<Vec<u8>, Failure> {
    let nonce = getrandom::u64()
        .map_err(|error| Failure::Failed(format!("the system gives no random numbers: {error}")))?;
    seal_ask(key, device, now_ms(), nonce, ask).map_err(|error| {
        Failure::Failed(format!(
            "too large for one request: {error}; apply it through a cloud or on the device itself"
        ))
    })
}

fn nobody() -> Failure {
    Failure::Unreachable(
        "no device answers on this LAN: is `wayside up` running on one, and does the network carry multicast?".into(),
    )
}

pub(super) fn unexpected() -> Failure {
    Failure::Failed("the device answered another question: use a `wayside` of its version".into())
}
