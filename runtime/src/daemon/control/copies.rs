//! Desired state of devices that are away: kept for them, told to who applies, and taken from who kept it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use wayside_actors::frame::Desired;
use wayside_config::{audit::Way, cosign, document::Assignment, identity::DeviceId};

use super::Control;
use crate::{
    control::{Answer, Away, Sealed},
    copies::keepers,
};

impl Control {
    /// Keeps what operators signed for other devices.
    pub(super) async fn keep(
        &self,
        assignments: Vec<Sealed>,
        with: impl Fn(Bytes) -> Desired + Send + 'static,
    ) -> Result<Answer, String> {
        let (trust, copies) = (Arc::clone(&self.trust), Arc::clone(&self.copies));
        // Signatures and the disk take a while.
        let kept = tokio::task::spawn_blocking(move || {
            let mut refused = BTreeMap::new();
            for assignment in assignments {
                let assignment = Bytes::from(assignment.0);
                let peeked = cosign::peek::<Assignment>(&assignment);
                let device = peeked.map_err(|error| error.to_string())?.device;
                let verified = trust.verify_copy(&with(assignment)).map_err(|error| error.to_string());
                let kept = verified.and_then(|copied| copies.keep(copied).map_err(|error| error.to_string()));
                if let Err(reason) = kept {
                    refused.insert(device, reason);
                }
            }
            Ok(Answer::Kept { refused })
        });
        kept.await.map_err(|error| error.to_string())?
    }

    /// Devices of the site that are not on the mesh: those for which something is kept here, or would be.
    pub(super) fn away(&self) -> Vec<Away> {
        let here: BTreeSet<DeviceId> = self.view.neighbours().into_keys().chain([self.device]).collect();
        let away = self.trust.circle().devices.into_iter().filter(|device| !here.contains(device));
        away.filter_map(|device| {
            let copy = self.copies.of(&device);
            let tells = copy.is_some() || keepers(device, &here).any(|keeper| keeper == self.device);
            let granted = self.trust.member(&device).filter(|_| tells)?;
            let assignment = copy.map(|copy| Sealed(copy.assignment.to_vec()));
            Some(Away { grant: Sealed(granted.sealed.to_vec()), assignment })
        })
        .collect()
    }

    /// Takes what a neighbour kept for this device while it was away.
    pub(in crate::daemon) async fn kept_by(&self, from: DeviceId, desired: Desired) {
        // Several have kept it, and bring it at once; those that come meanwhile take no room, and are brought again.
        let Ok(_taking) = self.taking.try_lock() else { return };
        let peeked = cosign::peek::<Assignment>(&desired.assignment);
        let newest = self.view.held().borrow().version;
        let Some(version) = peeked.ok().map(|peeked| peeked.version).filter(|version| *version > newest)
        else {
            return;
        };
        match self.apply(self.complete(desired), Way::Lan).await {
            Ok(_) => {
                tracing::info!(version, from = %from.short(), "took what was applied while this device was away")
            }
            Err(reason) => {
                tracing::warn!(version, from = %from.short(), reason, "what a neighbour has kept for this device is not taken")
            }
        }
    }
}
