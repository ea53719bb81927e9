//! Routes, turned round: from a publishing module and its topic to queues.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{
    identity::DeviceId,
    topic,
    workload::{Destination, ModuleId, WhenFull},
};

use super::{RouteTable, WorkloadRoutes};
use crate::queue::{Endpoint, Queue};

/// What a publish or an arrival needs to know of the routes.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    by_module: BTreeMap<ModuleId, Vec<Outbound>>,
    inbound: BTreeMap<String, Inbound>,
    workloads: BTreeSet<String>,
}

/// A queue and how much it may hold.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) queue: Queue,
    pub(super) buffer_bytes: u64,
    pub(super) when_full: WhenFull,
}

#[derive(Clone, Debug)]
struct Outbound {
    filter: String,
    targets: Vec<Target>,
}

/// Where messages of a `site` route go when they come from another device.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    pub(super) target: Target,
    /// The module whose messages the route takes.
    pub(super) source: String,
    pub(super) origins: BTreeSet<DeviceId>,
}

impl Compiled {
    pub(super) fn new(device: DeviceId, table: &RouteTable) -> Self {
        let mut compiled = Self::default();
        for (workload, routes) in &table.workloads {
            compiled.workloads.insert(workload.clone());
            compiled.add(device, workload, routes);
        }
        compiled
    }

    fn add(&mut self, device: DeviceId, workload: &str, routes: &WorkloadRoutes) {
        let others: BTreeSet<_> =
            routes.members.iter().map(|member| member.device).filter(|member| *member != device).collect();
        let module = |name: &str| ModuleId { workload: workload.into(), module: name.into() };
        for route in &routes.routes {
            let name = format!("{workload}/{}", route.name);
            let target = |to: Endpoint| Target {
                queue: Queue { route: name.clone(), to },
                buffer_bytes: route.buffer_bytes,
                when_full: route.when_full,
            };
            let targets = match &route.to {
                Destination::Cloud => vec![target(Endpoint::Cloud)],
                Destination::Module(local) => vec![target(Endpoint::Module(module(local)))],
                Destination::Site(everywhere) => {
                    let here = target(Endpoint::Module(module(everywhere)));
                    let inbound = Inbound {
                        target: here.clone(),
                        source: route.module.clone(),
                        origins: others.clone(),
                    };
                    self.inbound.insert(name.clone(), inbound);
                    let there = others.iter().map(|other| target(Endpoint::Device(*other)));
                    std::iter::once(here).chain(there).collect()
                }
            };
            let outbound = Outbound { filter: route.filter.clone(), targets };
            self.by_module.entry(module(&route.module)).or_default().push(outbound);
        }
    }

    /// The queues that take what `module` publishes under `topic`.
    pub(super) fn targets<'a>(
        &'a self,
        module: &ModuleId,
        topic: &'a str,
    ) -> impl Iterator<Item = &'a Target> {
        self.by_module
            .get(module)
            .into_iter()
            .flatten()
            .filter(move |outbound| topic::matches(&outbound.filter, topic))
            .flat_map(|outbound| &outbound.targets)
    }

    pub(super) fn inbound(&self, route: &str) -> Option<&Inbound> {
        self.inbound.get(route)
    }

    /// The routes that take messages of other devices, by name.
    pub(super) fn inbounds(&self) -> impl Iterator<Item = (&String, &Inbound)> {
        self.inbound.iter()
    }

    pub(super) fn has_workload(&self, workload: &str) -> bool {
        self.workloads.contains(workload)
    }

    /// All queues that some route leads to.
    pub(super) fn queues(&self) -> BTreeSet<&Queue> {
        let targets = self.by_module.values().flatten().flat_map(|outbound| &outbound.targets);
        targets.map(|target| &target.queue).collect()
    }
}
