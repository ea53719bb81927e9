//! The same actors on a virtual clock, with faults, from a seed.
//!
//! A [`scenario::Scenario`] declares a world. Its run hosts the machines of `wayside-actors`, wired as the daemon
//! and the cloud wire them, on models of everything outside. One queue of what happens, one source
//! of chance: the same seed gives the same trace, byte for byte.

mod calling;
mod cloud;
mod device;
pub mod fault;
mod happening;
mod ledger;
mod line;
mod links;
pub mod mqtt;
pub mod outcome;
mod program;
mod random;
mod run;
pub mod scenario;
mod schedule;
mod trace;
mod twinning;
mod workload;
mod world;
