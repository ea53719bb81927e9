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
mod health;
mod holding;
mod joining;
mod mesh;
mod mqtt;
mod order;
mod policy;
mod registry;
mod routes;
mod secrets;
mod state;
mod templates;
mod twins;
mod updates;
mod uplink;
mod walkthrough;
mod weather;
mod workloads;
