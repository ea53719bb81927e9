//! What is not as it should be, of one device or over the fleet.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use wayside_actors::cloud::fleet::{DeviceRecord, Presence};
use wayside_config::identity::DeviceId;

use super::{
    super::clock::wall_ms,
    Shared,
    devices::{find, presence, wrong_query},
    error::ApiError,
};

/// Entries of one answer, at most.
const MAX_ENTRIES: usize = 10_000;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Drift {
    /// `assignment`, a workload, or `workload/module`.
    what: String,
    desired: String,
    reported: String,
    /// By the device's clock; null where nobody knows.
    since_ms: Option<u64>,
    why: String,
}

/// With the device that it is of.
#[derive(Serialize)]
pub(super) struct OfDevice {
    device: DeviceId,
    device_name: String,
    presence: &'static str,
    #[serde(flatten)]
    drift: Drift,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    device: Option<String>,
    workload: Option<String>,
    /// Only what has been so for this long.
    #[serde(default)]
    for_ms: u64,
    #[serde(default = "default_limit")]
    limit: usize,
}

const fn default_limit() -> usize {
    1000
}

/// Over the fleet, in the order of keys and names.
pub(super) async fn list(
    State(hub): Shared,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Vec<OfDevice>>, ApiError> {
    let Query(wanted) = query.map_err(|error| wrong_query(&error))?;
    let device = wanted.device.as_deref().map(|name| find(&hub, name)).transpose()?;
    let now_ms = wall_ms();
    let entries =
        hub.view.devices().into_iter().filter(|(key, _)| device.is_none_or(|device| device == *key));
    let entries = entries.flat_map(|(device, record)| {
        let drift = of_device(&record).into_iter();
        drift.map(move |drift| OfDevice {
            device,
            device_name: record.name.clone(),
            presence: presence(record.presence),
            drift,
        })
    });
    let entries = entries.filter(|entry| wanted.takes(&entry.drift, now_ms));
    Ok(Json(entries.take(wanted.limit.min(MAX_ENTRIES)).collect()))
}

impl Wanted {
    fn takes(&self, drift: &Drift, now_ms: u64) -> bool {
        let is_of = |workload: &String| drift.what.split('/').next() == Some(workload);
        let lasts = drift.since_ms.is_none_or(|since_ms| now_ms.saturating_sub(since_ms) >= self.for_ms);
        lasts && self.workload.as_ref().is_none_or(is_of)
    }
}

/// What the device says, and what it has not taken yet.
pub(super) fn of_device(record: &DeviceRecord) -> Vec<Drift> {
    let assigned = record.assigned.as_ref().map_or(0, |assigned| assigned.version);
    let held = record.reported.assignment.unwrap_or(0);
    let assignment = (assigned > held).then(|| Drift {
        what: "assignment".into(),
        desired: format!("version {assigned}"),
        reported: if held == 0 { "none".into() } else { format!("version {held}") },
        since_ms: None,
        why: match record.presence {
            Presence::Online => "the device has not taken it yet".into(),
            Presence::Away | Presence::Silent => "the device is not connected".into(),
        },
    });
    let told = record.reported.drift.iter().map(|(what, drift)| Drift {
        what: what.clone(),
        desired: drift.desired.clone(),
        reported: drift.reported.clone(),
        since_ms: Some(drift.since_ms),
        why: drift.why.clone(),
    });
    assignment.into_iter().chain(told).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wayside_actors::report::{Drift as Told, Report};
    use wayside_config::document::Assignment;

    use super::*;

    #[test]
    fn a_device_that_is_away_and_one_that_fails_are_both_named() {
        let told =
            Told { desired: "running".into(), reported: "back-off".into(), since_ms: 5, why: "x".into() };
        let assignment =
            Assignment { device: DeviceId::from_bytes([1; 32]), version: 3, releases: Vec::new() };
        let record = DeviceRecord {
            assigned: Some(assignment),
            reported: Report {
                drift: BTreeMap::from([("w/m".into(), told)]),
                assignment: Some(2),
                ..Report::default()
            },
            ..DeviceRecord::default()
        };
        let drift = of_device(&record);
        let shown = |drift: &Drift| {
            format!("{} {} {} {:?} {}", drift.what, drift.desired, drift.reported, drift.since_ms, drift.why)
        };
        assert_eq!(
            drift.iter().map(shown).collect::<Vec<_>>(),
            [
                "assignment version 3 version 2 None the device is not connected",
                "w/m running back-off Some(5) x"
            ]
        );
        let wanted = |text: &str| serde_json::from_str::<Wanted>(text).unwrap();
        let taken =
            |text: &str| drift.iter().map(|drift| wanted(text).takes(drift, 1000)).collect::<Vec<_>>();
        assert_eq!(taken("{}"), [true, true]);
        assert_eq!(taken("{\"workload\": \"w\", \"for_ms\": 995}"), [false, true]);
        assert_eq!(taken("{\"for_ms\": 996}"), [true, false]);
    }
}
