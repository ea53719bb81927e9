//! How often a machine may be restarted after a panic, and when that is given up.
