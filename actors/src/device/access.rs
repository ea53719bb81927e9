//! Who may connect to the device over MQTT, and which topics are theirs: what routes name, and what a leaf's grant adds.
//!
//! What may be published is the router's to say, for it looks for the routes of a topic anyway. What may be
//! subscribed to is the listener's.

use serde::Serialize;
use wayside_config::{
    document::Release,
    leaf::Leaf,
    workload::{Destination, ModuleId, Workload},
};

/// A module or a leaf that may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its user name.
    pub id: ModuleId,
    /// How it proves itself and what it is granted; `None` for a module, whose credentials the daemon makes.
    pub leaf: Option<Leaf>,
    /// Filters of the topics that may reach it, as it sees them: a subscription that could match none of
    /// those is refused. A module sees `DEVICE/SOURCE/TOPIC`, a leaf `TOPIC`.
    pub topics: Vec<String>,
}

/// The clients of all workloads, by their names.
pub(crate) fn clients<'a>(releases: impl Iterator<Item = &'a Release>) -> Vec<Client> {
    let mut clients: Vec<Client> = releases.flat_map(|release| of_workload(&release.workload)).collect();
    clients.sort_by(|one, other| one.id.cmp(&other.id));
    clients
}

fn of_workload(workload: &Workload) -> impl Iterator<Item = Client> {
    let id = |name: &str| ModuleId::new(workload.name.as_str(), name);
    let modules = workload.modules.keys().map(move |name| Client {
        id: id(name),
        leaf: None,
        topics: to_module(workload, name),
    });
    let leaves = workload.leaves.iter().map(move |(name, leaf)| {
        let topics = routed(workload, name).map(|(_, filter)| filter.to_owned());
        let topics = topics.chain(leaf.subscribe.iter().cloned()).collect();
        Client { id: id(name), leaf: Some(leaf.clone()), topics }
    });
    modules.chain(leaves)
}

fn to_module(workload: &Workload, name: &str) -> Vec<String> {
    routed(workload, name).map(|(source, filter)| format!("+/{source}/{filter}")).collect()
}

/// The sources and filters of the routes that lead to `name`, on whichever device.
fn routed<'a>(workload: &'a Workload, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    workload.routes.iter().filter_map(move |route| {
        let to = match &route.to {
            Destination::Module(module)
            | Destination::Site(module)
            | Destination::Device { module, .. }
            | Destination::Where { module, .. } => module,
            Destination::Cloud => return None,
        };
        (to == name).then_some((route.module.as_str(), route.filter.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wayside_config::workload::{ModuleSpec, Route, Target, Update};

    use super::*;

    #[test]
    fn what_reaches_a_client_is_what_routes_bring_and_its_grant() {
        let leaf = Leaf { subscribe: vec!["time".into()], ..Leaf::default() };
        let workload = Workload {
            name: "plant".into(),
            target: Target::default(),
            modules: BTreeMap::from([("pump".into(), ModuleSpec::default())]),
            leaves: BTreeMap::from([("meter".into(), leaf.clone())]),
            twins: BTreeMap::new(),
            update: Update::default(),
            priority: Workload::PRIORITY,
            routes: vec![
                Route::new("a", "meter", "flow/+", Destination::Site("pump".into())),
                Route::new("b", "pump", "set/#", Destination::Module("meter".into())),
                Route::new("c", "pump", "#", Destination::Cloud),
            ],
        };
        let release = Release { version: 1, issued_ms: 0, expires_ms: None, workload };
        let client = |name: &str, leaf, topics: &[&str]| Client {
            id: ModuleId::new("plant", name),
            leaf,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        };
        let expected =
            [client("meter", Some(leaf), &["set/#", "time"]), client("pump", None, &["+/meter/flow/+"])];
        assert_eq!(clients(std::iter::once(&release)), expected);
    }
}
