//! The device settings file `wayside.toml`; every field is optional.
