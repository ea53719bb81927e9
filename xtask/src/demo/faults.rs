//! What goes wrong during the demo, and when.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wayside_tests::{cloud::Cloud, device::Device};

/// At least 15 s without an uplink.
const UPLINK_CUT: Duration = Duration::from_secs(16);

/// How long a killed process stays down.
const DOWN: Duration = Duration::from_secs(3);

/// The device whose daemon is killed.
const VICTIM: &str = "jfk";

/// Something that was done to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    UplinkCut,
    UplinkBack,
    DaemonKilled,
    DaemonBack,
    CloudKilled,
    CloudBack,
}

impl Stage {
    /// As people read it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::UplinkCut => "the uplink of all three devices is cut; they go on",
            Self::UplinkBack => "the uplink is back; what waited is sent",
            Self::DaemonKilled => "jfk's daemon is killed (kill -9); its modules run on",
            Self::DaemonBack => "jfk's daemon is started again",
            Self::CloudKilled => "the cloud is killed (kill -9)",
            Self::CloudBack => "the cloud is started again",
        }
    }
}

/// The faults, one after the other, each begun when a share of all messages has arrived.
pub(crate) struct Faults<'a> {
    cloud: &'a Cloud,
    devices: &'a [Device],
    past: Vec<(Stage, Instant)>,
}

/// What comes after what: at which share of the messages, and how long after the one before.
const PLAN: [(Stage, f64, Duration); 6] = [
    (Stage::UplinkCut, 0.10, Duration::ZERO),
    (Stage::UplinkBack, 0.0, UPLINK_CUT),
    (Stage::DaemonKilled, 0.50, DOWN),
    (Stage::DaemonBack, 0.0, DOWN),
    (Stage::CloudKilled, 0.75, DOWN),
    (Stage::CloudBack, 0.0, DOWN),
];

impl<'a> Faults<'a> {
    pub(crate) fn new(cloud: &'a Cloud, devices: &'a [Device]) -> Self {
        Self { cloud, devices, past: Vec::new() }
    }

    /// Does the next thing when it is time for it. `share` of the messages has arrived.
    pub(crate) fn step(&mut self, share: f64) -> Result<Option<Stage>> {
        let Some(&(stage, at, after)) = PLAN.get(self.past.len()) else { return Ok(None) };
        let since = self.past.last().map_or(Duration::MAX, |(_, when)| when.elapsed());
        if share < at || since < after {
            return Ok(None);
        }
        self.act(stage).with_context(|| stage.words())?;
        self.past.push((stage, Instant::now()));
        Ok(Some(stage))
    }

    /// Whether everything that was to go wrong has.
    pub(crate) fn are_over(&self) -> bool {
        self.past.len() == PLAN.len()
    }

    /// What was done, in order.
    pub(crate) fn into_past(self) -> Vec<Stage> {
        self.past.into_iter().map(|(stage, _)| stage).collect()
    }

    fn act(&self, stage: Stage) -> Result<()> {
        match stage {
            Stage::UplinkCut => self.devices.iter().try_for_each(Device::cut_uplink),
            Stage::UplinkBack => self.devices.iter().try_for_each(Device::restore_uplink),
            Stage::DaemonKilled => self.victim()?.signal("KILL"),
            Stage::DaemonBack => self.victim()?.start_again(),
            Stage::CloudKilled => self.cloud.kill(),
            Stage::CloudBack => self.cloud.start_again(),
        }
    }

    fn victim(&self) -> Result<&Device> {
        self.devices.iter().find(|device| device.name() == VICTIM).context("no device jfk")
    }
}
