//! Calls: to a module through its machine, or to the device itself.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};
use wayside_actors::device::calls::{
    Event, Failed, MAX_BODY_BYTES, MAX_CALLS_OF_MODULE, MAX_DEADLINE_MS, Outcome, Why,
};
use wayside_config::workload::ModuleId;
use wayside_host::Address;

use super::{control::Control, diagnostics};
use crate::{
    clock::wall_ms,
    logs,
    shell::{CallPort, Device},
};

/// How much longer than its deadline the machine may take to say what came of a call.
const SLACK: Duration = Duration::from_secs(2);

/// The way to the machine that owns the calls.
pub(super) struct Calls {
    address: Option<Address<Event>>,
    port: Arc<CallPort>,
    /// For the device's own methods that are no calls of the machine.
    own: Semaphore,
    state: PathBuf,
}

/// What `restart` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    module: String,
}

/// What `logs` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logs {
    module: String,
    #[serde(default = "default_tail")]
    tail: u32,
    #[serde(default)]
    since_ms: u64,
}

const fn default_tail() -> u32 {
    100
}

/// `ping` and `diagnostics` take nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Calls {
    pub(super) fn new(device: &Device) -> Self {
        let adapters = device.adapters();
        Self {
            address: device.calls(),
            port: Arc::clone(&adapters.calls),
            own: Semaphore::new(MAX_CALLS_OF_MODULE),
            state: adapters.state.path().to_owned(),
        }
    }

    /// Tells the machine, and waits for what comes of it.
    async fn settled(&self, deadline_ms: u64, body: usize, event: impl FnOnce(u64) -> Event) -> Outcome {
        let stopping = || failed(Why::Ended, "the daemon is stopping: call again".into());
        let Some((call, outcome)) = self.port.wait() else {
            return Err(failed(
                Why::Busy,
                "too many calls are under way on this device: call again later".into(),
            ));
        };
        let address = self.address.as_ref().ok_or_else(stopping)?;
        address.send(event(call), body).await.map_err(|_| stopping())?;
        let patience = Duration::from_millis(deadline_ms.min(MAX_DEADLINE_MS)) + SLACK;
        match timeout(patience, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(stopping()),
            Err(_) => {
                Err(failed(Why::Deadline, "the device itself is too busy to answer: see its log".into()))
            }
        }
    }
}

impl Control {
    /// Calls a method of the module that `module` means, or one of the device's own.
    pub(super) async fn call(
        &self,
        module: Option<String>,
        method: String,
        body: String,
        deadline_ms: u64,
    ) -> Outcome {
        let Some(name) = module else { return self.call_own(&method, &body, deadline_ms).await };
        let module = self.module(&name)?;
        let (bytes, body) = (body.len(), Bytes::from(body));
        let event = |call| Event::Called { call, module, method, body, deadline_ms };
        self.calls.settled(deadline_ms, bytes, event).await
    }

    async fn call_own(&self, method: &str, body: &str, deadline_ms: u64) -> Outcome {
        if body.len() > MAX_BODY_BYTES {
            return Err(failed(Why::TooLarge, format!("the call has more than {MAX_BODY_BYTES} bytes")));
        }
        if method == "restart" {
            let Restart { module } = read(body)?;
            let module = self.module(&module)?;
            tracing::info!(%module, "an operator wants the module restarted");
            let event = |call| Event::Restart { call, module, deadline_ms };
            return self.calls.settled(deadline_ms, 0, event).await;
        }
        let Ok(_turn) = self.calls.own.try_acquire() else {
            return Err(failed(Why::Busy, "the device answers others already: call again later".into()));
        };
        let answer = async {
            match method {
                "ping" => read::<Nothing>(body).map(|_| self.ping().to_string().into()),
                "logs" => {
                    let Logs { module, tail, since_ms } = read(body)?;
                    let module = self.reported(&module)?;
                    let text = self.engine.logs(&module, tail, since_ms).await;
                    text.map(Bytes::from).map_err(|reason| failed(Why::Refused, reason))
                }
                "diagnostics" => {
                    read::<Nothing>(body)?;
                    let engine = self.engine.ready().borrow().clone().map(|ready| ready.version);
                    let told = diagnostics::tell(&self.status(), engine, &self.calls.state, wall_ms());
                    Ok(told.to_string().into())
                }
                other => Err(failed(
                    Why::NoMethod,
                    format!(
                        "a device has no method `{}`: it has ping, restart, logs and diagnostics",
                        other.escape_debug()
                    ),
                )),
            }
        };
        let patience = Duration::from_millis(deadline_ms.min(MAX_DEADLINE_MS));
        let late =
            |_| failed(Why::Deadline, format!("`{method}` took longer than {} ms", patience.as_millis()));
        timeout(patience, answer).await.map_err(late)?
    }

    fn ping(&self) -> serde_json::Value {
        let status = self.status();
        json!({
            "device": status.device,
            "name": status.name,
            "version": status.version,
            "uptime_ms": status.uptime_ms,
            "wall_ms": wall_ms(),
        })
    }

    /// The module that `name` means, for the machine to know or not: the report may be a second behind it.
    fn module(&self, name: &str) -> Result<ModuleId, Failed> {
        name.parse().or_else(|_| self.reported(name))
    }

    fn reported(&self, name: &str) -> Result<ModuleId, Failed> {
        logs::find(self.view.report().modules.keys(), name).map_err(|reason| failed(Why::Absent, reason))
    }
}

/// What a method of the device takes. Nothing said is as good as nothing in it.
fn read<T: DeserializeOwned>(body: &str) -> Result<T, Failed> {
    let body = if body.trim().is_empty() { "{}" } else { body };
    serde_json::from_str(body)
        .map_err(|error| failed(Why::Malformed, format!("the method does not take this: {error}")))
}

fn failed(why: Why, reason: String) -> Failed {
    Failed { why, reason: reason.into() }
}
