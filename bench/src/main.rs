//! Measurements that need the product's own parts in one program. `cargo bench-all` runs them and knows what is aimed
//! at; by hand they are `wayside-bench NAME`. Each prints one JSON object.

mod mesh;
mod payload;
mod site;
mod uplink;

use clap::Parser;

#[derive(Parser)]
enum Measurement {
    /// Device to cloud, durable on both ends: queue, delivery, QUIC, the cloud's store, confirmation.
    Uplink(uplink::Arguments),
    /// Device to device over the mesh, best-effort, beside raw Zenoh.
    Mesh(mesh::Arguments),
    /// Many devices on one LAN: until all see all, and the memory of each.
    Site(site::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Measurement::parse() {
        Measurement::Uplink(arguments) => uplink::run(arguments),
        Measurement::Mesh(arguments) => mesh::run(&arguments),
        Measurement::Site(arguments) => site::run(&arguments),
    }
}
