//! Which images there are, what room there is for others, and getting them.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use bollard::{
    errors::Error,
    query_parameters::{CreateImageOptions, RemoveImageOptions},
};
use futures_util::StreamExt;
use tokio::time::timeout;
use wayside_actors::device::{
    reconciler::{self, Disk, Images, NotPulled},
    wiring,
};
use wayside_config::limits::PULL_MAX_BYTES;

use super::{
    Ready, Shared,
    budget::{Budget, Exceeded},
    errors, link, names,
};

/// For one image.
const PULL: Duration = Duration::from_secs(30 * 60);

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which of `images` the engine does not have, and the disk that it would put them on.
pub(super) async fn look(shared: &Shared, images: &[String]) -> Result<Images, String> {
    let ready = shared.engine()?;
    let mut missing = Vec::new();
    for image in images {
        let inspecting = timeout(link::ANSWER, ready.docker.inspect_image(image));
        match inspecting.await.unwrap_or(Err(Error::RequestTimeoutError)) {
            Ok(_) => {}
            Err(error) if errors::is_missing(&error) => missing.push(image.clone()),
            Err(error) => {
                return Err(errors::other(&format!("say whether it has the image {image}"), &error));
            }
        }
    }
    let disk = if missing.is_empty() { None } else { disk(shared, &ready).await };
    Ok(Images { missing, disk })
}

/// Gets them, one after the other: the link is one. For all of them no more than so many bytes are downloaded.
pub(super) async fn pull_all(shared: &Shared, images: &[String], max_bytes: u64) -> Result<(), NotPulled> {
    let ready = shared.engine().map_err(NotPulled::Failed)?;
    let mut budget = Budget::new(max_bytes);
    for image in images {
        pull(shared, &ready, image, &mut budget).await?;
    }
    Ok(())
}

/// Gets one that a version needs which runs, and that somebody has removed.
pub(super) async fn pull_again(shared: &Shared, ready: &Ready, image: &str) -> Result<(), String> {
    match pull(shared, ready, image, &mut Budget::new(PULL_MAX_BYTES)).await {
        Err(NotPulled::Failed(problem) | NotPulled::TooLarge(problem)) => Err(problem),
        Ok(()) => Ok(()),
    }
}

async fn pull(shared: &Shared, ready: &Ready, image: &str, budget: &mut Budget) -> Result<(), NotPulled> {
    tracing::info!(image, "pulling");
    let mut floor = Floor::new(folder(shared, ready).await);
    let options = CreateImageOptions { from_image: Some(reference(image)), ..Default::default() };
    let pulling = async {
        let mut progress = pin!(ready.docker.create_image(Some(options), None, None));
        while let Some(step) = progress.next().await {
            let failed = |error| NotPulled::Failed(errors::no_image(image, &errors::said(&error)));
            // Who does not listen any more has the engine give it up.
            budget
                .hear(&step.map_err(failed)?)
                .map_err(|exceeded| NotPulled::TooLarge(too_large(image, exceeded)))?;
            floor.look().map_err(|problem| NotPulled::Failed(format!("{image} is given up: {problem}")))?;
        }
        Ok(())
    };
    let late = |_| {
        let why = format!("it took more than {} minutes", PULL.as_secs() / 60);
        NotPulled::Failed(errors::no_image(image, &why))
    };
    timeout(PULL, pulling).await.map_err(late)??;
    shared.tell(wiring::Event::Reconciler(reconciler::Event::Got { image: image.to_owned() })).await;
    Ok(())
}

/// Whether the image says that its root file system may be read-only.
pub(super) async fn is_read_only(ready: &Ready, image: &str) -> Result<bool, Error> {
    let inspecting = timeout(link::ANSWER, ready.docker.inspect_image(image));
    let labels =
        inspecting.await.unwrap_or(Err(Error::RequestTimeoutError))?.config.and_then(|config| config.labels);
    Ok(labels.unwrap_or_default().get(names::READ_ONLY).is_some_and(|said| said == "true"))
}

