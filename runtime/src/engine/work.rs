//! Carries out commands: side by side for different modules, one after the other for one module.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::{
    errors::Error,
    models::{ContainerSummary, ContainerSummaryStateEnum},
    query_parameters::{
        ListContainersOptions, RemoveContainerOptions, RenameContainerOptions, StopContainerOptions,
    },
};
use futures_util::future::join_all;
use tokio::{sync::mpsc, task::JoinHandle};
use wayside_actors::device::{io, module, reconciler, wiring};
use wayside_config::{secret::SecretMount, workload::ModuleId};

use crate::clock::wall_ms;

use super::{Ready, Shared, create, credentials::Listed, errors, health, images, making, names, previous};

/// How long a container that has ended stays when the next one of its module is there to be started.
const LINGER: Duration = Duration::from_secs(2);

/// What a stop may take beyond its grace before the call is given up.
const STOP_MARGIN: Duration = Duration::from_secs(30);

pub(super) async fn run(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<io::Engine>) {
    // The last task of each module (or container without one): the next waits for it.
    let mut last = BTreeMap::<String, JoinHandle<()>>::new();
    while let Some(command) = commands.recv().await {
        last.retain(|_, task| !task.is_finished());
        let subject = subject(&command);
        // Each list names it again until it is gone.
        if matches!(command, io::Engine::RemoveOrphan { .. }) && last.contains_key(&subject) {
            continue;
        }
        let mut before = last.remove(&subject);
        // Who looks again for a workload wants other images, or does not wait for these any more.
        if matches!(command, io::Engine::Look { .. }) {
            before.take().inspect(JoinHandle::abort);
        }
        let shared = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // Its own outcome has been told.
                let _ = before.await;
            }
            perform(&shared, command).await;
        });
        last.insert(subject, task);
    }
}

fn subject(command: &io::Engine) -> String {
    match command {
        io::Engine::List => String::new(),
        io::Engine::Space => "/space".into(),
        io::Engine::RemoveImage { image } => format!("/image/{image}"),
        // Containers are called by letters and digits, modules have one slash.
        io::Engine::Look { workload, .. } | io::Engine::Pull { workload, .. } => {
            format!("{workload}/images/")
        }
        io::Engine::Prepare { module, .. }
        | io::Engine::Create { module, .. }
        | io::Engine::Start { module, .. }
        | io::Engine::Stop { module, .. }
        | io::Engine::Remove { module, .. } => module.to_string(),
        io::Engine::RemoveOrphan { container } => container.clone(),
    }
}

