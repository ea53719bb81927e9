//! What others hear of what runs: the router, MQTT, the twins, health, and modules that are not wanted any more.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{
    document::Release,
    workload::{ModuleId, Workload},
};

use super::{Reconciler, order::Waits};
use crate::{
    device::{
        access,
        reconciler::{
            Effect,
            ports::{Claim, left_out},
        },
        router::{RouteTable, WorkloadRoutes},
    },
    machine::Effects,
    report::Phase,
    time::Time,
};

impl Reconciler {
    /// Other versions run, or other devices have them: tells routes, takes modules off, and looks what there is.
    pub(super) fn what_runs_changed(&mut self, now: Time, out: &mut Effects<Effect>) {
        self.hashes = None;
        self.displace(now, out);
        self.problems.labels = self.lacks_label();
        self.tell_routes(out);
        let wanted: BTreeSet<_> = self.modules().map(|(module, _)| module).collect();
        self.departing = self.told.keys().filter(|module| !wanted.contains(module)).cloned().collect();
        self.waiting.retain(|module, _| wanted.contains(module));
        self.to_restart.retain(|module| wanted.contains(module));
        self.send_off(out);
        self.forget_locks(out);
        self.list(now, out);
    }

    /// Of workloads that run with the same port, those of lower priority leave it to the highest.
    fn displace(&mut self, now: Time, out: &mut Effects<Effect>) {
        let running = self.courses.iter().filter_map(|(name, course)| {
            let has_them = !self.displaced.contains_key(name);
            Some(Claim { workload: &course.runs()?.release.workload, has_them })
        });
        let displaced = left_out(running.collect());
        let before = std::mem::replace(&mut self.displaced, displaced);
        let changed = |name: &String| before.get(name) != self.displaced.get(name);
        let names: BTreeSet<String> =
            before.keys().chain(self.displaced.keys()).filter(|name| changed(name)).cloned().collect();
        for name in names {
            if let Some(course) = self.courses.get_mut(&name).filter(|_| self.displaced.contains_key(&name)) {
                course.displaced(now);
            }
            self.tell_status(&name, out);
        }
    }

    /// Tells routes, names and who may connect.
    pub(super) fn tell_routes(&self, out: &mut Effects<Effect>) {
        let Some(held) = &self.held else { return };
        let mut table = RouteTable::default();
        let mut names = BTreeMap::new();
        for reference in &held.releases {
            names.extend(reference.members.iter().map(|member| (member.device, member.name.clone())));
            let Some(course) = self.courses.get(&reference.workload) else { continue };
            let workload = &course.routes().release.workload;
            let routes = WorkloadRoutes {
                routes: workload.routes.clone(),
                members: reference.members.clone(),
                clients: workload
                    .modules
                    .keys()
                    .chain(workload.leaves.keys())
                    .map(ToString::to_string)
                    .collect(),
                granted: workload
                    .leaves
                    .iter()
                    .map(|(name, leaf)| (name.clone(), leaf.publish.clone()))
                    .collect(),
            };
            table.workloads.insert(reference.workload.clone(), routes);
        }
        out.push(Effect::Routes(Box::new(table)));
        out.push(Effect::Names(names));
        let twins = self.releases().flat_map(|release| {
            let Workload { name, modules, twins, .. } = &release.workload;
            modules.keys().map(move |module| {
                let id = ModuleId::new(name.as_str(), module.as_str());
                (id, twins.get(module).cloned())
            })
        });
        out.push(Effect::Twins(twins.collect()));
        out.push(Effect::Clients(access::clients(self.releases())));
    }

    /// Tells health all that it hears from here.
    pub(super) fn tell_health(&self, out: &mut Effects<Effect>) {
        if let Some(held) = &self.held {
            out.push(Effect::Assigned(held.version));
        }
        for (name, status) in &self.statuses {
            out.push(Effect::Workload(name.clone(), status.clone()));
        }
        self.tell_drift_again(out);
        out.push(Effect::Problems(self.problems.list()));
    }

    /// Tells how a workload is, if that is new.
    pub(super) fn tell_status(&mut self, name: &str, out: &mut Effects<Effect>) {
        let Some(course) = self.courses.get(name) else { return };
        let displaced = self.displaced.get(name).map(|why| format!("{name} is stopped: {why}"));
        match displaced.clone().or_else(|| course.problem()) {
            Some(problem) => drop(self.problems.workloads.insert(name.to_owned(), problem)),
            None => drop(self.problems.workloads.remove(name)),
        }
        let mut status = course.status();
        if let Some(why) = displaced {
            (status.phase, status.problem) = (Phase::Switching, why);
        }
        // For most of them the wait is short: it is no problem of the device.
        let waits = self.waiting.iter().find(|(module, _)| *module.workload == *name);
        if let (Some((_, waits)), true) = (waits, status.problem.is_empty()) {
            status.problem.clone_from(&waits.why);
        }
        if self.statuses.get(name) != Some(&status) {
            self.statuses.insert(name.to_owned(), status.clone());
            out.push(Effect::Workload(name.to_owned(), status));
        }
    }

    /// Tells of workloads whose modules wait otherwise than they did.
    pub(super) fn tell_waiting(&mut self, before: &BTreeMap<ModuleId, Waits>, out: &mut Effects<Effect>) {
        if *before != self.waiting {
            let modules = before.keys().chain(self.waiting.keys());
            let names: BTreeSet<String> = modules.map(|module| module.workload.to_string()).collect();
            names.iter().for_each(|name| self.tell_status(name, out));
        }
    }

    /// The releases whose routes hold.
    fn releases(&self) -> impl Iterator<Item = &Release> {
        self.courses.values().map(|course| &course.routes().release)
    }
}
