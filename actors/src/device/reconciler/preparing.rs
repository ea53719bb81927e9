//! What has to be on the device before anything of a new version is begun: its images. Until they are, the version
//! before runs on.

use serde::{Deserialize, Serialize};

use crate::{backoff::Backoff, time::Time};

use super::room::Disk;

/// The wait before an attempt is repeated: a registry or a network that is away may be away for long.
pub const RETRY: Backoff = Backoff { first_ms: 5_000, cap_ms: 300_000 };

/// Why images were not got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotPulled {
    /// In words: it is tried again.
    Failed(String),
    /// They are larger than what was signed, in words: it is not tried again until something is otherwise.
    TooLarge(String),
}

/// Getting a version's images.
#[derive(Clone, Debug)]
pub(super) struct Preparing {
    images: Vec<String>,
    /// What they may take; 0 for what is not known.
    pull_bytes: u64,
    stage: Stage,
    /// Attempts in a row that failed.
    failures: u32,
    /// Why the last attempt failed; empty before.
    problem: String,
    /// Why it is not begun though it is ready; empty when nobody said that.
    held: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Looking,
    Pulling(Vec<String>),
    Waiting {
        until: Time,
    },
    Refused,
    /// All is there: may it replace what runs?
    Asking,
    /// It may not yet.
    Held {
        until: Time,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for an answer, or for the time.
    Wait,
    /// Ask the engine which images it has.
    Look,
    /// Get these.
    Pull(Vec<String>),
    /// All is there.
    Ready,
}

impl Preparing {
    /// Begins: the engine is to be asked.
    pub(super) fn begin(images: Vec<String>, pull_bytes: u64) -> Self {
        let (problem, held) = (String::new(), String::new());
        Self { images, pull_bytes, stage: Stage::Looking, failures: 0, problem, held }
    }

    /// Nothing is got, for it may not run here.
    pub(super) const fn refused(images: Vec<String>, problem: String) -> Self {
        Self { images, pull_bytes: 0, stage: Stage::Refused, failures: 0, problem, held: String::new() }
    }

    /// Whether it may not run here.
    pub(super) fn is_refused(&self) -> bool {
        self.stage == Stage::Refused
    }

    /// The images that are needed.
    pub(super) fn images(&self) -> &[String] {
        &self.images
    }

    /// The room that its images may take, in bytes; 0 for what is not known.
    pub(super) const fn pull_bytes(&self) -> u64 {
        self.pull_bytes
    }

    /// Why it takes so long; empty when nothing is known to be wrong.
    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    /// When to ask again.
    pub(super) const fn due(&self) -> Option<Time> {
        match self.stage {
            Stage::Waiting { until } | Stage::Held { until } => Some(until),
            Stage::Looking | Stage::Pulling(_) | Stage::Refused | Stage::Asking => None,
        }
    }

    /// All is there, and it is to be asked whether it may replace what runs.
    pub(super) fn ask(&mut self) {
        self.stage = Stage::Asking;
        self.problem.clear();
    }

    /// Whether it waits for the answer.
    pub(super) fn asks(&self) -> bool {
        self.stage == Stage::Asking
    }

    /// It may not yet.
    pub(super) fn hold(&mut self, why: String, until: Time) {
        self.stage = Stage::Held { until };
        self.held = why;
    }

    /// Why it is not begun though it is ready; empty when it is not ready, or not held back.
    pub(super) fn held(&self) -> &str {
        &self.held
    }

    /// What held it back may be gone. The images may be, too.
    pub(super) fn ask_again(&mut self) -> Next {
        if matches!(self.stage, Stage::Held { .. }) { self.look() } else { Next::Wait }
    }

    /// The engine has told which of `images` it has not, and what room there is for them.
    pub(super) fn looked(
        &mut self,
        images: &[String],
        found: Result<(Vec<String>, Option<Disk>), String>,
        seed: u64,
        now: Time,
    ) -> Next {
        if self.stage != Stage::Looking || images != self.images {
            return Next::Wait;
        }
        let checked = found.and_then(|(missing, disk)| match disk {
            // What is there already needs no room.
            Some(disk) if !missing.is_empty() => disk.check(self.pull_bytes).map(|()| missing),
            Some(_) | None => Ok(missing),
        });
        match checked {
            Ok(missing) if missing.is_empty() => Next::Ready,
            Ok(missing) => {
                self.held.clear();
                self.stage = Stage::Pulling(missing.clone());
                Next::Pull(missing)
            }
            Err(problem) => self.fail(problem, seed, now),
        }
    }

    /// These images were got, or one of them was not.
    pub(super) fn pulled(
        &mut self,
        images: &[String],
        result: Result<(), NotPulled>,
        seed: u64,
        now: Time,
    ) -> Next {
        match &self.stage {
            Stage::Pulling(pulling) if pulling == images => {}
            Stage::Pulling(_)
            | Stage::Looking
            | Stage::Waiting { .. }
            | Stage::Refused
            | Stage::Asking
            | Stage::Held { .. } => return Next::Wait,
        }
        match result {
            Ok(()) => Next::Ready,
            Err(NotPulled::Failed(problem)) => self.fail(problem, seed, now),
            // It would be as large again, and cost the link as much each time.
            Err(NotPulled::TooLarge(problem)) => {
                self.stage = Stage::Refused;
                self.problem = problem;
                Next::Wait
            }
        }
    }

    /// Asks again, if it waits and the time has come.
    pub(super) fn tick(&mut self, now: Time) -> Next {
        if self.due().is_some_and(|until| until <= now) { self.look() } else { Next::Wait }
    }

    /// Asks again, if it waits: what was in the way may be gone.
    pub(super) fn retry(&mut self) -> Next {
        if self.due().is_some() { self.look() } else { Next::Wait }
    }

    fn look(&mut self) -> Next {
        self.stage = Stage::Looking;
        Next::Look
    }

    fn fail(&mut self, problem: String, seed: u64, now: Time) -> Next {
        self.stage = Stage::Waiting { until: now.plus_millis(RETRY.jittered_ms(self.failures, seed)) };
        self.failures = self.failures.saturating_add(1);
        self.problem = problem;
        Next::Wait
    }
}
