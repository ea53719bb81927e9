//! The devices of this LAN: the one on this machine over its socket, others over the mesh, signed.

use std::{rc::Rc, time::Duration};

use ed25519_dalek::SigningKey;
use serde::Serialize;
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    client::{Answers, Client as Mesh, ClientError as MeshError},
    session::SCOUTING,
};

use super::{
    failure::Failure,
    operator::{KeyFile, Operator},
    wait::now_ms,
};
use crate::control::{
    Answer, Ask, Client, MessageLine, Neighbour, Reply, Status, Versions, open_reply, seal_ask,
};

/// How long a device on the mesh may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a device may take to prove its key.
const PROOF: Duration = Duration::from_secs(3);

/// Whom one can ask on this LAN.
pub(super) struct Site {
    local: Option<Client>,
    mesh: Option<Mesh>,
    key_file: KeyFile,
    key: Option<Rc<dyn Signer>>,
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
    fn key(&mut self) -> Result<Rc<dyn Signer>, Failure> {
        match &self.key {
            Some(key) => Ok(Rc::clone(key)),
            None => Ok(Rc::clone(self.key.insert(self.key_file.load()?))),
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

    /// Asks one device. An answer that it did not sign is dropped, and the next one awaited.
    pub(super) fn ask(&mut self, device: DeviceId, ask: &Ask) -> Result<Answer, Failure> {
        self.ask_within(device, ask, PATIENCE)
    }

    /// As [`Self::ask`], for an answer that may take longer.
    pub(super) fn ask_within(
        &mut self,
        device: DeviceId,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let is_own = self.own().is_some_and(|own| own.device == device);
        if let Some(client) = self.local.as_mut().filter(|_| is_own) {
            return Ok(client.ask_within(ask, patience)?);
        }
        let key = self.key()?;
        match self.send(&*key, device, ask, patience)?.first().map_err(|error| failure(&error))? {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(reason) => Err(Failure::Failed(format!("{}: {reason}", self.name(device)))),
        }
    }

    /// Lets every device prove that it is there: what is heard of it before is what anybody may claim.
    pub(super) fn prove(&mut self) -> Result<Vec<Proven>, Failure> {
        let own = self.own().map(|own| own.device);
        if self.mesh.is_none() && self.devices.iter().any(|device| own != Some(device.device)) {
            match open_mesh() {
                Ok(mesh) => self.mesh = Some(mesh),
                Err(_) => eprintln!(
                    "warning: this machine finds nobody on the LAN by itself: no device could be asked to prove its key"
                ),
            }
        }
        let key = match self.key_file.unlocked() {
            Ok(Some(key)) => key,
            // A stranger is refused, and a refusal is signed too.
            Ok(None) | Err(_) => Rc::new(passing_key()?),
        };
        let asked: Vec<_> = self
            .devices
            .clone()
            .into_iter()
            .map(|device| {
                let ask = own != Some(device.device) && self.mesh.is_some();
                let sent = ask.then(|| self.send(&*key, device.device, &Ask::Versions, PROOF).ok()).flatten();
                (device, sent)
            })
            .collect();
        let prove = |(mut device, sent): (Neighbour, Option<Sent>)| {
            let reply = sent.and_then(|sent| sent.first().ok());
            let proven = reply.is_some() || own == Some(device.device);
            if let Some(Reply::Ok(Answer::Versions(versions))) = reply {
                device.name = versions.name;
            }
            Proven { device, proven }
        };
        Ok(asked.into_iter().map(prove).collect())
    }

    fn send(
        &mut self,
        key: &dyn Signer,
        device: DeviceId,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Sent, Failure> {
        let request = seal(key, device, ask)?;
        let mesh = match &self.mesh {
            Some(mesh) => mesh,
            None => self.mesh.insert(open_mesh()?),
        };
        let answers = mesh.ask(&device, request.clone(), patience).map_err(|error| failure(&error))?;
        Ok(Sent { device, name: self.name(device), request, answers })
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

/// A device of the list, and whether it answered with its key.
#[derive(Serialize)]
pub(super) struct Proven {
    #[serde(flatten)]
    pub(super) device: Neighbour,
    /// Whether it did.
    pub(super) proven: bool,
}

/// A question on its way.
struct Sent {
    device: DeviceId,
    name: String,
    request: Vec<u8>,
    answers: Answers,
}

impl Sent {
    /// The first answer that the device itself gave.
    fn first(self) -> Result<Reply, MeshError> {
        let Self { device, name, request, answers } = self;
        let mut warned = false;
        answers.first(|sealed| match open_reply(&sealed, device, &request) {
            Ok(reply) => Some(reply),
            Err(error) => {
                if !warned {
                    eprintln!("warning: an answer in the name of {name} was dropped: {error}");
                }
                warned = true;
                None
            }
        })
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

fn passing_key() -> Result<SigningKey, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::Failed(format!("the system gives no random numbers: {error}")))?;
    Ok(SigningKey::from_bytes(&secret))
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

pub(super) fn unexpected() -> Failure {
    Failure::Failed("the device answered another question: use a `wayside` of its version".into())
}