async fn perform(shared: &Arc<Shared>, command: io::Engine) {
    use module::Event;
    let answer = match command {
        io::Engine::List => {
            shared.begin_list();
            let event =
                list(shared).await.unwrap_or_else(|problem| reconciler::Event::EngineLost { problem });
            return shared.tell(wiring::Event::Reconciler(event)).await;
        }
        io::Engine::Look { workload, images } => {
            let found = images::look(shared, &images).await;
            let event = reconciler::Event::Looked { workload, images, found };
            return shared.tell(wiring::Event::Reconciler(event)).await;
        }
        io::Engine::Pull { workload, images, max_bytes } => {
            let result = images::pull_all(shared, &images, max_bytes).await;
            let event = reconciler::Event::Pulled { workload, images, result };
            return shared.tell(wiring::Event::Reconciler(event)).await;
        }
        io::Engine::Space => {
            // Where that is not known, age alone decides.
            let disk = images::room(shared).await;
            let event = reconciler::Event::Space { disk, wall_ms: wall_ms() };
            return shared.tell(wiring::Event::Reconciler(event)).await;
        }
        io::Engine::RemoveImage { image } => {
            if images::remove(shared, &image).await {
                let event = reconciler::Event::ImageGone { image };
                shared.tell(wiring::Event::Reconciler(event)).await;
            }
            return;
        }
        io::Engine::RemoveOrphan { container } => {
            if let Err(problem) = remove(shared, &container).await {
                tracing::warn!(container, problem, "an orphan was not removed");
            } else {
                tracing::info!(container, "removed a container that nobody wants");
            }
            return;
        }
        io::Engine::Prepare { module, spec, spec_hash, grace_ms } => {
            return making::make_ahead(shared, &module, &spec, &spec_hash, grace_ms).await;
        }
        io::Engine::Create { module, spec, spec_hash } => {
            let made = making::make(shared, &module, &spec, &spec_hash).await;
            (module, None, made.map(|container| Event::Created { container, spec_hash }))
        }
        io::Engine::Start { module, container } => {
            let started = start(shared, &container).await;
            if started.is_ok() {
                shared.running.started(&module, &container);
            }
            (module, Some(container.clone()), started.map(|()| Event::Started { container }))
        }
        io::Engine::Stop { module, container, grace_ms } => {
            match stop(shared, &container, grace_ms).await {
                // The event stream tells how it ended, unless it had ended before.
                Ok(None) => return,
                Ok(Some(code)) => (module, None, Ok(Event::Exited { container, code })),
                Err(problem) => (module, Some(container), Err(problem)),
            }
        }
        io::Engine::Remove { module, container } => {
            let removed = leave(shared, &module, &container).await;
            (module, Some(container.clone()), removed.map(|()| Event::Removed { container }))
        }
    };
    let (module, asked_of, answer) = answer;
    let event = answer.unwrap_or_else(|problem| Event::Failed { container: asked_of, problem });
    shared.tell(wiring::Event::Module(module, event)).await;
}

async fn list(shared: &Arc<Shared>) -> Result<reconciler::Event, String> {
    let ready = shared.engine()?;
    let credentials = &shared.settings.credentials;
    let (issued, made) = (credentials.count(), shared.settings.secrets.count());
    let begun = Instant::now();
    let all = containers(shared, &ready).await?;
    let (leaving, containers): (Vec<_>, Vec<_>) = all.into_iter().partition(is_leaving);
    leaving.into_iter().filter_map(|summary| summary.id).for_each(|id| remove_soon(shared, id));
    credentials.listed(containers.iter().filter_map(listed).collect(), issued);
    let (coming, containers): (Vec<_>, Vec<_>) = containers.into_iter().partition(is_coming);
    let coming = coming.into_iter().filter_map(|summary| Some((module_of(&summary), summary.id?)));
    let unwanted = shared.coming.listed(&coming.collect::<Vec<_>>(), begun);
    unwanted.into_iter().for_each(|id| remove_soon(shared, id));
    shared.running.listed(&containers.iter().filter_map(running).collect::<Vec<_>>());
    let with_secrets = containers.iter().filter_map(secrets_of).collect();
    let secrets = Arc::clone(&shared.settings.secrets);
    // Before anybody starts one of them.
    let handed = tokio::task::spawn_blocking(move || secrets.listed(with_secrets, made)).await;
    handed.map_err(|_| "the daemon is stopping".to_owned())?;
    Ok(reconciler::Event::Observed {
        additions: create::additions(&shared.settings, &ready),
        containers: containers.into_iter().filter_map(observed).collect(),
    })
}

async fn containers(shared: &Shared, ready: &Ready) -> Result<Vec<ContainerSummary>, String> {
    let label = names::of_device(&shared.settings.identity.device());
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
        ..Default::default()
    };
    let listed = ready.docker.list_containers(Some(options)).await;
    listed.map_err(|error| errors::other("list the containers", &error))
}

fn module_of(summary: &ContainerSummary) -> Option<ModuleId> {
    summary.labels.as_ref()?.get(names::MODULE)?.parse().ok()
}

/// Whose container it is, and whether it runs.
fn running(summary: &ContainerSummary) -> Option<(Option<ModuleId>, String, bool)> {
    let module = module_of(summary);
    let runs = summary.state == Some(ContainerSummaryStateEnum::RUNNING);
    Some((module, summary.id.clone()?, runs))
}

