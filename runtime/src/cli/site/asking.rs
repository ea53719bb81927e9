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

use super::{ABREAST, PATIENCE, Site, seal};
use crate::{
    cli::failure::Failure,
    control::{Answer, Ask, Present, Reply, open_reply},
};

/// How long one is waited for before it is asked another way, where that does no harm.
const FIRST: Duration = Duration::from_secs(8);

/// For devices that say to be there and whose mesh does not answer yet: they have only just started.
const START: Duration = Duration::from_secs(8);

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
        match self.ask_abreast(&[(device, ask)], patience).pop() {
            Some(Heard::Answer(answer)) => answer,
            Some(Heard::Refusal(reason)) => Err(Failure::Failed(format!("{}: {reason}", self.name(device)))),
            Some(Heard::Silence(error)) => Err(failure(&error)),
            None => Err(super::unexpected()),
        }
    }

    /// Asks several at once, so that who is silent is waited for once and not once each. Gives their answers in the same order;
    /// the reasons in them do not name the device.
    pub(in crate::cli) fn ask_each(
        &mut self,
        asks: impl IntoIterator<Item = (DeviceId, Ask)>,
    ) -> Vec<Result<Answer, Failure>> {
        let (mut asks, mut answers) = (asks.into_iter(), Vec::new());
        loop {
            let abreast: Vec<(DeviceId, Ask)> = asks.by_ref().take(ABREAST).collect();
            if abreast.is_empty() {
                return answers;
            }
            let abreast: Vec<(DeviceId, &Ask)> = abreast.iter().map(|(device, ask)| (*device, ask)).collect();
            answers.extend(self.ask_abreast(&abreast, PATIENCE).into_iter().map(|heard| match heard {
                Heard::Answer(answer) => answer,
                Heard::Refusal(reason) => Err(Failure::Failed(reason)),
                Heard::Silence(error) => Err(failure(&error)),
            }));
        }
    }

    /// All of them at once, and those that are silent a second time where that does no harm.
    fn ask_abreast(&mut self, asks: &[(DeviceId, &Ask)], patience: Duration) -> Vec<Heard> {
        let first = |ask: &Ask| if may_repeat(ask) { patience.min(FIRST) } else { patience };
        let mut heard = self.ask_once(asks, first);
        let is_silent = |heard: &Heard| matches!(heard, Heard::Silence(MeshError::NoAnswer(_)));
        let again: Vec<usize> =
            (0..asks.len()).filter(|at| is_silent(&heard[*at]) && may_repeat(asks[*at].1)).collect();
        if again.is_empty() {
            return heard;
        }
        // A device between this one and those may have lost its link: the straight way may be open.
        self.mesh = None;
        self.first = again.first().map(|at| asks[*at].0);
        if self.look().is_err() {
            return heard;
        }
        let silent: Vec<(DeviceId, &Ask)> = again.iter().map(|at| asks[*at]).collect();
        let answers = self.ask_once(&silent, |_| patience.saturating_sub(FIRST).max(FIRST));
        for (at, answer) in again.into_iter().zip(answers) {
            heard[at] = answer;
        }
        heard
    }

    /// Every question is on its way before the first answer is waited for.
    fn ask_once(&mut self, asks: &[(DeviceId, &Ask)], patience: impl Fn(&Ask) -> Duration) -> Vec<Heard> {
        let own = self.own().map(|own| own.device);
        let mut sent = Vec::with_capacity(asks.len());
        for (device, ask) in asks {
            let is_own = own == Some(*device);
            sent.push((!is_own).then(|| {
                let key = self.key()?;
                self.send(&*key, *device, ask, patience(ask))
            }));
        }
        let wait = |((_, ask), sent): (&(DeviceId, &Ask), Option<Result<Sent, Failure>>)| match sent {
            None => Heard::Answer(match &mut self.local {
                Some(client) => client.ask_within(ask, patience(ask)).map_err(Into::into),
                None => Err(super::unexpected()),
            }),
            Some(Err(error)) => Heard::Answer(Err(error)),
            Some(Ok(sent)) => match sent.first() {
                Ok(Reply::Ok(answer)) => Heard::Answer(Ok(answer)),
                Ok(Reply::Error(reason)) => Heard::Refusal(reason),
                Err(error) => Heard::Silence(error),
            },
        };
        asks.iter().zip(sent).map(wait).collect()
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
        let first = self.first.or_else(|| self.own().map(|own| own.device));
        let members = || {
            let is_member = |device: &&Present| self.grants.contains_key(&device.device);
            let (first, others): (Vec<_>, Vec<_>) =
                self.lobby.iter().filter(is_member).partition(|device| Some(device.device) == first);
            first.into_iter().chain(others)
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
        | Ask::PreviousLogs { .. }
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

/// What came of a question.
enum Heard {
    Answer(Result<Answer, Failure>),
    /// In the device's own words.
    Refusal(String),
    Silence(MeshError),
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
        MeshError::Closed(_) | MeshError::NoAnswer(_) => Failure::Unreachable(error.to_string()),
        MeshError::Failed(_) => Failure::Failed(error.to_string()),
    }
}
