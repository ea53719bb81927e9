//! Reads a Compose file with an `x-wayside` block; refuses by name, file and line what it does not support.
