//! The device: hosts the actors, drives the container engine, and is the command line wayside.

pub mod audit;
pub mod cli;
mod clock;
pub mod control;
pub mod copies;
pub mod daemon;
mod desired;
pub mod engine;
mod floors;
mod lives;
mod locks;
mod logs;
mod pulled;
pub mod secrets;
pub mod shell;
pub mod state;
pub mod trust;
mod twins;
mod undumped;
