//! The cloud of a world: the machines of the real one on a store that outlives its service.

mod service;
mod store;

use wayside_config::document::Release;

use self::{service::Service, store::Store};
use crate::{happening::InCloud, world::Nature};

/// The token in every device's join link.
pub(crate) const TOKEN: &str = "join";

/// What outlives a restart, and the service while it runs.
#[derive(Default)]
pub(crate) struct Cloud {
    store: Store,
    service: Option<Service>,
    lives: u32,
}

impl Cloud {
    pub(crate) fn happen(&mut self, what: InCloud, nature: &mut Nature) {
        match what {
            InCloud::Boot => {
                self.lives += 1;
                nature.counts.cloud_starts += 1;
                nature.links.cloud = Some(self.lives);
                self.service = Some(Service::start(self.lives, &mut self.store, nature));
            }
            InCloud::Service { life, what } => {
                if let Some(service) = self.service.as_mut().filter(|service| service.life() == life) {
                    service.happen(what, &mut self.store, nature);
                }
            }
        }
    }

    /// The operator applies a release; a cloud that is down does not hear it.
    pub(crate) fn apply(&mut self, release: Release, nature: &mut Nature) {
        if let Some(service) = &mut self.service {
            service.apply(release, &mut self.store, nature);
        }
    }

    /// The service dies at once. What was being committed is stored or not, by chance.
    pub(crate) fn kill(&mut self, nature: &mut Nature) {
        nature.links.cloud = None;
        if let Some(service) = self.service.take() {
            service.die(&mut self.store, nature);
        }
    }

    /// What is wrong with the cloud's picture of the fleet, now that all should be well.
    pub(crate) fn misses(&self, devices: u32) -> Vec<String> {
        match &self.service {
            Some(service) => service.misses(devices),
            None => vec!["the cloud does not run".into()],
        }
    }
}
