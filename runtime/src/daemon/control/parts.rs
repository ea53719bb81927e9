//! How the parts of a device are, as its status tells it.

use wayside_mesh::{session::Mesh, store::QueueStore};

use crate::control::{MeshStatus, StoreStatus};

/// How the mesh is.
pub(super) fn mesh_status(mesh: &Mesh) -> MeshStatus {
    let counters = mesh.counters();
    MeshStatus {
        addresses: mesh.addresses().into_iter().map(Into::into).collect(),
        role: mesh.role(),
        sent: counters.sent,
        send_dropped: counters.send_dropped,
        received: counters.received,
        receive_dropped: counters.receive_dropped,
        malformed: counters.malformed,
    }
}

/// How the store is.
pub(super) fn store_status(store: &dyn QueueStore) -> StoreStatus {
    let stats = store.stats();
    StoreStatus {
        bytes: stats.disk_bytes,
        max_bytes: stats.max_bytes,
        segments: stats.segments as u64,
        commits: stats.commits,
        damages: store.problems().len() as u64,
    }
}
