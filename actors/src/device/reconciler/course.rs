//! One workload's way from version to version: prepared while the version before runs on, then tried, then committed
//! or taken back as a whole.
//!
//! ```text
//! Preparing --all images there--> on trial --ran well for its probation--> committed
//!    |  ^                            |
//!    `--' a failure, after a while   `--fails too often--> taken back: the committed version runs
//! ```
//! What comes may replace what is prepared or tried at any time. What was committed stays known until something else is.

use std::collections::BTreeSet;

use super::{
    life::{Life, TakenBack, Version},
    preparing::{Next, NotPulled, Preparing},
    room::Disk,
    trial::{Trial, runs_well},
};
use crate::{
    report::{ModuleStatus, Phase, WorkloadStatus},
    time::Time,
};

/// A version within whose trial the daemon or the device has to be started more often than this is taken back: it may
/// be what brings them down.
pub const STARTS: u32 = 5;

/// The way of one workload.
#[derive(Clone, Debug)]
pub(super) struct Course {
    life: Life,
    /// What the newest assignment names.
    target: Version,
    /// The target, as long as it is not on the device.
    preparing: Option<Preparing>,
    /// Of the version that [`Life::trial`] holds.
    trial: Option<Trial>,
    /// Why the version on trial would have been taken back if there were one before it, until it has proven itself.
    failing: Option<String>,
    /// Modules that are to be again as they were, and are not yet.
    returning: BTreeSet<String>,
    /// Spreads repetitions of this device against those of others.
    seed: u64,
}

/// A version that is ready looks at least so often whether it is still held back, in milliseconds: a clock may be set.
const LOOK_MS: u64 = 60_000;

/// Why a version that is ready does not replace the one that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    /// In words.
    pub(super) why: String,
    /// For so long, in milliseconds, unless something changes.
    pub(super) wait_ms: u64,
}

/// What follows for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Persist [`Course::life`].
    Save,
    /// Ask the engine which of these images it has not.
    Look(Vec<String>),
    /// Get these images.
    Pull { images: Vec<String>, max_bytes: u64 },
    /// Ask what time it is: a version is ready to replace the one that runs.
    AskTime,
    /// This version was taken back.
    TakenBack { version: u64, why: String },
    /// Another version runs from now on, in which these modules are not as before.
    Runs(BTreeSet<String>),
}

impl Course {
    /// A workload whose life until now is known: what was on trial is on trial again, from the beginning.
    pub(super) fn resume(life: Life, target: Version, seed: u64, acts: &mut Vec<Act>) -> Self {
        let mut course = Self {
            life,
            target: target.clone(),
            preparing: None,
            trial: None,
            failing: None,
            returning: BTreeSet::new(),
            seed,
        };
        if let Some(version) = course.life.trial.clone() {
            let changed = version.changed_from(course.life.committed.as_ref());
            let probation_ms = version.release.workload.update.probation_ms;
            course.trial = Some(Trial::begin(changed, None, &BTreeSet::new(), probation_ms));
            course.life.starts = course.life.starts.saturating_add(1);
            acts.push(Act::Save);
            if course.life.starts > STARTS && course.life.committed.is_some() {
                let why = format!("the daemon or the device was started {STARTS} times within its probation");
                course.fail(why, acts);
            }
        }
        course.aim(target, acts);
        course
    }

    /// The newest assignment names `target`.
    pub(super) fn aim(&mut self, target: Version, acts: &mut Vec<Act>) {
        let is_new = !self.target.is(&target);
        self.target = target;
        let is_there = self.life.runs().is_some_and(|runs| runs.is(&self.target));
        let was_taken_back =
            self.life.taken_back.as_ref().is_some_and(|taken| self.target.number() <= taken.version);
        if is_there || was_taken_back {
            self.preparing = None;
        } else if is_new || self.preparing.as_ref().is_none_or(Preparing::is_refused) {
            let images = self.target.images();
            let pull_bytes = self.target.release.workload.update.pull_max_bytes.unwrap_or_default();
            self.preparing = Some(Preparing::begin(images.clone(), pull_bytes));
            // Without modules there is nothing that an engine could have to say.
            if images.is_empty() { self.ready(acts) } else { acts.push(Act::Look(images)) }
        }
    }

    /// The version that is to have its ports: the target, unless that was taken back.
    pub(super) fn aims_at(&self) -> &Version {
        match &self.life.taken_back {
            Some(taken) if self.target.number() <= taken.version => self.routes(),
            Some(_) | None => &self.target,
        }
    }

    /// Its modules are taken off for another workload: that they are gone proves nothing.
    pub(super) fn displaced(&mut self, now: Time) {
        if let Some(trial) = &mut self.trial {
            trial.forgive(true, now);
        }
    }

