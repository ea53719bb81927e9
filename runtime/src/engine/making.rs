//! Makes containers: when they are asked for, or ahead.

use std::{sync::Arc, time::Duration};

use bollard::{
    errors::Error,
    query_parameters::{CreateContainerOptions, RenameContainerOptions},
};
use wayside_config::workload::{ModuleId, ModuleSpec};

use super::{Ready, Shared, coming::Taken, create, errors, images, names, work::remove};

/// How long a container that was made ahead waits for its module beyond the grace of the one before.
const WAIT: Duration = Duration::from_secs(120);

/// Makes the container of a module, or takes the one that was made ahead for it.
pub(super) async fn make(
    shared: &Shared,
    module: &ModuleId,
    spec: &ModuleSpec,
    spec_hash: &str,
) -> Result<String, String> {
    let ready = allowed(shared, module, spec)?;
    let name = names::container(&shared.settings.identity.device(), module);
    match shared.coming.take(module, spec_hash) {
        Taken::Fits(container) => {
            let options = RenameContainerOptions { name: name.clone() };
            if ready.docker.rename_container(&container, options).await.is_ok() {
                return Ok(container);
            }
            remove(shared, &container).await?;
        }
        Taken::Other(container) => remove(shared, &container).await?,
        Taken::Nothing => {}
    }
    let secrets = secrets_for(shared, &ready, module, spec).await?;
    let making = async |number: &str| {
        let attempt = || create(shared, &ready, module, spec, spec_hash, (&name, number, secrets.as_deref()));
        let made = match attempt().await {
            Err(error) if errors::is_missing_image(&error) => {
                images::pull_again(shared, &ready, &spec.image).await?;
                attempt().await
            }
            Err(error) if errors::is_conflict(&error) && is_ours(shared, &ready, &name).await => {
                remove(shared, &name).await?;
                attempt().await
            }
            other => other,
        };
        made.map_err(|error| errors::create(&name, &error))
    };
    with_password(shared, module, making).await
}

/// Makes the container that a module will want next, under a name of its own. Where that is not possible, it is made when it is
/// wanted.
pub(super) async fn make_ahead(
    shared: &Shared,
    module: &ModuleId,
    spec: &ModuleSpec,
    spec_hash: &str,
    grace_ms: u64,
) {
    // The files of a module are those of one container: the one that runs would lose them.
    let Ok(ready) = allowed(shared, module, spec) else { return };
    if !spec.secrets.is_empty() {
        return;
    }
    let name = names::coming(&shared.settings.identity.device(), module, spec_hash);
    shared.coming.begin(module);
    let making = async |number: &str| {
        let made = create(shared, &ready, module, spec, spec_hash, (&name, number, None)).await;
        made.map_err(|error| errors::create(&name, &error))
    };
    let made = with_password(shared, module, making).await;
    if let Err(problem) = &made {
        tracing::debug!(%module, problem, "the next container is not made ahead");
    }
    let wait = Duration::from_millis(grace_ms) + WAIT;
    if let Some(before) = shared.coming.made(module, spec_hash, made.as_deref().ok(), wait) {
        let _ = remove(shared, &before).await.inspect_err(|problem| {
            tracing::warn!(
                container = before,
                problem,
                "a container that nobody wants any more is still there; it is tried again"
            )
        });
    }
}

/// What may not be made is not tried.
fn allowed(shared: &Shared, module: &ModuleId, spec: &ModuleSpec) -> Result<Ready, String> {
    if module.module == names::BROKER {
        return Err(format!(
            "a module cannot be called `{}`: modules find their daemon by that name",
            names::BROKER
        ));
    }
    if let Some(refusal) = shared.settings.policy.refusal(module, spec) {
        return Err(refusal);
    }
    shared.engine()
}

/// Issues a password for a container, which counts from before it is there, and as long as it is.
async fn with_password(
    shared: &Shared,
    module: &ModuleId,
    make: impl AsyncFnOnce(&str) -> Result<String, String>,
) -> Result<String, String> {
    let credentials = &shared.settings.credentials;
    let made = match credentials.issue(module) {
        Ok(number) => {
            let made = make(&number).await;
            credentials.made(&number, made.as_deref().ok());
            made
        }
        Err(problem) => Err(problem),
    };
    shared.settings.secrets.made(module);
    made
}

/// One request to the engine: under this name, with the password of this number and these secrets.
async fn create(
    shared: &Shared,
    ready: &Ready,
    module: &ModuleId,
    spec: &ModuleSpec,
    spec_hash: &str,
    (name, number, secrets): (&str, &str, Option<&str>),
) -> Result<String, Error> {
    let read_only = match spec.read_only {
        Some(said) => said,
        None => images::is_read_only(ready, &spec.image).await?,
    };
    let spec = ModuleSpec { read_only: Some(read_only), ..spec.clone() };
    let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
    let body = create::body(&shared.settings, ready, module, &spec, spec_hash, number, secrets);
    Ok(ready.docker.create_container(Some(options), body).await?.id)
}

/// The host's folder with the module's secrets, if it has any: all of them, or there is no container.
async fn secrets_for(
    shared: &Shared,
    ready: &Ready,
    module: &ModuleId,
    spec: &ModuleSpec,
) -> Result<Option<String>, String> {
    if spec.secrets.is_empty() {
        return Ok(None);
    }
    let (secrets, of, mounts) = (Arc::clone(&shared.settings.secrets), module.clone(), spec.secrets.clone());
    let prepared = tokio::task::spawn_blocking(move || secrets.prepare(&of, &mounts)).await;
    let folder = prepared.map_err(|_| "the daemon is stopping".to_owned())??;
    let on_host = ready.on_host(&folder);
    if on_host.is_err() {
        shared.settings.secrets.made(module);
    }
    Ok(Some(on_host?.to_string_lossy().into_owned()))
}

/// Whether the container carries this device's label: made by an earlier daemon that died before it
/// heard the engine's answer.
async fn is_ours(shared: &Shared, ready: &Ready, name: &str) -> bool {
    let Ok(container) = ready.docker.inspect_container(name, None).await else { return false };
    let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
    labels.get(names::DEVICE) == Some(&shared.settings.identity.device().to_string())
}
