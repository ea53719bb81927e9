//! What may be downloaded for images: a registry that sends more than was signed is not listened to until the disk is full.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;

/// Counts what the engine says that it downloads.
#[derive(Debug)]
pub(super) struct Budget {
    max_bytes: u64,
    /// Of each layer by its short digest, what has come or will come, whichever is more.
    layers: BTreeMap<String, u64>,
}

/// More than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) max_bytes: u64,
    pub(super) bytes: u64,
}

impl Budget {
    pub(super) const fn new(max_bytes: u64) -> Self {
        Self { max_bytes, layers: BTreeMap::new() }
    }

    /// The engine has told how far it is. Layers that it has already are not downloaded, and what it unpacks is counted no second
    /// time.
    pub(super) fn hear(&mut self, progress: &CreateImageInfo) -> Result<(), Exceeded> {
        let is_download = progress.status.as_deref() == Some("Downloading");
        let (Some(layer), Some(detail), true) = (&progress.id, &progress.progress_detail, is_download) else {
            return Ok(());
        };
        let bytes = |of: Option<i64>| of.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        let of_layer = self.layers.entry(layer.clone()).or_default();
        *of_layer = (*of_layer).max(bytes(detail.current)).max(bytes(detail.total));
        let bytes = self.layers.values().fold(0u64, |sum, of| sum.saturating_add(*of));
        if bytes > self.max_bytes { Err(Exceeded { max_bytes: self.max_bytes, bytes }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn step(id: &str, status: &str, current: i64, total: Option<i64>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total }),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_announced_counts_at_once_and_what_comes_beyond_that_too() {
        let mut budget = Budget::new(100);
        assert_eq!(budget.hear(&step("a", "Downloading", 1, Some(60))), Ok(()));
        assert_eq!(budget.hear(&step("a", "Downloading", 60, Some(60))), Ok(()));
        assert_eq!(budget.hear(&step("a", "Extracting", 600, Some(600))), Ok(()));
        assert_eq!(budget.hear(&step("b", "Downloading", 40, None)), Ok(()));
        assert_eq!(
            budget.hear(&step("b", "Downloading", 41, None)),
            Err(Exceeded { max_bytes: 100, bytes: 101 })
        );
        let announced = Budget::new(100).hear(&step("c", "Downloading", 0, Some(101)));
        assert_eq!(announced, Err(Exceeded { max_bytes: 100, bytes: 101 }));
    }

    #[test]
    fn a_layer_that_is_tried_again_and_nonsense_count_no_more_than_they_are() {
        let mut budget = Budget::new(100);
        for current in [90, 0, 90] {
            assert_eq!(budget.hear(&step("a", "Downloading", current, Some(-1))), Ok(()));
        }
        assert_eq!(budget.hear(&CreateImageInfo::default()), Ok(()));
        assert_eq!(budget.hear(&step("b", "Downloading", i64::MIN, None)), Ok(()));
        assert!(budget.hear(&step("b", "Downloading", i64::MAX, None)).is_err());
    }
}
