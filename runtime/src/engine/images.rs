//! Which images there are, what room there is for others, and getting them.

use std::{path::Path, pin::pin, time::Duration};

use bollard::query_parameters::{CreateImageOptions, RemoveImageOptions};
use futures_util::StreamExt;
use wayside_actors::device::reconciler::{Disk, Images};

use super::{Ready, Shared, errors};

/// For one image.
const PULL: Duration = Duration::from_secs(30 * 60);

/// Which of `images` the engine does not have, and the disk that it would put them on.
pub(super) async fn look(shared: &Shared, images: &[String]) -> Result<Images, String> {
    let ready = shared.engine()?;
    let mut missing = Vec::new();
    for image in images {
        match ready.docker.inspect_image(image).await {
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

/// Gets them, one after the other: the link is one.
pub(super) async fn pull_all(shared: &Shared, images: &[String]) -> Result<(), String> {
    let ready = shared.engine()?;
    for image in images {
        pull(&ready, image).await?;
    }
    Ok(())
}

pub(super) async fn pull(ready: &Ready, image: &str) -> Result<(), String> {
    tracing::info!(image, "pulling");
    let options = CreateImageOptions { from_image: Some(reference(image)), ..Default::default() };
    let pulling = async {
        let mut progress = pin!(ready.docker.create_image(Some(options), None, None));
        while let Some(step) = progress.next().await {
            step.map_err(|error| errors::no_image(image, &errors::said(&error)))?;
        }
        Ok(())
    };
    let late = |_| errors::no_image(image, &format!("it took more than {} minutes", PULL.as_secs() / 60));
    tokio::time::timeout(PULL, pulling).await.map_err(late)?
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

/// The file system of the engine's own folder; where that is not to be seen from here, as in a container, that of the
/// state directory.
async fn disk(shared: &Shared, ready: &Ready) -> Option<Disk> {
    let root = ready.docker.info().await.ok().and_then(|info| info.docker_root_dir);
    let of = |path: &Path| {
        let (free_bytes, total_bytes) = (fs2::available_space(path).ok()?, fs2::total_space(path).ok()?);
        Some(Disk { free_bytes, total_bytes })
    };
    root.and_then(|root| of(Path::new(&root))).or_else(|| of(&shared.settings.state))
}

#[cfg(test)]
mod tests {
    use super::*;

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
