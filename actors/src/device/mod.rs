//! The device's actors, and how they are wired.
//!
//! ```text
//! device -> reconciler -> one module machine per module
//!        -> router     -> one delivery machine per queue
//!        -> membership, uplink, health, calls, twins
//! ```
//!
//! A machine is a file with what can happen to it (`Event`) and what it wants done (`Effect`), and a type
//! that implements [`crate::machine::Machine`]. It knows neither who asks nor who listens, and keeps
//! only what it can be told again or reads from what is persisted at construction.
//!
//! To add one:
//! 1. Write its enums. Each variant says in a line what it means and who answers it.
//! 2. Write the machine: the states are an enum, times are [`crate::time::Time`]s that it compares itself,
//!    for an alarm may come early or late. What must survive a crash is a persist step before its tell.
//! 3. In [`wiring`], give it an [`wiring::Actor`] and an [`wiring::Event`], say what follows from each effect
//!    and who tells it everything again after a restart. What is done outside is a variant of [`io`].
//! 4. Test its rules beside it, one event at a time, and that a recorded run replays; laws of several
//!    machines together are in `actors/tests/`.
//!
//! The device and the simulator host it from there.

pub mod access;
pub mod calls;
pub mod delivery;
pub mod health;
pub mod io;
pub mod membership;
pub mod module;
pub mod reconciler;
pub mod router;
pub mod spec_hash;
pub mod twins;
pub mod uplink;
pub mod wiring;
