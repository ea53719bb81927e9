//! The one place that knows actix: hosts any machine, supervises it, performs its effects in order.
//!
//! ```text
//! outside --send (waits)--> mailbox --> handle() --> pipeline: commit the group, then perform
//! actors  --tell----------^                 |
//!                                          panic, failed commit: drop the machine, wait, rebuild
//! ```
//!
//! And what else the device's and the cloud's programs have in common: where they keep their state.

mod actor;
pub mod address;
pub mod clock;
mod folder;
pub mod host;
mod pipeline;
pub mod recorder;
pub mod shell;
mod traffic;

#[cfg(test)]
mod tests;

pub use address::{Address, SendError};
pub use clock::Clock;
pub use folder::state_folder;
pub use host::Host;
pub use shell::{CommitError, Shell};
