//! The service `wayside-cloud`: devices come in over QUIC, operators over HTTP.

mod api;
pub(crate) mod clock;
mod entrance;
mod hub;
pub mod links;
pub mod news;
pub mod options;
mod roots;
mod said;
mod server;
pub mod service;
mod shell;
pub mod state;
pub mod store;
mod view;