fn too_large(image: &str, Exceeded { max_bytes, bytes }: Exceeded) -> String {
    format!(
        "the image {image} is not got: with it {bytes} bytes would be downloaded, and the release allows {max_bytes}: raise `pull_max` under `x-wayside: update:` if that is right, and apply it"
    )
}

/// What room there is for images, when that is known.
pub(super) async fn room(shared: &Shared) -> Option<Disk> {
    disk(shared, &shared.engine().ok()?).await
}

/// Removes an image that no container uses. Whether it is gone now, or somebody else's; otherwise it is tried again later.
pub(super) async fn remove(shared: &Shared, image: &str) -> bool {
    let Ok(ready) = shared.engine() else { return false };
    // Without `force`: the engine keeps what a container uses, whoever made it.
    match ready.docker.remove_image(image, None::<RemoveImageOptions>, None).await {
        Ok(_) => {
            tracing::info!(image, "removed an image that nothing needs");
            true
        }
        Err(error) if errors::is_missing(&error) => true,
        Err(error) if errors::is_conflict(&error) => {
            tracing::info!(image, "an image that nothing here needs stays: others use it");
            true
        }
        Err(error) => {
            tracing::warn!(
                image,
                error = errors::said(&error),
                "an image was not removed; it is tried again"
            );
            false
        }
    }
}

/// Without a tag the engine would pull them all.
pub(super) fn reference(image: &str) -> String {
    let has_tag = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag { image.to_owned() } else { format!("{image}:latest") }
}

async fn disk(shared: &Shared, ready: &Ready) -> Option<Disk> {
    space(&folder(shared, ready).await)
}

/// The engine's own folder; where that is not to be seen from here, as in a container, the state directory.
async fn folder(shared: &Shared, ready: &Ready) -> PathBuf {
    let root = timeout(link::ANSWER, ready.docker.info()).await.ok().and_then(Result::ok);
    let root = root.and_then(|info| info.docker_root_dir).map(PathBuf::from);
    root.filter(|root| space(root).is_some()).unwrap_or_else(|| shared.settings.state.clone())
}

/// How much room the file system of this folder has.
fn space(folder: &Path) -> Option<Disk> {
    let (free_bytes, total_bytes) = (fs2::available_space(folder).ok()?, fs2::total_space(folder).ok()?);
    Some(Disk { free_bytes, total_bytes })
}

/// Looks at the disk while something comes: nobody says before what layers are once they are unpacked.
struct Floor {
    folder: PathBuf,
    looked: Instant,
}

impl Floor {
    fn new(folder: PathBuf) -> Self {
        Self { folder, looked: Instant::now() }
    }

    /// What is wrong, if there is too little room now.
    fn look(&mut self) -> Result<(), String> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        space(&self.folder).map_or(Ok(()), |disk| disk.check(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_looked_at_now_and_then_and_without_room_a_pull_ends() {
        // It has no bytes at all, and none of them free.
        let mut floor = Floor::new("/proc".into());
        assert_eq!(floor.look(), Ok(()));
        floor.looked = Instant::now() - LOOK_EVERY;
        assert!(floor.look().is_err_and(|problem| problem.starts_with("no image is pulled, for 0 MiB of 0")));
        floor.folder = "/nowhere".into();
        floor.looked = Instant::now() - LOOK_EVERY;
        assert_eq!(floor.look(), Ok(()));
    }

    #[test]
    fn an_image_is_pulled_by_its_tag_or_digest_and_never_all_its_tags() {
        let digest = format!("registry:5000/a/b@sha256:{}", "7f".repeat(32));
        for (image, expected) in [
            ("busybox", "busybox:latest"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("registry:5000/a/b:2", "registry:5000/a/b:2"),
            (&digest, digest.as_str()),
        ] {
            assert_eq!(reference(image), expected);
        }
    }
}