/// Whose password counts, for its container is there.
fn listed(summary: &ContainerSummary) -> Option<Listed> {
    let labels = summary.labels.as_ref()?;
    let number = labels.get(names::CREDENTIALS).cloned().unwrap_or_default();
    let module = labels.get(names::MODULE)?.parse().ok()?;
    Some(Listed { module, number, container: summary.id.clone()? })
}

/// Which secrets it was made with.
fn secrets_of(summary: &ContainerSummary) -> Option<(ModuleId, Vec<SecretMount>)> {
    let labels = summary.labels.as_ref()?;
    let mounts = serde_json::from_str(labels.get(names::SECRETS)?).ok()?;
    Some((labels.get(names::MODULE)?.parse().ok()?, mounts))
}

fn observed(summary: ContainerSummary) -> Option<reconciler::Observed> {
    use ContainerSummaryStateEnum as State;
    let state = summary.state.unwrap_or(State::EMPTY);
    let labels = summary.labels.unwrap_or_default();
    // One that is being removed is as good as gone.
    (state != State::REMOVING).then_some(())?;
    Some(reconciler::Observed {
        container: summary.id?,
        module: labels.get(names::MODULE).and_then(|module| module.parse().ok()),
        spec_hash: labels.get(names::SPEC).cloned().unwrap_or_default(),
        running: matches!(state, State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING),
        exit_code: summary.status.as_deref().and_then(exit_code),
        health: summary.status.as_deref().and_then(health::of_status),
    })
}

/// From `Exited (137) 5 minutes ago`, for the list has it nowhere else.
fn exit_code(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

async fn start(shared: &Shared, container: &str) -> Result<(), String> {
    let ready = shared.engine()?;
    ready.docker.start_container(container, None).await.map_err(|error| errors::start(&error))
}

/// Gives the exit code when it had ended before.
async fn stop(shared: &Shared, container: &str, grace_ms: u64) -> Result<Option<i64>, String> {
    let ready = shared.engine()?;
    let failed = |error: Error| errors::other("stop the container", &error);
    let before = match ready.docker.inspect_container(container, None).await {
        // Then there is nothing to stop; the event stream tells that it is gone.
        Err(error) if errors::is_missing(&error) => return Ok(Some(-1)),
        found => found.map_err(failed)?.state.unwrap_or_default(),
    };
    if before.running != Some(true) {
        return Ok(before.exit_code.or(Some(-1)));
    }
    let grace = Duration::from_millis(grace_ms);
    let docker = ready.docker.clone().with_timeout(grace + STOP_MARGIN);
    let options = StopContainerOptions { signal: None, t: i32::try_from(grace_ms.div_ceil(1000)).ok() };
    docker.stop_container(container, Some(options)).await.map_err(failed)?;
    Ok(None)
}

pub(super) async fn remove(shared: &Shared, container: &str) -> Result<(), String> {
    let ready = shared.engine()?;
    // Named volumes stay; those without a name belong to the container.
    let options = RemoveContainerOptions { v: true, force: true, link: false };
    match ready.docker.remove_container(container, Some(options)).await {
        Err(error) if !errors::is_missing(&error) && !is_being_removed(&error) => {
            Err(errors::other("remove the container", &error))
        }
        Ok(()) | Err(_) => {
            shared.settings.credentials.gone(container);
            Ok(())
        }
    }
}

/// Removes the container of a module so that the next one may be made at once. One that has ended makes room by giving up its name, which is far
/// quicker than its removal; that follows by itself, or with a later list.
async fn leave(shared: &Arc<Shared>, module: &ModuleId, container: &str) -> Result<(), String> {
    let ready = shared.engine()?;
    let has_ended = ready.docker.inspect_container(container, None).await.is_ok_and(|found| {
        found.state.is_some_and(|state| state.running == Some(false) && state.paused != Some(true))
    });
    let name = names::leaving(&shared.settings.identity.device(), module, container);
    if has_ended && ready.docker.rename_container(container, RenameContainerOptions { name }).await.is_ok() {
        shared.settings.credentials.gone(container);
        let (shared, module, container) = (Arc::clone(shared), module.clone(), container.to_owned());
        // A removal at the same time makes the start of the next one take longer.
        let wait = if shared.coming.has(&module) { LINGER } else { Duration::ZERO };
        tokio::spawn(async move {
            previous::keep(&shared, &module, &container).await;
            tokio::time::sleep(wait).await;
            remove_at_last(&shared, &container).await;
        });
        return Ok(());
    }
    previous::keep(shared, module, container).await;
    remove(shared, container).await
}

/// Removes a container that nobody waits for.
fn remove_soon(shared: &Arc<Shared>, container: String) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move { remove_at_last(&shared, &container).await });
}

