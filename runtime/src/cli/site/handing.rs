//! Handing a device what proves itself, member or not: through the door of its lobby, or over the socket of this machine's own.

use std::{net::SocketAddr, thread};

use wayside_config::identity::DeviceId;
use wayside_mesh::lobby::hand;

use super::{ABREAST, Failure, Site, unexpected};
use crate::control::{Ask, Present, Reply, open_handed};

impl Site {
    /// Hands one device this.
    pub(in crate::cli) fn hand(&mut self, device: &Present, ask: &Ask) -> Result<(), Failure> {
        match device.door {
            Some(door) => hand_at(door, device.device, ask),
            None => self.hand_own(ask),
        }
    }

    /// Hands each of these devices what `asks` gives for its place among them, in that order until one fails; several devices at
    /// once, so that who is silent is waited for once and not once each.
    pub(in crate::cli) fn hand_each(
        &mut self,
        devices: &[Present],
        asks: impl Fn(usize) -> Vec<Ask> + Sync,
    ) -> Vec<Result<(), Failure>> {
        let asks = &asks;
        let places: Vec<usize> = (0..devices.len()).collect();
        let mut handed = Vec::with_capacity(devices.len());
        for abreast in places.chunks(ABREAST) {
            thread::scope(|scope| {
                let begin = |place: &usize| {
                    let (place, device) = (*place, devices[*place].device);
                    let hand_all =
                        move |door| asks(place).iter().try_for_each(|ask| hand_at(door, device, ask));
                    let thread = devices[place].door.map(|door| scope.spawn(move || hand_all(door)));
                    (place, thread)
                };
                let begun: Vec<_> = abreast.iter().map(begin).collect();
                handed.extend(begun.into_iter().map(|(place, thread)| match thread {
                    Some(thread) => thread.join().unwrap_or_else(|_| Err(unexpected())),
                    None => asks(place).iter().try_for_each(|ask| self.hand_own(ask)),
                }));
            });
        }
        handed
    }

    fn hand_own(&mut self, ask: &Ask) -> Result<(), Failure> {
        let Some(client) = &mut self.local else { return Err(unexpected()) };
        Ok(client.ask(ask).map(drop)?)
    }
}

fn hand_at(door: SocketAddr, device: DeviceId, ask: &Ask) -> Result<(), Failure> {
    let question = serde_json::to_vec(ask).expect("a question is plain JSON");
    let answer = hand(&[door], &question).map_err(|error| {
        Failure::Unreachable(format!(
            "it does not take grants at {door}: {error}; check the firewall for this TCP port"
        ))
    })?;
    match open_handed(&answer, device, &question) {
        Ok(Reply::Ok(_)) => Ok(()),
        Ok(Reply::Error(reason)) => Err(Failure::Failed(reason)),
        Err(error) => Err(Failure::Failed(format!("who answered at {door} is not the device: {error}"))),
    }
}
