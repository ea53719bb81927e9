//! What is new of the fleet, to devices that are connected: newer roots, and who is out. It proves itself, so it goes as an operator's
//! request does, and the cloud's own signature on it counts for nothing.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use wayside_actors::{
    cloud::session,
    frame::{Ask, Question},
};
use wayside_config::{
    document::Request,
    envelope::{self, Kind},
    identity::DeviceId,
};

use super::{clock::wall_ms, hub::Hub};

/// Why a device that is out of the fleet is not served.
pub(super) const OUT: &str = "this device is revoked: an operator put it out of the fleet; to be admitted again it begins anew with an empty state directory";

/// Tells every connected device what is new, and ends the sessions of those that are out.
pub(super) fn tell_all(hub: &Arc<Hub>) {
    for device in hub.connected() {
        tell(hub, device);
        if hub.state.is_revoked(&device) {
            hub.tell_session(&device, session::Event::Hangup { reason: OUT.into() });
        }
    }
}

/// Tells a device that has just connected, where there is something that it may not know.
pub(super) fn tell_newcomer(hub: &Hub, device: DeviceId) {
    let known = hub.state.fleet();
    if known.revocation.is_some() || known.fleet.is_some_and(|fleet| fleet.root().version > 1) {
        tell(hub, device);
    }
}

fn tell(hub: &Hub, device: DeviceId) {
    let known = hub.state.fleet();
    let Some(fleet) = known.fleet else { return };
    let roots: Vec<String> = fleet.roots().iter().map(|root| BASE64_STANDARD.encode(root)).collect();
    let revocation = known.revocation.map(|(sealed, _)| BASE64_STANDARD.encode(sealed));
    let no_grants: [String; 0] = [];
    let body = serde_json::json!({
        "ask": "admit", "roots": roots, "revocation": revocation, "grants": no_grants,
    });
    let nonce = getrandom::u64().unwrap_or_default();
    let request = Request { device, issued_ms: wall_ms(), nonce, body: body.to_string() };
    match envelope::seal(hub.state.key(), Kind::Request, &request) {
        Ok(sealed) => {
            // Nobody waits for the answer.
            let ask = Ask { id: hub.number(), question: Question::Sealed { request: sealed.into() } };
            hub.tell_session(&device, session::Event::Ask(ask));
        }
        Err(error) => tracing::error!(%error, "what is new of the fleet is too large to be told"),
    }
}
