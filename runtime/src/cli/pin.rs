//! Images by what registries have under their names now, so that what is signed is what runs.

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use wayside_config::workload::Workload;

use super::{failure::Failure, output};
use crate::engine::{Asking, by_digest};

/// Who signs by tags where no registry answers is not kept waiting for long.
const TRIED: Duration = Duration::from_secs(5);

const MAY: &str = "which may mean another image on another device";

const ASKED: Duration = Duration::from_secs(30);

/// Whether images are signed by the digests that registries have for them, which they are where a registry tells them.
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Sign all images by their digests, or nothing: registries are asked through this machine's container engine
    #[arg(long)]
    pub pin: bool,
    /// Sign images as the file names them, and ask no registry
    #[arg(long, conflicts_with = "pin")]
    pub no_pin: bool,
}

impl PinArgs {
    /// With digests in place of tags. Those that stay with their tags are said.
    pub(super) fn pinned(&self, mut workload: Workload) -> Result<Workload, Failure> {
        let images = workload.modules.values().map(|spec| &*spec.image);
        let images: BTreeSet<&str> = images.filter(|image| !image.contains('@')).collect();
        if self.no_pin || images.is_empty() {
            return Ok(workload);
        }
        let images = Vec::from_iter(images);
        let asking = Asking { patience: if self.pin { ASKED } else { TRIED }, for_own: self.pin };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
        let found = match runtime.block_on(by_digest(&images, asking)) {
            Ok(found) => found,
            Err(why) if self.pin => return Err(Failure::Failed(why)),
            Err(why) => {
                output::note(&format!("images are signed by their tags, {MAY}: {why}"));
                return Ok(workload);
            }
        };
        for (image, found) in &found {
            match found {
                Ok(pinned) => output::note(&format!("{image} is {pinned}")),
                Err(why) if self.pin => {
                    return Err(Failure::Failed(format!(
                        "no registry tells the digest of {image} ({why}): push it there, or write it as NAME@sha256:DIGEST"
                    )));
                }
                Err(why) => output::note(&format!("{image} is signed by its tag, {MAY}: {why}")),
            }
        }
        for spec in workload.modules.values_mut() {
            if let Some(Ok(pinned)) = found.get(&spec.image) {
                spec.image.clone_from(pinned);
            }
        }
        Ok(workload)
    }
}
