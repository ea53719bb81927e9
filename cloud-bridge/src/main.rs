//! The binary `wayside-cloud`.

fn main() {}