    /// The room that its images may take while they are not here, in bytes; 0 for what is not known.
    pub(super) fn pull_bytes(&self) -> u64 {
        self.preparing.as_ref().map_or(0, Preparing::pull_bytes)
    }

    /// The target may not have what it asks for: it is not prepared. What runs already runs on.
    pub(super) fn refuse(&mut self, why: String, acts: &mut Vec<Act>) {
        if self.preparing.is_some() {
            self.preparing = Some(Preparing::refused(self.target.images(), why));
            acts.retain(|act| !matches!(act, Act::Look(_) | Act::AskTime));
        }
    }

    /// What the device allows and knows is otherwise: a target that waits is looked at anew.
    pub(super) fn reconsider(&mut self, refusal: Option<String>, acts: &mut Vec<Act>) {
        let waits = self.preparing.as_ref().is_some_and(Preparing::is_refused);
        match refusal {
            Some(why) => self.refuse(why, acts),
            None if waits => {
                self.preparing = None;
                self.aim(self.target.clone(), acts);
            }
            None => {}
        }
    }

    /// Whether a version is ready and waits to be told whether it may replace the one that runs.
    pub(super) fn asks(&self) -> bool {
        self.preparing.as_ref().is_some_and(Preparing::asks)
    }

    /// What the newest assignment names.
    pub(super) const fn target(&self) -> &Version {
        &self.target
    }

    /// The version that is ready replaces the one that runs, or is held back.
    pub(super) fn decide(&mut self, held: Option<HeldBack>, now: Time, acts: &mut Vec<Act>) {
        match (held, &mut self.preparing) {
            (Some(HeldBack { why, wait_ms }), Some(preparing)) => {
                preparing.hold(why, now.plus_millis(wait_ms.min(LOOK_MS)));
            }
            (None, _) => self.switch(acts),
            (Some(_), None) => {}
        }
    }

    /// What held the target back may be gone.
    pub(super) fn ask_again(&mut self, acts: &mut Vec<Act>) {
        self.prepare(acts, Preparing::ask_again);
    }

    /// The engine has told which of `images` it has not.
    pub(super) fn looked(
        &mut self,
        images: &[String],
        found: Result<(Vec<String>, Option<Disk>), String>,
        now: Time,
        acts: &mut Vec<Act>,
    ) {
        let seed = self.seed;
        self.prepare(acts, |preparing| preparing.looked(images, found, seed, now));
    }

    /// These images were got, or one of them was not.
    pub(super) fn pulled(
        &mut self,
        images: &[String],
        result: Result<(), NotPulled>,
        now: Time,
        acts: &mut Vec<Act>,
    ) {
        let seed = self.seed;
        self.prepare(acts, |preparing| preparing.pulled(images, result, seed, now));
    }

    /// A module of the version that runs said how it is doing.
    pub(super) fn saw(
        &mut self,
        module: &str,
        status: ModuleStatus,
        engine_away: bool,
        now: Time,
        acts: &mut Vec<Act>,
    ) {
        if runs_well(&status) {
            self.returning.remove(module);
        }
        let Some(trial) = &mut self.trial else { return };
        if let Some(why) = trial.saw(module, status, engine_away, now) {
            self.fail(why, acts);
        }
    }

    /// The engine went away or came back.
    pub(super) fn engine(&mut self, away: bool, now: Time, acts: &mut Vec<Act>) {
        if let Some(trial) = &mut self.trial {
            trial.forgive(away, now);
        }
        if !away {
            self.prepare(acts, Preparing::retry);
        }
    }

    /// When to call [`Self::tick`].
    pub(super) fn due(&self) -> Option<Time> {
        let preparing = self.preparing.as_ref().and_then(Preparing::due);
        preparing.into_iter().chain(self.trial.as_ref().and_then(Trial::due)).min()
    }

    /// Does what the time has come for.
    pub(super) fn tick(&mut self, now: Time, acts: &mut Vec<Act>) {
        if self.trial.as_ref().and_then(Trial::due).is_some_and(|due| due <= now) {
            self.commit(acts);
        }
        self.prepare(acts, |preparing| preparing.tick(now));
    }

    /// What is persisted of it.
    pub(super) const fn life(&self) -> &Life {
        &self.life
    }

    /// The version whose modules should be on the device; none while the first one is prepared.
    pub(super) fn runs(&self) -> Option<&Version> {
        self.life.runs()
    }

    /// The version whose routes hold. There is nothing that the first one could disturb, so its routes need not wait for
    /// its images.
    pub(super) fn routes(&self) -> &Version {
        self.life.runs().unwrap_or(&self.target)
    }

