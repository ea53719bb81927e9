//! How the parts of a device are, as its status tells it.

use wayside_mesh::{lobby::Lobby, session::Mesh, store::QueueStore};

use crate::control::{MeshStatus, StoreStatus};

/// How the mesh is, and the lobby, which is there before it.
pub(super) fn mesh_status(mesh: Option<&Mesh>, lobby: &Lobby) -> MeshStatus {
    let lobby_dropped = lobby.dropped();
    let Some(mesh) = mesh else { return MeshStatus { lobby_dropped, ..MeshStatus::default() } };
    let counters = mesh.counters();
    MeshStatus {
        addresses: mesh.addresses().into_iter().map(Into::into).collect(),
        role: mesh.role(),
        sent: counters.sent,
        send_dropped: counters.send_dropped,
        received: counters.received,
        receive_dropped: counters.receive_dropped,
        malformed: counters.malformed,
        lobby_dropped,
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
