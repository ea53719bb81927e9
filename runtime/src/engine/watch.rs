//! Keeps the link to the engine and listens to what happens to this device's containers.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{models::EventMessage, query_parameters::EventsOptions};
use futures_util::StreamExt;
use tokio::time::timeout;
use wayside_actors::{
    device::{module, reconciler, wiring},
    report::Health,
};
use wayside_config::workload::ModuleId;

use super::{Ready, Shared, health, link, names};

/// Between two attempts to reach the engine, and after its stream ended.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Between two questions whether it still answers.
const ASK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match link::connect(&shared.settings).await {
            Ok(ready) => {
                tracing::info!(version = ready.version, broker = %ready.broker.address(), "engine answers");
                shared.now(Ok(ready.clone()));
                pause = FIRST_PAUSE;
                tokio::select! {
                    () = follow(&shared, &ready) => {}
                    never = ask(&shared, &ready) => match never {},
                }
                tracing::warn!("the engine's event stream ended; connecting again");
            }
            Err(problem) => {
                if shared.ready.borrow().as_ref().err() != Some(&problem) {
                    tracing::error!(problem, "no container engine");
                }
                shared.now(Err(problem.clone()));
                shared.tell(wiring::Event::Reconciler(reconciler::Event::EngineLost { problem })).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Passes on what happens until the stream ends.
async fn follow(shared: &Shared, ready: &Ready) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), ["die", "destroy", "health_status"].map(str::to_owned).into()),
        ("label".to_owned(), vec![names::of_device(&shared.settings.identity.device())]),
    ]);
    let options = EventsOptions {
        // From before the list that follows, so that nothing falls between the two.
        since: Some(format!("{}.{:09}", now.as_secs(), now.subsec_nanos())),
        until: None,
        filters: Some(filters),
    };
    let mut events = std::pin::pin!(ready.docker.events(Some(options)));
    shared.tell(wiring::Event::Reconciler(reconciler::Event::EngineBack)).await;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some((module, mut event)) = translate(&event) {
                    if let module::Event::Exited { container, code } = &mut event {
                        shared.running.ended(container);
                        // Labels of the image stand in the place of what the engine says in an event.
                        *code = exit_code(ready, container).await.unwrap_or(*code);
                    }
                    if let module::Event::Removed { container } = &event {
                        shared.settings.credentials.gone(container);
                    }
                    if let module::Event::Health { container, health: Health::Unhealthy, output } = &mut event
                    {
                        *output = health::output(ready, container).await;
                    }
                    shared.tell(wiring::Event::Module(module, event)).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the engine's event stream failed");
                return;
            }
        }
    }
}

/// Asks the engine now and then: one that hangs ends no stream. Tells when it does not answer, and when it does again.
async fn ask(shared: &Shared, ready: &Ready) -> Infallible {
    let mut hangs = false;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let answered = timeout(link::ANSWER, ready.docker.ping()).await.is_ok();
        if answered == hangs {
            hangs = !answered;
            let event = if hangs {
                let problem = link::silent();
                tracing::error!(problem, "no container engine");
                reconciler::Event::EngineLost { problem }
            } else {
                tracing::info!("engine answers again");
                reconciler::Event::EngineBack
            };
            shared.tell(wiring::Event::Reconciler(event)).await;
        }
    }
}

/// How a container ended, by the engine's own account.
async fn exit_code(ready: &Ready, container: &str) -> Option<i64> {
    let inspected =
        timeout(link::ANSWER, ready.docker.inspect_container(container, None)).await.ok()?.ok()?;
    let state = inspected.state.filter(|state| state.running == Some(false))?;
    state.exit_code
}

fn translate(message: &EventMessage) -> Option<(ModuleId, module::Event)> {
    let actor = message.actor.as_ref()?;
    let attributes = actor.attributes.as_ref()?;
    let module = attributes.get(names::MODULE)?.parse().ok()?;
    let container = actor.id.clone()?;
    let event = match message.action.as_deref()? {
        "die" => {
            let code = attributes.get("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1);
            module::Event::Exited { container, code }
        }
        "destroy" => module::Event::Removed { container },
        action => {
            module::Event::Health { container, health: health::of_action(action)?, output: String::new() }
        }
    };
    Some((module, event))
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    #[test]
    fn the_end_of_a_container_is_told_to_its_module() {
        let attributes = HashMap::from([
            ("exitCode".to_owned(), "137".to_owned()),
            (names::MODULE.to_owned(), "weather/sensor".to_owned()),
        ]);
        let actor = EventActor { id: Some("c1".into()), attributes: Some(attributes) };
        let mut message =
            EventMessage { action: Some("die".into()), actor: Some(actor), ..Default::default() };
        let module: ModuleId = "weather/sensor".parse().unwrap();
        let exited = module::Event::Exited { container: "c1".into(), code: 137 };
        assert_eq!(translate(&message), Some((module.clone(), exited)));
        message.action = Some("destroy".into());
        let removed = module::Event::Removed { container: "c1".into() };
        assert_eq!(translate(&message), Some((module, removed)));
        message.action = Some("health_status: healthy".into());
        let (container, output) = ("c1".into(), String::new());
        let healthy = module::Event::Health { container, health: Health::Healthy, output };
        assert_eq!(translate(&message), Some(("weather/sensor".parse().unwrap(), healthy)));
        message.action = Some("exec_create".into());
        assert_eq!(translate(&message), None);
    }
}