    /// How it is doing.
    pub(super) fn status(&self) -> WorkloadStatus {
        let phase = match (&self.preparing, &self.trial) {
            (Some(_), _) => Phase::Preparing,
            (None, Some(trial)) if trial.is_well() => Phase::Probation,
            (None, Some(_)) => Phase::Switching,
            (None, None) if !self.returning.is_empty() => Phase::RollingBack,
            (None, None) => Phase::Running,
        };
        WorkloadStatus {
            version: self.life.runs().map_or(0, Version::number),
            coming: self.preparing.is_some().then(|| self.target.number()),
            phase,
            problem: self.held_back().or_else(|| self.problem()).unwrap_or_default(),
        }
    }

    /// Why the target waits though it is ready: that is as it was meant, and no problem of the device.
    fn held_back(&self) -> Option<String> {
        let preparing = self.preparing.as_ref().filter(|preparing| preparing.problem().is_empty())?;
        let (name, number) = (&self.target.release.workload.name, self.target.number());
        let runs = self.life.runs().map_or(0, Version::number);
        let why = Some(preparing.held()).filter(|why| !why.is_empty())?;
        Some(format!("version {number} of {name} is ready and waits: {why}; version {runs} runs on"))
    }

    /// What is wrong with it, for a person.
    pub(super) fn problem(&self) -> Option<String> {
        let name = &self.target.release.workload.name;
        let of = |version: u64| format!("version {version} of {name}");
        let runs = self.life.runs().map(Version::number);
        if let Some(preparing) = &self.preparing
            && !preparing.problem().is_empty()
        {
            let goes_on = runs.map_or_else(String::new, |runs| format!("; version {runs} runs on"));
            return Some(format!("{} waits: {}{goes_on}", of(self.target.number()), preparing.problem()));
        }
        if let Some(TakenBack { version, why }) = &self.life.taken_back {
            let runs = runs.unwrap_or_default();
            return Some(format!("{} was taken back: {why}; version {runs} runs", of(*version)));
        }
        let why = self.failing.as_ref()?;
        Some(format!("{} fails, and there is none to go back to: {why}", of(runs.unwrap_or_default())))
    }

    fn prepare(&mut self, acts: &mut Vec<Act>, step: impl FnOnce(&mut Preparing) -> Next) {
        let Some(preparing) = &mut self.preparing else { return };
        match step(preparing) {
            Next::Wait => {}
            Next::Look => acts.push(Act::Look(preparing.images().to_vec())),
            Next::Pull(images) => {
                let max_bytes = self.target.release.workload.update.pull_max();
                acts.push(Act::Pull { images, max_bytes });
            }
            Next::Ready => self.ready(acts),
        }
    }

    /// The target is ready. The first version interrupts nothing; another one asks whether it may.
    fn ready(&mut self, acts: &mut Vec<Act>) {
        match &mut self.preparing {
            Some(preparing) if self.life.runs().is_some() => {
                preparing.ask();
                acts.push(Act::AskTime);
            }
            Some(_) | None => self.switch(acts),
        }
    }

    /// From now on the target runs.
    fn switch(&mut self, acts: &mut Vec<Act>) {
        let target = self.target.clone();
        let replaced = target.changed_from(self.life.runs());
        let changed = target.changed_from(self.life.committed.as_ref());
        let probation_ms = target.release.workload.update.probation_ms;
        self.preparing = None;
        self.failing = None;
        self.returning.clear();
        self.life.taken_back = None;
        self.life.starts = 0;
        if probation_ms == 0 || changed.is_empty() {
            self.trial = None;
            self.life.trial = None;
            self.life.committed = Some(target);
        } else {
            self.trial = Some(Trial::begin(changed, self.trial.take(), &replaced, probation_ms));
            self.life.trial = Some(target);
        }
        acts.extend([Act::Save, Act::Runs(replaced)]);
    }

    fn commit(&mut self, acts: &mut Vec<Act>) {
        self.trial = None;
        self.failing = None;
        self.life.starts = 0;
        if let Some(version) = self.life.trial.take() {
            self.life.committed = Some(version);
            acts.push(Act::Save);
        }
    }

    /// Goes back to the committed version; the first one has nothing to go back to and stays.
    fn fail(&mut self, why: String, acts: &mut Vec<Act>) {
        let (Some(committed), Some(trial)) = (&self.life.committed, &self.life.trial) else {
            self.failing = Some(why);
            return;
        };
        self.returning = committed.changed_from(Some(trial));
        let version = trial.number();
        acts.push(Act::Save);
        acts.push(Act::TakenBack { version, why: why.clone() });
        self.life.taken_back = Some(TakenBack { version, why });
        self.life.trial = None;
        self.life.starts = 0;
        self.trial = None;
        acts.push(Act::Runs(self.returning.clone()));
    }
}
