//! Opens the queues, and keeps trying while the disk does not let it.

use std::{rc::Rc, sync::Arc, time::Duration};

use wayside_mesh::store::{QueueStore, SledStore, StoreSettings};

use crate::shell::Device;

/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// Between two looks at what the store has found damaged.
const LOOK: Duration = Duration::from_secs(30);

/// Opens the store and gives it to the device. Until then modules run, and their messages wait.
pub(super) async fn open(device: Rc<Device>, settings: StoreSettings) {
    loop {
        let with = settings.clone();
        let opening = device.adapters().blocking.spawn_blocking(move || SledStore::open(with)).await;
        match opening {
            Ok(Ok((store, restored))) => {
                device.problem("store", None);
                device.problems_of("queues", restored.problems);
                let store: Arc<dyn QueueStore> = Arc::new(store);
                device.open(Arc::clone(&store), restored.epoch);
                return watch(&device, &*store).await;
            }
            Ok(Err(error)) => device.problem("store", Some(error.to_string())),
            // The daemon is ending.
            Err(_) => return,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn watch(device: &Rc<Device>, store: &dyn QueueStore) {
    loop {
        tokio::time::sleep(LOOK).await;
        device.problems_of("queues", store.problems());
    }
}
