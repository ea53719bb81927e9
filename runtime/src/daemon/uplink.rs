//! The uplink's commands and events as the device's.

use std::rc::Rc;

use anyhow::Context;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use wayside_actors::{
    device::{io, uplink, wiring::Event},
    frame::{Ask, Question, ToDevice},
};
use wayside_cloud_bridge::device::{CloudAddress, Event as UplinkEvent, UplinkClient};
use wayside_config::join::JoinLink;

use crate::{
    shell::{Device, ROOM_OF_OTHERS},
    state::Identity,
};

/// Commands that wait besides those that the uplink itself holds: up to 16 batches, and others. What finds no room is dropped, and said
/// again by who said it.
const COMMANDS: usize = 16 + ROOM_OF_OTHERS;

/// Starts the uplink, which waits for its machine's word.
pub(super) fn start(
    io: &Handle,
    cloud: &JoinLink,
    identity: &Identity,
) -> anyhow::Result<(mpsc::Sender<io::Uplink>, mpsc::Receiver<UplinkEvent>)> {
    let address = CloudAddress { host: cloud.host.clone(), port: cloud.port, key: cloud.key };
    let (client, events) =
        UplinkClient::start(io, address, identity.key()).context("cannot prepare the uplink")?;
    let (commands, mut taken) = mpsc::channel(COMMANDS);
    io.spawn(async move {
        while let Some(command) = taken.recv().await {
            if client.command(command).await.is_err() {
                return;
            }
        }
    });
    Ok((commands, events))
}

/// Passes events on until the uplink's task ends. Says in `stands` whether there is a connection.
pub(super) async fn pump(
    device: Rc<Device>,
    mut events: mpsc::Receiver<UplinkEvent>,
    stands: watch::Sender<bool>,
) {
    while let Some(event) = events.recv().await {
        let (event, bytes) = match event {
            UplinkEvent::Connected => {
                stands.send_replace(true);
                (uplink::Event::Connected, 0)
            }
            UplinkEvent::Lost { reason } => {
                stands.send_replace(false);
                (uplink::Event::Lost { reason }, 0)
            }
            UplinkEvent::Unreadable { reason } => (uplink::Event::Unreadable { reason }, 0),
            UplinkEvent::Frame(frame) => {
                let bytes = size(&frame);
                (uplink::Event::Frame(frame), bytes)
            }
        };
        device.send(Event::Uplink(event), bytes).await;
    }
}

fn size(frame: &ToDevice) -> usize {
    match frame {
        ToDevice::Desired(desired) => {
            desired.assignment.len() + desired.releases.iter().map(bytes::Bytes::len).sum::<usize>()
        }
        ToDevice::Ask(Ask { question: Question::Sealed { request }, .. }) => request.len(),
        ToDevice::Twin(sealed) => sealed.len(),
        ToDevice::Welcome
        | ToDevice::Refused { .. }
        | ToDevice::Confirm(_)
        | ToDevice::Clock { .. }
        | ToDevice::Ask(Ask { question: Question::Logs { .. }, .. }) => 0,
    }
}
