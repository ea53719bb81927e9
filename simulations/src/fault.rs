//! What goes wrong in a world, and a seed's choice of it.

use crate::random::Random;

/// Something that goes wrong for a time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A daemon dies at once (`kill -9`) and is started again. Its modules go on.
    KillDaemon {
        /// Which.
        device: u32,
        /// How long it stays down.
        for_ms: u64,
    },
    /// A device's uplink carries nothing.
    CutUplink {
        /// Whose.
        device: u32,
        /// How long.
        for_ms: u64,
    },
    /// The cloud's service dies at once and is started again.
    RestartCloud {
        /// How long it stays down.
        for_ms: u64,
    },
    /// The LAN falls in two.
    PartLan {
        /// The devices below this number are on the one side.
        cut_off: u32,
        /// How long.
        for_ms: u64,
    },
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Kill daemons.
    Kill,
    /// Cut uplinks.
    Cut,
    /// Restart the cloud.
    Cloud,
    /// Part the LAN.
    Part,
}

impl Fault {
    pub(crate) const fn for_ms(&self) -> u64 {
        match self {
            Self::KillDaemon { for_ms, .. }
            | Self::CutUplink { for_ms, .. }
            | Self::RestartCloud { for_ms }
            | Self::PartLan { for_ms, .. } => *for_ms,
        }
    }
}

/// Faults of these kinds at times that the seed decides, each with its start in milliseconds. Faults of
/// one kind follow each other, about one a minute and kind; different kinds overlap.
pub(crate) fn draw(kinds: &[FaultKind], seed: u64, devices: u32, busy_ms: u64) -> Vec<(u64, Fault)> {
    const FIRST_MS: u64 = 5_000;
    const GAP_MS: u64 = 40_000;
    let mut random = Random::new(seed ^ 0x6661_756c_7473);
    let mut faults = Vec::new();
    for kind in kinds {
        let mut at_ms = random.between(FIRST_MS, FIRST_MS + GAP_MS);
        while at_ms < busy_ms {
            let device = random.between(0, u64::from(devices) - 1) as u32;
            let for_ms = random.between(500, 30_000);
            let fault = match kind {
                FaultKind::Kill => Fault::KillDaemon { device, for_ms },
                FaultKind::Cut => Fault::CutUplink { device, for_ms },
                FaultKind::Cloud => Fault::RestartCloud { for_ms },
                FaultKind::Part => {
                    let cut_off = random.between(1, u64::from(devices).max(2) - 1) as u32;
                    Fault::PartLan { cut_off, for_ms }
                }
            };
            faults.push((at_ms, fault));
            at_ms += for_ms + random.between(1000, GAP_MS);
        }
    }
    faults
}
