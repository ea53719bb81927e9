//! The device: hosts the actors, drives the container engine, and is the command line wayside.

pub mod cli;
pub mod control;
pub mod engine;
pub mod state;
