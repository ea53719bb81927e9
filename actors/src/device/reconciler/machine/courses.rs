//! What follows from the ways of workloads: what is persisted, asked of the engine, and told.

use std::collections::BTreeMap;

use super::{Held, Reconciler};
use crate::{
    device::reconciler::{
        Effect,
        course::{Act, Course},
        life::Version,
        ports::{Claim, left_out},
    },
    machine::Effects,
    time::Time,
};
use wayside_config::{
    template::Missing,
    workload::{ModuleId, Workload},
};

impl Reconciler {
    /// Sets the workloads' courses by a new assignment.
    pub(super) fn take(&mut self, offered: Held, out: &mut Effects<Effect>) {
        let Held { sealed, assignment, releases } = offered;
        let seed = u64::from_be_bytes(self.device.as_bytes().first_chunk().copied().unwrap_or_default());
        let is_named = |name: &String| releases.iter().any(|release| release.workload.name == *name);
        let gone: Vec<String> =
            self.courses.keys().chain(self.lives.keys()).filter(|name| !is_named(name)).cloned().collect();
        for name in gone {
            self.courses.remove(&name);
            self.lives.remove(&name);
            self.problems.workloads.remove(&name);
            out.persist(Effect::DropLife(name.clone()));
            if self.statuses.remove(&name).is_some() {
                out.push(Effect::WorkloadGone(name));
            }
        }
        let mut begun = Vec::new();
        for (sealed, release) in sealed.releases.into_iter().zip(releases) {
            let name = release.workload.name.clone();
            let refusal = self.refusal_of(&release.workload);
            let version = Version { sealed, release };
            let mut acts = Vec::new();
            if let Some(course) = self.courses.get_mut(&name) {
                course.aim(version, &mut acts);
            } else {
                let life = self.lives.remove(&name).unwrap_or_default();
                let course = Course::resume(life, version, seed, &mut acts);
                self.courses.insert(name.clone(), course);
            }
            begun.push((name, refusal, acts));
        }
        let portless = self
            .without_ports(begun.iter().filter(|(_, refusal, _)| refusal.is_none()).map(|(name, ..)| name));
        for (name, refusal, mut acts) in begun {
            let refusal = refusal.or_else(|| portless.get(&name).cloned());
            if let (Some(why), Some(course)) = (refusal, self.courses.get_mut(&name)) {
                course.refuse(why, &mut acts);
            }
            self.act(&name, acts, out);
        }
        self.held = Some(assignment);
    }

    /// Why a workload is not begun here, if it is not.
    fn refusal_of(&self, workload: &Workload) -> Option<String> {
        let lacks = || workload.missing_label(&self.labels).map(|missing| lacking(&missing));
        self.policy.refusal_of(workload).or_else(lacks)
    }

    /// The labels of the device are others: modules that name one that changed become other ones, and versions that waited for one are begun.
    pub(super) fn relabel(&mut self, labels: BTreeMap<String, String>, now: Time, out: &mut Effects<Effect>) {
        if self.labels == labels {
            return;
        }
        self.labels = labels;
        let refusal = |(name, course): (&String, &Course)| {
            (name.clone(), self.refusal_of(&course.target().release.workload))
        };
        let refusals: Vec<_> = self.courses.iter().map(refusal).collect();
        let may_begin = refusals.iter().filter(|(_, refusal)| refusal.is_none());
        let portless = self.without_ports(may_begin.map(|(name, _)| name));
        for (name, refusal) in refusals {
            let refusal = refusal.or_else(|| portless.get(&name).cloned());
            self.course(&name, now, out, |course, acts| course.reconsider(refusal, acts));
        }
        self.what_runs_changed(now, out);
    }

    /// A module that should run, and cannot be made again as it is.
    pub(super) fn lacks_label(&self) -> Option<String> {
        let workloads =
            self.courses.values().filter_map(Course::runs).map(|version| &version.release.workload);
        workloads
            .filter_map(|workload| workload.missing_label(&self.labels))
            .next()
            .map(|missing| format!("{}; what runs already runs on as it is", lacking(&missing)))
    }

    /// Which of these workloads ask for a port that another one is to have, and why.
    fn without_ports<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
        let claims = names.filter_map(|name| {
            let course = self.courses.get(name)?;
            let has_them = course.runs().is_some() && !self.displaced.contains_key(name);
            Some(Claim { workload: &course.aims_at().release.workload, has_them })
        });
        left_out(claims.collect())
    }

    /// Brings something to a workload's course, if it is still here, and does what follows.
    pub(super) fn course(
        &mut self,
        name: &str,
        now: Time,
        out: &mut Effects<Effect>,
        step: impl FnOnce(&mut Course, &mut Vec<Act>),
    ) {
        let Some(course) = self.courses.get_mut(name) else { return };
        let mut acts = Vec::new();
        step(course, &mut acts);
        let has_changed = acts.iter().any(|act| matches!(act, Act::Runs(_)));
        self.act(name, acts, out);
        if has_changed {
            self.what_runs_changed(now, out);
        }
    }

    /// The engine went away or came back.
    pub(super) fn engine(&mut self, away: bool, now: Time, out: &mut Effects<Effect>) {
        for name in self.courses.keys().cloned().collect::<Vec<_>>() {
            self.course(&name, now, out, |course, acts| course.engine(away, now, acts));
        }
    }

    /// Does what the time has come for.
    pub(super) fn tick(&mut self, now: Time, out: &mut Effects<Effect>) {
        let is_due = |course: &Course| course.due().is_some_and(|due| due <= now);
        let due: Vec<_> =
            self.courses.iter().filter(|(_, course)| is_due(course)).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.course(&name, now, out, |course, acts| course.tick(now, acts));
        }
    }

    fn act(&mut self, name: &str, acts: Vec<Act>, out: &mut Effects<Effect>) {
        let workload = || name.to_owned();
        for act in acts {
            match act {
                Act::Save => {
                    if let Some(course) = self.courses.get(name) {
                        out.persist(Effect::SaveLife(workload(), Box::new(course.life().clone())));
                    }
                }
                Act::Look(images) => out.push(Effect::Look { workload: workload(), images }),
                Act::TakenBack { version, why } => {
                    out.push(Effect::TakenBack { workload: workload(), version, why });
                }
                Act::AskTime => out.push(Effect::AskTime),
                Act::Pull { images, max_bytes } => {
                    out.push(Effect::Pull { workload: workload(), images, max_bytes });
                }
                // What these modules say from now on is of the specification before, until they are told.
                Act::Runs(changed) => {
                    for module in &changed {
                        let module = ModuleId::new(name, module.as_str());
                        self.doing.remove(&module);
                        if let Some(hash) = self.told.get_mut(&module) {
                            hash.clear();
                        }
                    }
                    self.replaced(name, &changed);
                }
            }
        }
        self.tell_status(name, out);
    }
}

fn lacking(missing: &Missing) -> String {
    format!(
        "{missing}: start the device with `--label {}=...`, and `wayside approve` it again",
        missing.label
    )
}
