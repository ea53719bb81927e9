//! Operators' looks at twins, and their changes: to the machine that owns them.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use wayside_actors::device::twins::Event;
use wayside_config::{hash::sha256, workload::ModuleId};
use wayside_host::Address;

use super::control::Control;
use crate::{
    control::{Answer, Sealed, TwinView},
    logs,
    shell::{Device, TwinPort},
};

/// From the question to the disk and back.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the machine that owns the twins.
pub(super) struct Twins {
    address: Option<Address<Event>>,
    port: Arc<TwinPort>,
}

impl Twins {
    pub(super) fn new(device: &Device) -> Self {
        Self { address: device.twins(), port: Arc::clone(&device.adapters().twins) }
    }

    async fn ask(&self, module: &ModuleId, event: impl FnOnce(u64) -> Event) -> Result<Answer, String> {
        let stopping = || "the daemon is stopping: ask again".to_owned();
        let (question, shown) =
            self.port.wait().ok_or("too many questions wait on this device: ask again later")?;
        let address = self.address.as_ref().ok_or_else(stopping)?;
        address.send(event(question), 0).await.map_err(|_| stopping())?;
        let late = |_| "the device did not write it in time: see `wayside status` and its log".to_owned();
        let twin = timeout(PATIENCE, shown).await.map_err(late)?.map_err(|_| stopping())??;
        Ok(Answer::Twin(TwinView::new(module, &twin)))
    }
}

impl Control {
    /// The twin of the module that `name` means.
    pub(super) async fn twin(&self, name: &str) -> Result<Answer, String> {
        let module = logs::find(self.view.report().modules.keys(), name)?;
        let of = module.clone();
        self.twins.ask(&of, |question| Event::Look { question, module }).await
    }

    /// Changes what is desired of a module.
    pub(super) async fn set_twin(&self, sealed: &Sealed) -> Result<Answer, String> {
        let change = Box::new(self.trust.verify_twin(&sealed.0, &self.called())?);
        let (of, sha256) = (change.module.clone(), sha256(&sealed.0));
        let event = |question| Event::Change { question: Some(question), change, sha256 };
        self.twins.ask(&of, event).await
    }
}
