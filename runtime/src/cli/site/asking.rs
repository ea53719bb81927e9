//! Asking a device of the LAN: over the mesh, signed, another way where the first one does not answer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    circle::circle_of,
    client::{Answers, Client as Mesh, ClientError as MeshError},
    session::SCOUTING,
};

use super::{PATIENCE, Site, seal};
use crate::{
    cli::failure::Failure,
    control::{Answer, Ask, Present, Reply, open_reply},
};

/// How long one is waited for before it is asked another way, where that does no harm.
const FIRST: Duration = Duration::from_secs(8);

/// For devices that say to be there and whose mesh does not answer yet: they have only just started.
const START: Duration = Duration::from_secs(4);

/// Addresses of members that are tried, at most.
const TRIED: usize = 8;

impl Site {
    /// Asks one device. An answer that it did not sign is dropped, and the next one awaited.
    pub(in crate::cli) fn ask(&mut self, device: DeviceId, ask: &Ask) -> Result<Answer, Failure> {
        self.ask_within(device, ask, PATIENCE)
    }

    /// As [`Self::ask`], for an answer that may take longer.
    pub(in crate::cli) fn ask_within(
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
        let first = if may_repeat(ask) { patience.min(FIRST) } else { patience };
        let answered = match self.send(&*key, device, ask, first)?.first() {
            // A device between this one and that may have lost its link: another way may be open.
            Err(MeshError::NoAnswer(_)) if may_repeat(ask) => {
                self.mesh = None;
                self.look()?;
                self.send(&*key, device, ask, patience.saturating_sub(first).max(FIRST))?.first()
            }
            answered => answered,
        };
        match answered.map_err(|error| failure(&error))? {
            Reply::Ok(answer) => Ok(answer),
            Reply::Error(reason) => Err(Failure::Failed(format!("{}: {reason}", self.name(device)))),
        }
    }

    pub(super) fn send(
        &mut self,
        key: &dyn Signer,
        device: DeviceId,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Sent, Failure> {
        let request = seal(key, device, ask)?;
        let mesh = match &self.mesh {
            Some(mesh) => mesh,
            None => {
                let opened = self.open_mesh_soon()?;
                self.mesh.insert(opened)
            }
        };
        let answers = mesh.ask(&device, request.clone(), patience).map_err(|error| failure(&error))?;
        Ok(Sent { device, name: self.name(device), request, answers })
    }

    /// As [`Self::open_mesh`], some times: those that only just started listen soon, and elsewhere than before.
    fn open_mesh_soon(&mut self) -> Result<Mesh, Failure> {
        let until = *self.patient_until.get_or_insert_with(|| Instant::now() + START);
        loop {
            match self.open_mesh() {
                Err(Failure::Unreachable(_)) if self.key.is_some() && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(200));
                    self.look()?;
                }
                opened => return opened,
            }
        }
    }

    pub(super) fn open_mesh(&self) -> Result<Mesh, Failure> {
        let Some(key) = &self.key else {
            return Err(Failure::Unreachable(
                "no operator's key is here, and devices link with nobody else: name one with --operator-key"
                    .into(),
            ));
        };
        let circle = circle_of(Arc::clone(key)).map_err(|error| Failure::Failed(error.to_string()))?;
        let own = self.own().map(|own| own.device);
        let members = || {
            let is_member = |device: &&Present| self.grants.contains_key(&device.device);
            let (own, others): (Vec<_>, Vec<_>) =
                self.lobby.iter().filter(is_member).partition(|device| Some(device.device) == own);
            own.into_iter().chain(others)
        };
        circle.admit(members().map(|device| *device.device.as_bytes()).collect());
        let addresses: Vec<SocketAddr> =
            members().flat_map(|device| &device.mesh).take(TRIED).map(|address| (*address).into()).collect();
        if addresses.is_empty() {
            return Err(Failure::Unreachable(format!(
                "no device of your fleet is on this LAN; {} say to be there: see `wayside devices`, and admit those that wait with `wayside approve`",
                self.lobby.len()
            )));
        }
        Mesh::open(circle, SCOUTING, &addresses).map_err(|error| failure(&error))
    }
}

/// Whether it does not matter that a device hears it twice.
const fn may_repeat(ask: &Ask) -> bool {
    match ask {
        Ask::Status
        | Ask::Devices
        | Ask::Lobby
        | Ask::Admit { .. }
        | Ask::Rules
        | Ask::Versions
        | Ask::Apply { .. }
        | Ask::Keep { .. }
        | Ask::Logs { .. }
        | Ask::Twin { .. }
        | Ask::Secrets
        | Ask::Audit { .. } => true,
        Ask::Call { .. }
        | Ask::SetTwin { .. }
        | Ask::SetSecret { .. }
        | Ask::Lock { .. }
        | Ask::Unlock { .. }
        | Ask::Messages => false,
    }
}

/// A question on its way.
pub(super) struct Sent {
    device: DeviceId,
    name: String,
    request: Vec<u8>,
    answers: Answers,
}

impl Sent {
    /// The first answer that the device itself gave.
    pub(super) fn first(self) -> Result<Reply, MeshError> {
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

fn failure(error: &MeshError) -> Failure {
    match error {
        // What Zenoh says of it is no help.
        MeshError::Nobody(_) => Failure::Unreachable(
            "no device of your fleet takes this key on this LAN: does its root name it in the role `assign`?"
                .into(),
        ),
        MeshError::NoAnswer(_) => Failure::Unreachable(error.to_string()),
        MeshError::Failed(_) => Failure::Failed(error.to_string()),
    }
}