async fn remove_at_last(shared: &Shared, container: &str) {
    if let Err(problem) = remove(shared, container).await {
        tracing::warn!(container, problem, "a container that has ended is still there; it is tried again");
    }
}

fn is_leaving(summary: &ContainerSummary) -> bool {
    summary.names.iter().flatten().any(|name| names::is_leaving(name))
}

fn is_coming(summary: &ContainerSummary) -> bool {
    summary.names.iter().flatten().any(|name| names::is_coming(name))
}

fn is_being_removed(error: &Error) -> bool {
    errors::is_conflict(error) && errors::said(error).contains("already in progress")
}

pub(super) async fn stop_all(shared: &Shared) {
    let Ok(ready) = shared.engine() else { return };
    let listed = match containers(shared, &ready).await {
        Ok(listed) => listed,
        Err(problem) => return tracing::warn!(problem, "modules were not stopped"),
    };
    let running = listed.into_iter().filter(|c| c.state == Some(ContainerSummaryStateEnum::RUNNING));
    let stops = running.filter_map(|container| container.id).map(|id| {
        let docker = ready.docker.clone();
        async move {
            // Without options the engine takes the container's own grace.
            if let Err(error) = docker.stop_container(&id, None).await {
                tracing::warn!(container = id, error = errors::said(&error), "a module was not stopped");
            }
        }
    });
    join_all(stops).await;
}

#[cfg(test)]
mod tests {
    use wayside_config::identity::DeviceId;

    use super::*;

    #[test]
    fn who_leaves_or_comes_is_told_by_its_name() {
        let (device, module) = (DeviceId::from_bytes([7; 32]), "weather/sensor".parse().unwrap());
        let summary = |name: String| ContainerSummary { names: Some(vec![name]), ..Default::default() };
        let id = "0123456789abcdef0123456789abcdef";
        assert!(is_leaving(&summary(format!("/{}", names::leaving(&device, &module, id)))));
        assert!(is_coming(&summary(format!("/{}", names::coming(&device, &module, id)))));
        let own = summary(format!("/{}", names::container(&device, &module)));
        assert!(!is_leaving(&own) && !is_coming(&own));
    }

    #[test]
    fn a_listed_container_says_how_it_ended() {
        let summary = |state, status: &str| ContainerSummary {
            id: Some("c1".into()),
            state: Some(state),
            status: Some(status.into()),
            labels: Some(HashMap::from([
                (names::MODULE.to_owned(), "weather/sensor".to_owned()),
                (names::SPEC.to_owned(), "abc".to_owned()),
            ])),
            ..Default::default()
        };
        use ContainerSummaryStateEnum as State;
        let ended = observed(summary(State::EXITED, "Exited (137) 5 minutes ago")).unwrap();
        assert_eq!((ended.running, ended.exit_code), (false, Some(137)));
        assert_eq!(ended.module, Some("weather/sensor".parse().unwrap()));
        let created = observed(summary(State::CREATED, "Created")).unwrap();
        assert_eq!((created.running, created.exit_code), (false, None));
        let running = observed(summary(State::RUNNING, "Up 3 seconds")).unwrap();
        assert_eq!((running.running, running.exit_code), (true, None));
        assert_eq!(observed(summary(State::REMOVING, "Removal In Progress")), None);
    }
}
