//! Questions that operators signed, and answers that the device signs: over the mesh, or carried by a cloud.

use std::{
    sync::PoisonError,
    time::{SystemTime, UNIX_EPOCH},
};

use wayside_config::audit::Way;

use super::{Control, millis};
use crate::{
    control::{Now, open_ask, seal_reply},
    trust::Askers,
};

impl Control {
    /// Answers a sealed question that came over the mesh; the answer is sealed too.
    pub(in crate::daemon) async fn signed(&self, sealed: &[u8]) -> Vec<u8> {
        self.signed_for(sealed, &self.trust.askers(), Way::Lan).await
    }

    /// The same by way of the cloud, at whose word a device of no fleet answers nobody.
    pub(in crate::daemon) async fn carried(&self, sealed: &[u8]) -> Vec<u8> {
        let askers = match self.trust.askers() {
            Askers::Anybody => Askers::Strangers,
            askers @ (Askers::Strangers | Askers::Keys(_)) => askers,
        };
        self.signed_for(sealed, &askers, Way::Cloud).await
    }

    async fn signed_for(&self, sealed: &[u8], askers: &Askers, way: Way) -> Vec<u8> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Now { wall_ms: millis(wall), uptime_ms: millis(self.started.elapsed()) };
        let opened = {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            open_ask(sealed, self.device, askers, now, &mut answered)
        };
        let answer = match opened {
            Ok((asker, ask)) => self.reply(ask, way, vec![asker]).await,
            Err(error) => Err(self.refused(way, "", error.to_string()).await),
        };
        seal_reply(&self.key, sealed, answer)
    }

    /// A sealed word that there is no answer, and why.
    pub(in crate::daemon) fn refuse(&self, sealed: &[u8], reason: String) -> Vec<u8> {
        seal_reply(&self.key, sealed, Err(reason))
    }
}
