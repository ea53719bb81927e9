//! Who is there, and what of it is proven.

use std::time::Duration;

use serde::Serialize;

use super::{Failure, Neighbour, Site, asking::Sent, output};
use crate::control::Ask;

/// How long a device may take to prove its key.
const PROOF: Duration = Duration::from_secs(3);

/// A device of the list, and whether it answered with its key.
#[derive(Serialize)]
pub(in crate::cli) struct Proven {
    #[serde(flatten)]
    pub(in crate::cli) device: Neighbour,
    /// Whether it did.
    pub(in crate::cli) proven: bool,
    /// Its place.
    pub(in crate::cli) standing: Standing,
}

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Standing {
    /// It links with the others.
    Member,
    /// Nobody has admitted it.
    Waits,
    /// Another fleet has it.
    Elsewhere,
}

impl Site {
    /// Lets every member prove that it is there: what is heard of it before is what any member may claim. Those that wait have
    /// signed what they say.
    pub(in crate::cli) fn prove(&mut self) -> Result<Vec<Proven>, Failure> {
        let own = self.own().map(|own| own.device);
        if self.mesh.is_none() && self.devices.iter().any(|device| own != Some(device.device)) {
            match self.open_mesh() {
                Ok(mesh) => self.mesh = Some(mesh),
                Err(_) => output::note(
                    "warning: without a key that the devices obey none of them can be asked; what is shown is what they signed",
                ),
            }
        }
        let key = self.key.clone();
        let asked: Vec<_> = self
            .devices
            .clone()
            .into_iter()
            .map(|device| {
                let key = key.as_ref().filter(|_| own != Some(device.device) && self.mesh.is_some());
                let sent = key.and_then(|key| self.send(&**key, device.device, &Ask::Versions, PROOF).ok());
                (device, sent)
            })
            .collect();
        let prove = |(device, sent): (Neighbour, Option<Sent>)| {
            let has_answered = sent.is_some_and(|sent| sent.first().is_ok());
            let is_heard = key.is_none() && self.lobby.iter().any(|heard| heard.device == device.device);
            let proven = has_answered || is_heard || own == Some(device.device);
            let waits = self.lobby.iter().any(|heard| heard.device == device.device && heard.grant.is_none());
            Proven { device, proven, standing: if waits { Standing::Waits } else { Standing::Member } }
        };
        let mut proven: Vec<Proven> = asked.into_iter().map(prove).collect();
        let fleet =
            key.and_then(|key| self.key_file.operator_of(key).ok()).map(|operator| operator.fleet.id());
        for heard in &self.lobby {
            if self.devices.iter().any(|device| device.device == heard.device) {
                continue;
            }
            let standing = match heard.fleet {
                Some(theirs) if fleet.is_some_and(|ours| ours != theirs) => Standing::Elsewhere,
                Some(_) if heard.grant.is_some() => Standing::Member,
                Some(_) | None => Standing::Waits,
            };
            let device = Neighbour { device: heard.device, name: heard.name.clone() };
            proven.push(Proven { device, proven: true, standing });
        }
        Ok(proven)
    }
}
