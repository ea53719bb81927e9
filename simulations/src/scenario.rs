//! What a world is made of: declared here, run there.

use crate::{
    fault::{self, Fault, FaultKind},
    outcome::Outcome,
    run,
    trace::Trace,
};

/// A fleet on one LAN with a cloud, a workload that talks, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// All chance comes from here.
    pub seed: u64,
    /// How many devices; 1 to 1000.
    pub devices: u32,
    /// How long modules measure and crash, in virtual milliseconds. Then all that is on its way has
    /// to arrive.
    pub busy_ms: u64,
    /// Milliseconds between two messages of a device's sensor.
    pub period_ms: u64,
    /// The most bytes that one queue holds before its publisher has to wait.
    pub buffer_bytes: u64,
    /// How many starts of a module in a thousand end in a crash.
    pub crashes_per_mille: u64,
    /// How many messages in a thousand the LAN loses.
    pub lan_loss_per_mille: u64,
    /// When the operator applies version 1, 2, ... of the workload, in milliseconds.
    pub applies_ms: Vec<u64>,
    /// What goes wrong, and when, in milliseconds.
    pub faults: Vec<(u64, Fault)>,
}

impl Scenario {
    /// A healthy fleet: a message a second and device, a second version of the workload at half time.
    #[must_use]
    pub fn new(seed: u64, devices: u32, minutes: u64) -> Self {
        let busy_ms = minutes * 60_000;
        Self {
            seed,
            devices,
            busy_ms,
            period_ms: 1000,
            buffer_bytes: 8 << 10,
            crashes_per_mille: 0,
            lan_loss_per_mille: 0,
            applies_ms: vec![1000, busy_ms / 2],
            faults: Vec::new(),
        }
    }

    /// Adds weather of these kinds at times that the seed decides.
    #[must_use]
    pub fn with_faults(mut self, kinds: &[FaultKind]) -> Self {
        self.faults = fault::draw(kinds, self.seed, self.devices, self.busy_ms);
        self
    }

    /// Adds one fault at `at_ms`.
    #[must_use]
    pub fn with_fault(mut self, at_ms: u64, fault: Fault) -> Self {
        self.faults.push((at_ms, fault));
        self
    }

    /// Adds modules that crash and a LAN that loses.
    #[must_use]
    pub const fn with_wear(mut self) -> Self {
        self.crashes_per_mille = 200;
        self.lan_loss_per_mille = 5;
        self
    }

    /// Lives through it. Every line of the trace goes to `trace`, if given.
    ///
    /// # Errors
    /// When the trace cannot be written.
    pub fn run(self, trace: Option<Box<dyn std::io::Write>>) -> std::io::Result<Outcome> {
        run::run(self, Trace::to(trace))
    }
}
