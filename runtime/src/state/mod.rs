//! What a daemon keeps in its state directory, besides the queues.

mod file;
mod folder;
mod identity;
mod reserve;
mod steps;
#[cfg(test)]
mod tests;

pub use file::{Found, damaged_name, is_full};
pub use folder::{OpenError, StateFolder, control_socket, default_folder, default_memory};
pub use identity::Identity;
