//! The product as its users meet it: whole programs, several hosts, real clients, a real browser.
//!
//! They need a container engine. Where there is none they fail and say so; none passes by skipping.

mod adoption;
mod apply;
mod audit;
mod bad_input;
mod browser;
mod calls;
mod clients;
mod commands;
mod compose;
mod crash_loop;
mod first_start;
mod mesh;
mod mqtt;
mod order;
mod policy;
mod routes;
mod state;
mod twins;
mod updates;
mod uplink;
mod weather;
mod workloads;
