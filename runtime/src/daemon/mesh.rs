//! The mesh's events as the device's.

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use wayside_actors::{
    device::{delivery, membership, router, wiring::Event},
    message::Message,
    queue::{Endpoint, Queue},
};
use wayside_config::settings;
use wayside_mesh::{
    circle::Circle,
    event::{MeshEvent, MeshEvents},
    lost::Lost,
    pair::OwnKey,
    session::{Excluded, Mesh, MeshSettings, SCOUTING},
};

use super::control::Control;
use crate::{engine::Engine, shell::Device, state::Identity, trust::Trust};

/// The most neighbours that are known at a time: any member may say that one more is there.
const NEIGHBOURS: usize = 1024;

/// How often what best-effort routes have lost is told.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// Opens the mesh. The error is a problem to show; the device goes on without neighbours.
pub(super) fn open(
    (identity, circle, trust): (&Identity, Circle, &Trust),
    name: &str,
    settings: &settings::MeshSettings,
    exclude: Excluded,
    lost: Lost,
) -> (Result<Mesh, String>, Option<MeshEvents>) {
    let mut mesh = MeshSettings::new(circle, OwnKey::new(identity.key().clone()), name);
    mesh.takes_part = trust.circle().takes_part;
    mesh.listen.clone_from(&settings.listen);
    mesh.connect.clone_from(&settings.connect);
    mesh.scouting = settings.multicast.then_some(SCOUTING);
    mesh.exclude = exclude;
    mesh.lost = lost;
    match Mesh::open(mesh) {
        Ok((mesh, events)) => (Ok(mesh), Some(events)),
        Err(error) => {
            tracing::error!(%error, "no mesh");
            (Err(error.to_string()), None)
        }
    }
}

/// Keeps the daemon's address in the modules' network out of the mesh: modules are behind it, not
/// neighbours.
pub(super) async fn exclude_modules(engine: Engine, exclude: Excluded) {
    let mut ready = engine.ready();
    loop {
        if let Ok(ready) = &*ready.borrow_and_update() {
            exclude.add(ready.broker.address());
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the router, by the second, what best-effort routes have lost.
pub(super) async fn tell_lost(device: Rc<Device>) {
    loop {
        tokio::time::sleep(LOST_EVERY).await;
        for (route, messages) in device.adapters().lost.take() {
            device.tell(Event::Router(router::Event::Lost { route, messages }));
        }
    }
}

/// Passes events on until the mesh is closed.
pub(super) async fn pump(device: Rc<Device>, events: Option<MeshEvents>, control: Arc<Control>) {
    let Some(mut events) = events else { return };
    let mut neighbours = BTreeSet::new();
    while let Some(event) = events.recv().await {
        match event {
            MeshEvent::Seen { device: neighbour, name } => {
                // What operators called it counts for more than what it calls itself.
                let granted = device.adapters().trust.member(&neighbour);
                let name = granted.map_or(name, |granted| granted.grant.name);
                if neighbours.len() >= NEIGHBOURS && !neighbours.contains(&neighbour) {
                    tracing::warn!(most = NEIGHBOURS, neighbour = %neighbour.short(), "too many neighbours: one more is not taken");
                    continue;
                }
                neighbours.insert(neighbour);
                if device.adapters().view.neighbour(neighbour, Some(name.clone())) {
                    tracing::info!(device = %neighbour.short(), name, "neighbour is here");
                }
                let seen = membership::Event::TokenSeen { device: neighbour, name };
                device.send(Event::Membership(seen), 0).await;
            }
            MeshEvent::Gone { device: neighbour } => {
                neighbours.remove(&neighbour);
                if device.adapters().view.neighbour(neighbour, None) {
                    tracing::info!(device = %neighbour.short(), "neighbour is gone");
                }
                let gone = membership::Event::TokenGone { device: neighbour };
                device.send(Event::Membership(gone), 0).await;
            }
            MeshEvent::RouterSeen { device: router } => {
                device.send(Event::Membership(membership::Event::RouterSeen { device: router }), 0).await;
            }
            MeshEvent::RouterGone { device: router } => {
                device.send(Event::Membership(membership::Event::RouterGone { device: router }), 0).await;
            }
            MeshEvent::Batch { from, batch } => {
                let bytes = batch.messages.iter().map(Message::cost_bytes).sum();
                device.send(Event::Router(router::Event::Arrived { from, batch }), bytes).await;
            }
            MeshEvent::Live { from, route, messages } => {
                for message in messages {
                    let (route, bytes) = (route.clone(), message.cost_bytes());
                    let forwarded = router::Event::Forwarded { from, route, message };
                    device.send(Event::Router(forwarded), bytes).await;
                }
            }
            MeshEvent::Confirm { from, confirm } => {
                let queue = Queue::new(confirm.route, Endpoint::Device(from));
                let acked = delivery::Event::Acked { epoch: Some(confirm.epoch), upto: confirm.upto };
                device.send(Event::Delivery(queue, acked), 0).await;
            }
            MeshEvent::Desired { from, desired } => {
                let control = Arc::clone(&control);
                actix::spawn(async move { control.kept_by(from, desired).await });
            }
            MeshEvent::Control(request) => {
                let control = Arc::clone(&control);
                // Some questions take a while, and the mesh goes on.
                actix::spawn(async move {
                    let answer = control.signed(&request.sealed).await;
                    request.reply(answer);
                });
            }
            MeshEvent::Problem(problem) => device.problem("mesh", problem),
        }
    }
}
