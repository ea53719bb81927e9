//! Images by what registries have under their names now, so that what is signed is what runs.

use wayside_config::workload::Workload;

use super::{failure::Failure, output};
use crate::engine::by_digest;

/// With the digests of its images in place of their tags.
pub(super) fn pinned(mut workload: Workload) -> Result<Workload, Failure> {
    let images: Vec<String> = workload.modules.values().map(|spec| spec.image.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
    let found = runtime.block_on(by_digest(&images)).map_err(Failure::Failed)?;
    for (spec, pinned) in workload.modules.values_mut().zip(found) {
        if spec.image != pinned {
            output::note(&format!("{} is {pinned}", spec.image));
        }
        spec.image = pinned;
    }
    Ok(workload)
}
