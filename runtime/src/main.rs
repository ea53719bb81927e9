//! The binary `wayside`.

fn main() {}
