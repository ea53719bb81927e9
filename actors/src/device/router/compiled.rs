//! Routes, turned round: from a publishing module and its topic to queues.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{
    condition::{Condition, MessageView},
    document::Member,
    identity::DeviceId,
    text::Text,
    topic,
    workload::{Delivery, Destination, ModuleId, Route, Sample, WhenFull, WhenRemoved},
};

use super::{RouteTable, WorkloadRoutes, filters::Filters};
use crate::{
    device::delivery::Terms,
    message::Message,
    queue::{Endpoint, Queue},
};

/// What a publish or an arrival needs to know of the routes.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    by_module: BTreeMap<ModuleId, (Filters, Vec<Outbound>)>,
    inbound: BTreeMap<String, Inbound>,
    workloads: BTreeSet<String>,
    clients: BTreeSet<ModuleId>,
    terms: BTreeMap<Queue, Terms>,
    drained: BTreeSet<Queue>,
    /// Queues that best-effort routes would have.
    unstored: BTreeSet<Queue>,
    names: BTreeSet<String>,
    /// Filters of what leaves may publish besides.
    granted: BTreeMap<ModuleId, Vec<String>>,
}

/// A queue and how much it may hold.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) queue: Queue,
    pub(super) buffer_bytes: u64,
    pub(super) when_full: WhenFull,
    pub(super) terms: Terms,
}

/// A route of this device's module.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    /// `workload/route`.
    pub(super) name: String,
    pub(super) condition: Option<Condition>,
    pub(super) sample: Option<Sample>,
    pub(super) delivery: Delivery,
    pub(super) targets: Vec<Target>,
}

/// Where messages of a route go when they come from another device.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    pub(super) target: Target,
    /// The module whose messages the route takes.
    pub(super) source: Text,
    pub(super) origins: BTreeSet<DeviceId>,
    pub(super) delivery: Delivery,
    filter: String,
    condition: Option<Condition>,
}

