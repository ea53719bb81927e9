//! The laboratory of the end-to-end tests, the demo and the benchmarks: hosts are containers, or a process in a network
//! namespace of its own.

pub mod alone;
pub mod build;
pub mod cloud;
pub mod command;
pub mod device;
pub mod engine;
pub mod ensure;
pub mod evidence;
pub mod http;
pub mod lab;
pub mod operator;
pub mod registry;
pub mod relay;
pub mod wait;
pub mod weather;
