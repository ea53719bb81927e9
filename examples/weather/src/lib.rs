//! The weather example: a sensor that replays observations and a detector that scores them.

pub mod detector;
pub mod observation;
pub mod outbox;
pub mod session;
