//! Labels that a workload's modules name, held against those of its targets before anything is sent.

use std::collections::BTreeMap;

use wayside_config::{template::Missing, workload::Workload};

use super::{
    assign::matches,
    cloud::Cloud,
    failure::Failure,
    view::{CloudDevice, DeviceView},
};

/// Refuses a workload for a device that lacks a label which one of its modules names: none of it is sent.
pub(super) fn check_labels<'a>(
    workload: &Workload,
    mut targets: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
) -> Result<(), Failure> {
    let lacking = targets.find_map(|(name, labels)| Some((name, workload.missing_label(labels)?)));
    let Some((name, Missing { module, variable, label })) = lacking else { return Ok(()) };
    Err(Failure::Failed(format!(
        "{name} does not have the label `{label}`, which {module} names in {variable}: give it one with `wayside up --label {label}=...` \
         and `wayside approve {name}`, or leave the device out of `target`"
    )))
}

/// As [`check_labels`], for the devices that a cloud knows, by the labels that it knows of them.
pub(super) fn check_labels_at(cloud: &Cloud, workload: &Workload) -> Result<(), Failure> {
    if workload.modules.values().all(|spec| spec.templates.is_empty()) {
        return Ok(());
    }
    let known: Vec<CloudDevice> = cloud.get("devices", &[])?;
    let known: Vec<DeviceView> = known.into_iter().map(DeviceView::from).collect();
    let targets =
        known.iter().filter(|device| matches(&workload.target, &device.device, &device.name, &device.labels));
    check_labels(workload, targets.map(|device| (&*device.name, &device.labels)))
}
