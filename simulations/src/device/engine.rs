//! A device's container engine. It and its containers outlive the daemon.

use std::collections::{BTreeMap, BTreeSet};

use wayside_actors::device::{
    module,
    reconciler::{self, Images, NotPulled, Observed},
    wiring::Event,
};
use wayside_config::workload::{ModuleId, ModuleSpec};

use crate::{happening::InEngine, random::Random};

#[derive(Debug, Default)]
pub(super) struct Engine {
    containers: BTreeMap<u64, Container>,
    images: BTreeSet<String>,
    made: u64,
    runs: u64,
}

#[derive(Debug)]
struct Container {
    module: ModuleId,
    spec: Box<ModuleSpec>,
    spec_hash: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Created,
    Running { run: u64 },
    Exited { code: i64 },
}

/// What came of an engine's step, for the daemon and for the module.
pub(super) struct Outcome {
    /// Told to the daemon that asked, in this order.
    pub(super) answers: Vec<Event>,
    /// Told to whichever daemon runs, from the engine's event stream.
    pub(super) exited: Option<Event>,
    /// The module's new run; `None` with `stopped`.
    pub(super) started: Option<Started>,
    /// The module whose run ended.
    pub(super) stopped: Option<ModuleId>,
}

/// A container runs.
pub(super) struct Started {
    pub(super) module: ModuleId,
    pub(super) container: u64,
    pub(super) run: u64,
}

impl Engine {
    /// How long the engine takes for a step, in milliseconds.
    pub(super) fn takes_ms(what: &InEngine, random: &mut Random) -> u64 {
        match what {
            InEngine::List | InEngine::Look { .. } => random.between(2, 20),
            InEngine::Pull { .. } => random.between(100, 3000),
            InEngine::Create { .. } => random.between(40, 150),
            InEngine::Start { .. } => random.between(80, 300),
            InEngine::Stop { .. } => random.between(20, 1000),
            InEngine::Remove { .. } | InEngine::RemoveOrphan { .. } => random.between(20, 80),
        }
    }

    /// Does a step.
    pub(super) fn act(&mut self, what: InEngine, random: &mut Random) -> Outcome {
        match what {
            InEngine::List => Outcome::answer(Event::Reconciler(self.list())),
            InEngine::Look { workload, images } => {
                let missing = images.iter().filter(|image| !self.images.contains(*image)).cloned().collect();
                let found = Ok(Images { missing, disk: None });
                Outcome::answer(Event::Reconciler(reconciler::Event::Looked { workload, images, found }))
            }
            InEngine::Pull { workload, images } => {
                const FAILS_PER_MILLE: u64 = 200;
                let (got, result): (&[String], _) = if random.chance(FAILS_PER_MILLE) {
                    let problem = "the registry is away: nothing to do, it is tried again";
                    (&[], Err(NotPulled::Failed(problem.into())))
                } else {
                    self.images.extend(images.iter().cloned());
                    (&images, Ok(()))
                };
                let got = got.iter().map(|image| reconciler::Event::Got { image: image.clone() });
                let mut answers: Vec<_> = got.map(Event::Reconciler).collect();
                answers.push(Event::Reconciler(reconciler::Event::Pulled { workload, images, result }));
                Outcome { answers, exited: None, started: None, stopped: None }
            }
            InEngine::Create { module, spec, spec_hash } => {
                const FAILS_PER_MILLE: u64 = 10;
                if random.chance(FAILS_PER_MILLE) {
                    let problem = "the engine is busy: nothing to do, it is tried again".into();
                    return Outcome::answer(Event::Module(
                        module,
                        module::Event::Failed { container: None, problem },
                    ));
                }
                self.made += 1;
                let made = Container {
                    module: module.clone(),
                    spec,
                    spec_hash: spec_hash.clone(),
                    state: State::Created,
                };
                self.containers.insert(self.made, made);
                let container = self.made.to_string();
                Outcome::answer(Event::Module(module, module::Event::Created { container, spec_hash }))
            }
            InEngine::Start { module, container } => self.start(module, container),
            InEngine::Stop { module, container } => {
                const KILLED: i64 = 143;
                match self.exit(number(&container), None, KILLED) {
                    Some(outcome) => outcome,
                    None => Outcome::answer(failed(module, container, "it does not run")),
                }
            }
            InEngine::Remove { module, container } => {
                let stopped = self.remove(&container);
                let answer = Event::Module(module, module::Event::Removed { container });
                Outcome { stopped, ..Outcome::answer(answer) }
            }
            InEngine::RemoveOrphan { container } => {
                Outcome { answers: Vec::new(), exited: None, started: None, stopped: self.remove(&container) }
            }
        }
    }

    /// Ends a run by itself, unless it ended before.
    pub(super) fn crash(&mut self, container: u64, run: u64) -> Option<Outcome> {
        self.exit(container, Some(run), 1)
    }

    /// What runs, by module.
    pub(super) fn running(&self) -> impl Iterator<Item = (&ModuleId, &ModuleSpec)> {
        let running = self.containers.values().filter(|container| container.run().is_some());
        running.map(|container| (&container.module, &*container.spec))
    }

    /// How many containers there are, running or not.
    pub(super) fn count(&self) -> usize {
        self.containers.len()
    }

    fn list(&self) -> reconciler::Event {
        let containers = self.containers.iter().map(|(id, container)| Observed {
            container: id.to_string(),
            module: Some(container.module.clone()),
            spec_hash: container.spec_hash.clone(),
            running: container.run().is_some(),
            health: None,
            exit_code: match container.state {
                State::Exited { code } => Some(code),
                State::Created | State::Running { .. } => None,
            },
        });
        reconciler::Event::Observed { additions: String::new(), containers: containers.collect() }
    }

    fn start(&mut self, module: ModuleId, container: String) -> Outcome {
        let id = number(&container);
        let Some(found) = self.containers.get_mut(&id) else {
            return Outcome::answer(failed(module, container, "there is no such container"));
        };
        let started = Event::Module(module.clone(), module::Event::Started { container });
        if found.run().is_some() {
            return Outcome::answer(started);
        }
        self.runs += 1;
        found.state = State::Running { run: self.runs };
        let run = Started { module, container: id, run: self.runs };
        Outcome { started: Some(run), ..Outcome::answer(started) }
    }

    fn exit(&mut self, id: u64, run: Option<u64>, code: i64) -> Option<Outcome> {
        let container = self.containers.get_mut(&id)?;
        let running = container.run()?;
        if run.is_some_and(|run| run != running) {
            return None;
        }
        container.state = State::Exited { code };
        let module = container.module.clone();
        let event = module::Event::Exited { container: id.to_string(), code };
        let exited = Some(Event::Module(module.clone(), event));
        Some(Outcome { answers: Vec::new(), exited, started: None, stopped: Some(module) })
    }

    fn remove(&mut self, container: &str) -> Option<ModuleId> {
        let container = self.containers.remove(&number(container))?;
        container.run().map(|_| container.module)
    }
}

impl Container {
    const fn run(&self) -> Option<u64> {
        match self.state {
            State::Running { run } => Some(run),
            State::Created | State::Exited { .. } => None,
        }
    }
}

impl Outcome {
    fn answer(answer: Event) -> Self {
        Self { answers: vec![answer], exited: None, started: None, stopped: None }
    }
}

fn failed(module: ModuleId, container: String, problem: &str) -> Event {
    let event = module::Event::Failed { container: Some(container), problem: problem.into() };
    Event::Module(module, event)
}

fn number(container: &str) -> u64 {
    container.parse().expect("container ids come from this engine")
}
