//! What a daemon keeps in its state directory, besides the queues.

mod file;
mod folder;
mod identity;

pub use file::{Found, damaged_name};
pub use folder::{OpenError, StateFolder, control_socket, default_folder, default_memory};
pub use identity::Identity;
