//! The state directory over faults.

mod disk;
mod power_loss;
