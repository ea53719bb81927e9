//! The binary `wayside-sim`.

fn main() {}
