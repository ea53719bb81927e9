//! The workload that simulated fleets run: a sensor whose messages go to the cloud and to a detector on
//! every device.

use std::collections::BTreeMap;

use wayside_config::{
    document::Release,
    workload::{Destination, ModuleSpec, Route, Target, Update, Workload},
};

use crate::scenario::Scenario;

/// The workload's name.
pub(crate) const NAME: &str = "weather";
/// The module that publishes.
pub(crate) const SENSOR: &str = "sensor";
/// The module that takes what the sensors of all devices publish.
pub(crate) const DETECTOR: &str = "detector";
/// What the sensor publishes to.
pub(crate) const TOPIC: &str = "observations";

/// One version of it. Versions differ in the detector's environment, so an update replaces one module.
pub(crate) fn release(version: u64, scenario: &Scenario) -> Release {
    let module =
        |image: &str| ModuleSpec { image: image.into(), stop_grace_ms: 1000, ..ModuleSpec::default() };
    let mut detector = module(DETECTOR);
    detector.environment.insert("VERSION".into(), version.to_string());
    let route =
        |name: &str, to| Route { buffer_bytes: scenario.buffer_bytes, ..Route::new(name, SENSOR, TOPIC, to) };
    let workload = Workload {
        name: NAME.into(),
        target: Target::default(),
        modules: BTreeMap::from([(SENSOR.into(), module(SENSOR)), (DETECTOR.into(), detector)]),
        leaves: BTreeMap::new(),
        twins: BTreeMap::new(),
        update: Update::default(),
        priority: Workload::PRIORITY,
        routes: vec![route("up", Destination::Cloud), route("around", Destination::Site(DETECTOR.into()))],
    };
    Release { version, issued_ms: 0, expires_ms: None, workload }
}
