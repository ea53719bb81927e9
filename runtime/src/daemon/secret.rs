//! Operators' changes of secrets, and what follows for modules that waited for one.

use std::{rc::Rc, sync::Arc, time::Duration};

use wayside_actors::device::{module, wiring::Event};

use super::control::Control;
use crate::{
    control::{Answer, Sealed, SecretLine},
    secrets::Secrets,
    shell::Device,
};

/// From a secret's coming until who waited for it is told: by then its machine has heard that it could not be made.
const SETTLE: Duration = Duration::from_millis(300);

impl Control {
    /// Which secrets there are.
    pub(super) fn list_secrets(&self) -> Answer {
        let (version, secrets) = self.secrets.list();
        let line = |(name, version): (wayside_config::secret::SecretName, u64)| SecretLine {
            secret: name.secret,
            workload: name.workload,
            version,
        };
        Answer::Secrets { version, secrets: secrets.into_iter().map(line).collect() }
    }

    /// Sets or removes one.
    pub(super) async fn set_secret(&self, Sealed(sealed): Sealed) -> Result<Answer, String> {
        let (change, fleet) = self.trust.verify_secret(&sealed)?;
        let (name, version, is_set) = (change.secret.clone(), change.version, change.value.is_some());
        let secrets = Arc::clone(&self.secrets);
        let taking = tokio::task::spawn_blocking(move || secrets.take(sealed.into(), change, fleet));
        let taken = taking.await.map_err(|_| "the daemon is stopping: ask again")?;
        taken.map_err(|error| error.to_string())?;
        tracing::info!(secret = %name, version, is_set, "a secret was changed");
        Ok(self.list_secrets())
    }
}

/// Says what is wrong with secrets, and lets modules go on that waited for one.
pub(super) async fn follow(device: Rc<Device>, secrets: Arc<Secrets>) {
    let mut changes = secrets.changes();
    loop {
        changes.borrow_and_update();
        device.problems_of("secrets", secrets.problems());
        let freed = secrets.freed();
        if !freed.is_empty() {
            tokio::time::sleep(SETTLE).await;
        }
        for module in freed {
            device.tell(Event::Module(module, module::Event::Restart));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