/// What a route makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes this way.
    Taken,
    /// Its condition does not hold.
    Refused,
    /// Its condition has no answer.
    Failed,
    /// It is not in the sample.
    LeftOut,
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
        let id = |name: &str| ModuleId::new(workload, name);
        self.clients.extend(routes.clients.iter().map(|name| id(name)));
        let granted = routes.granted.iter().filter(|(_, filters)| !filters.is_empty());
        self.granted.extend(granted.map(|(leaf, filters)| (id(leaf), filters.clone())));
        for route in &routes.routes {
            let name = format!("{workload}/{}", route.name);
            let target = |to: Endpoint| target(&name, route, to);
            let targets = match &route.to {
                Destination::Cloud => vec![target(Endpoint::Cloud)],
                Destination::Module(module) => vec![target(Endpoint::Module(id(module)))],
                Destination::Site(module)
                | Destination::Device { module, .. }
                | Destination::Where { module, .. } => {
                    let chosen: Vec<_> =
                        routes.members.iter().filter(|member| is_chosen(&route.to, member)).collect();
                    let here = target(Endpoint::Module(id(module)));
                    // A site's route leads here also while the list of members is not complete.
                    let is_here = matches!(route.to, Destination::Site(_))
                        || chosen.iter().any(|member| member.device == device);
                    if is_here {
                        let inbound = Inbound {
                            target: here.clone(),
                            source: route.module.as_str().into(),
                            origins: others.clone(),
                            delivery: route.delivery,
                            filter: route.filter.clone(),
                            condition: route.condition.clone(),
                        };
                        self.inbound.insert(name.clone(), inbound);
                    }
                    let there = chosen.iter().filter(|member| member.device != device);
                    let there = there.map(|member| target(Endpoint::Device(member.device)));
                    is_here.then_some(here).into_iter().chain(there).collect()
                }
            };
            self.keep(route, &name, &targets);
            let (filters, outbound) = self.by_module.entry(id(&route.module)).or_default();
            filters.add(&route.filter, outbound.len());
            let (condition, sample, delivery) = (route.condition.clone(), route.sample, route.delivery);
            outbound.push(Outbound { name, condition, sample, delivery, targets });
        }
    }

    fn keep(&mut self, route: &Route, name: &str, targets: &[Target]) {
        self.names.insert(name.to_owned());
        if route.delivery == Delivery::BestEffort {
            self.unstored.extend(targets.iter().map(|target| target.queue.clone()));
            return;
        }
        self.terms.extend(targets.iter().map(|target| (target.queue.clone(), target.terms)));
        if route.when_removed == WhenRemoved::Drain {
            self.drained.extend(targets.iter().map(|target| target.queue.clone()));
        }
    }

    /// The routes of what `module` publishes under `topic`, in the order of the file.
    pub(super) fn outbound(&self, module: &ModuleId, topic: &str) -> Vec<&Outbound> {
        let Some((filters, outbound)) = self.by_module.get(module) else { return Vec::new() };
        filters.matching(topic).into_iter().filter_map(|number| outbound.get(number)).collect()
    }

    /// Whether its grant lets `client` publish what no route takes from it.
    pub(super) fn is_granted(&self, client: &ModuleId, topic: &str) -> bool {
        let filters = self.granted.get(client);
        filters.is_some_and(|filters| filters.iter().any(|filter| topic::matches(filter, topic)))
    }

    /// Whether a route brings such a message of `source` to the client `to` of the device `here`.
    pub(super) fn lead(&self, here: DeviceId, source: &ModuleId, message: &Message, to: &ModuleId) -> bool {
        let view = view(message);
        let is_to = |target: &Target| target.queue.to == Endpoint::Module(to.clone());
        if message.origin == here {
            let routes = self.outbound(source, &message.topic);
            return routes.into_iter().any(|route| {
                route.targets.iter().any(is_to) && verdict(route.condition.as_ref(), &view) == Verdict::Taken
            });
        }
        self.inbound.values().any(|route| {
            is_to(&route.target)
                && route.source == source.module
                && to.workload == source.workload
                && route.origins.contains(&message.origin)
                && topic::matches(&route.filter, &message.topic)
                && verdict(route.condition.as_ref(), &view) == Verdict::Taken
        })
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

    /// Whether there is a module or leaf of this name.
    pub(super) fn has_client(&self, client: &ModuleId) -> bool {
        self.clients.contains(client)
    }

    /// Whether there is a route of this name, `workload/route`.
    pub(super) fn has_route(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// How the messages of a queue are sent; `None` when no route leads to it.
    pub(super) fn terms(&self, queue: &Queue) -> Option<Terms> {
        self.terms.get(queue).copied()
    }

    /// Whether a best-effort route leads where the queue leads: what it still holds of before goes there first.
    pub(super) fn is_unstored(&self, queue: &Queue) -> bool {
        self.unstored.contains(queue)
    }

    /// The queues that are emptied, not dropped, when their route is taken away.
    pub(super) const fn drained(&self) -> &BTreeSet<Queue> {
        &self.drained
    }
}

fn target(name: &str, route: &Route, to: Endpoint) -> Target {
    // What came from another device is judged by no clock but that device's: it has arrived.
    let has_come = matches!(to, Endpoint::Module(_)) && !matches!(route.to, Destination::Module(_));
    let ttl_ms = route.ttl_ms.filter(|_| !has_come);
    Target {
        queue: Queue::new(name, to),
        buffer_bytes: route.buffer_bytes,
        when_full: route.when_full,
        terms: Terms { priority: route.priority, ttl_ms, has_come, batch: route.batch },
    }
}

/// A message as conditions see it.
pub(super) fn view(message: &Message) -> MessageView<'_> {
    let Message { topic, source, properties, payload, .. } = message;
    MessageView::new(topic, source, properties, payload)
}

/// What a condition makes of a message.
pub(super) fn verdict(condition: Option<&Condition>, message: &MessageView<'_>) -> Verdict {
    let Some(condition) = condition else { return Verdict::Taken };
    match condition.holds_for(message) {
        Ok(true) => Verdict::Taken,
        Ok(false) => Verdict::Refused,
        Err(_) => Verdict::Failed,
    }
}

/// Whether a route to modules on several devices leads to this one. A device whose labels give no answer is none.
fn is_chosen(to: &Destination, member: &Member) -> bool {
    match to {
        Destination::Site(_) => true,
        Destination::Device { device, .. } => member.name == *device,
        Destination::Where { condition, .. } => {
            condition.holds_for_device(&member.name, &member.labels) == Ok(true)
        }
        Destination::Module(_) | Destination::Cloud => false,
    }
}
