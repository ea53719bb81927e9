//! What follows from the ways of workloads: what is persisted, asked of the engine, and told.

use super::{Held, Reconciler};
use crate::{
    device::reconciler::{
        Effect,
        course::{Act, Course},
        life::Version,
    },
    machine::Effects,
    time::Time,
};
use wayside_config::workload::ModuleId;

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
        for (sealed, release) in sealed.releases.into_iter().zip(releases) {
            let name = release.workload.name.clone();
            let refusal = self.policy.refusal_of(&release.workload);
            let version = Version { sealed, release };
            let mut acts = Vec::new();
            if let Some(course) = self.courses.get_mut(&name) {
                course.aim(version, &mut acts);
            } else {
                let life = self.lives.remove(&name).unwrap_or_default();
                let course = Course::resume(life, version, seed, &mut acts);
                self.courses.insert(name.clone(), course);
            }
            if let (Some(why), Some(course)) = (refusal, self.courses.get_mut(&name)) {
                course.refuse(why, &mut acts);
            }
            self.act(&name, acts, out);
        }
        self.held = Some(assignment);
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
                Act::Pull(images) => out.push(Effect::Pull { workload: workload(), images }),
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
