//! The weather example: a sensor that replays observations and a detector that scores them.
