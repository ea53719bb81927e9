//! A module among engines that are slow, fail and forget: never two containers, and in the end the right one.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// An engine that may be slow, fail, and lose containers to other people.
#[derive(Default)]
struct Engine {
    made: u32,
    /// Hash, and whether it runs; `None` before the first start.
    containers: BTreeMap<String, (String, Option<bool>)>,
    asked: VecDeque<Effect>,
    answers: VecDeque<Event>,
}

impl Engine {
    fn carry_out(&mut self, effect: Effect, fails: bool, names_are_unique: bool) {
        let conflict = names_are_unique && !self.containers.is_empty();
        let failed = |container| Event::Failed { container, problem: "no".into() };
        let answer = match effect {
            Effect::Prepare { .. } | Effect::Report(..) | Effect::Gone => return,
            Effect::Create { .. } if fails || conflict => failed(None),
            Effect::Create { spec_hash, .. } => {
                self.made += 1;
                let container = self.made.to_string();
                self.containers.insert(container.clone(), (spec_hash.clone(), None));
                Event::Created { container, spec_hash }
            }
            Effect::Start { container } | Effect::Stop { container, .. } | Effect::Remove { container }
                if fails =>
            {
                failed(Some(container))
            }
            Effect::Start { container } => match self.containers.get_mut(&container) {
                Some((_, running)) => {
                    *running = Some(true);
                    Event::Started { container }
                }
                None => failed(Some(container)),
            },
            Effect::Stop { container, .. } => return self.end(&container),
            Effect::Remove { container } => {
                self.containers.remove(&container);
                Event::Removed { container }
            }
        };
        self.answers.push_back(answer);
    }

    fn end(&mut self, container: &str) {
        if let Some((_, running)) = self.containers.get_mut(container)
            && *running == Some(true)
        {
            *running = Some(false);
            self.answers.push_back(Event::Exited { container: container.into(), code: 1 });
        }
    }

    fn listed(&self) -> Event {
        self.containers.iter().next_back().map_or(Event::Missing, |(id, (hash, running))| Event::Found {
            container: id.clone(),
            spec_hash: hash.clone(),
            running: *running == Some(true),
            exit_code: (*running == Some(false)).then_some(1),
            health: None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Weather {
    CarryOut,
    CarryOutBadly,
    Answer,
    List,
    Want(u8),
    Unwant,
    Ends,
    SomebodyRemoves,
    AMinutePasses,
    Restarts,
    OperatorRestarts,
}

fn weather() -> impl Strategy<Value = Vec<Weather>> {
    let one = prop_oneof![
        8 => Just(Weather::CarryOut),
        1 => Just(Weather::CarryOutBadly),
        8 => Just(Weather::Answer),
        2 => Just(Weather::List),
        2 => (0u8..3).prop_map(Weather::Want),
        1 => Just(Weather::Unwant),
        2 => Just(Weather::Ends),
        1 => Just(Weather::SomebodyRemoves),
        2 => Just(Weather::AMinutePasses),
        1 => Just(Weather::Restarts),
        1 => Just(Weather::OperatorRestarts),
    ];
    prop::collection::vec(one, 0..120)
}

struct Life {
    module: Module,
    engine: Engine,
    now: u64,
    alarm: Option<u64>,
    hash: Option<u8>,
    log: Vec<(u64, Event)>,
    restarts_allowed: bool,
}

impl Life {
    fn new(restarts_allowed: bool) -> Self {
        let (module, engine) = (Module::default(), Engine::default());
        Self { module, engine, now: 0, alarm: None, hash: None, log: Vec::new(), restarts_allowed }
    }

    fn tell(&mut self, event: Event) {
        self.log.push((self.now, event.clone()));
        for step in at(&mut self.module, self.now, event) {
            match step {
                Step::Do(effect) | Step::Persist(effect) => self.engine.asked.push_back(effect),
                Step::WakeAt(at) => self.alarm = Some(at.as_millis()),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(at) = self.alarm.filter(|at| *at <= until) {
            self.alarm = None;
            self.now = self.now.max(at);
            self.tell(Module::woken());
        }
        self.now = until;
    }

    fn carry_out(&mut self, fails: bool) {
        if let Some(effect) = self.engine.asked.pop_front() {
            self.engine.carry_out(effect, fails, self.restarts_allowed);
        }
    }

    fn want(&mut self, hash: u8) {
        self.hash = Some(hash);
        self.tell(wanted(&hash.to_string(), Restart::Always));
    }

    fn meet(&mut self, weather: Weather) {
        match weather {
            Weather::CarryOut => self.carry_out(false),
            Weather::CarryOutBadly => self.carry_out(true),
            Weather::Answer => {
                if let Some(event) = self.engine.answers.pop_front() {
                    self.tell(event);
                }
            }
            // Answered as it was when the engine looked, which may be a while ago.
            Weather::List => {
                if self.hash.is_some() {
                    self.engine.answers.push_back(self.engine.listed());
                }
            }
            Weather::Want(hash) => self.want(hash),
            Weather::Unwant => {
                self.hash = None;
                self.tell(Event::Unwanted);
            }
            Weather::Ends => {
                if let Some(id) = self.engine.containers.keys().next().cloned() {
                    self.engine.end(&id);
                }
            }
            Weather::SomebodyRemoves => {
                if let Some((container, _)) = self.engine.containers.pop_first() {
                    self.engine.answers.push_back(Event::Removed { container });
                }
            }
            Weather::AMinutePasses => self.pass(60_000),
            Weather::OperatorRestarts => self.tell(Event::Restart),
            Weather::Restarts => {
                if self.restarts_allowed {
                    self.module = Module::default();
                    self.log.clear();
                    self.alarm = None;
                    match self.hash {
                        Some(hash) => self.want(hash),
                        None => self.tell(Event::Unwanted),
                    }
                    self.meet(Weather::List);
                }
            }
        }
    }

    /// Fair weather for a while: the engine works, and is asked what it has once a minute.
    fn settle(&mut self) {
        for _ in 0..20 {
            while !self.engine.asked.is_empty() || !self.engine.answers.is_empty() {
                self.meet(Weather::CarryOut);
                self.meet(Weather::Answer);
            }
            match self.hash {
                Some(_) => self.meet(Weather::List),
                // What is left belongs to no module any more: the reconciler removes it.
                None => self.engine.containers.clear(),
            }
            self.meet(Weather::AMinutePasses);
        }
    }
}

proptest! {
    #[test]
    fn there_is_one_container_at_most_and_in_the_end_the_right_one(
        weather in weather(), restarts_allowed in any::<bool>(),
    ) {
        let mut life = Life::new(restarts_allowed);
        life.want(0);
        life.meet(Weather::List);
        for weather in weather {
            life.meet(weather);
            prop_assert!(life.engine.containers.len() <= 1, "{:?}", life.engine.containers);
        }
        life.settle();
        let there: Vec<_> = life.engine.containers.values().cloned().collect();
        let expected = life.hash.map(|hash| (hash.to_string(), Some(true)));
        prop_assert_eq!(there, Vec::from_iter(expected));
        assert_replays(Module::default, &life.log);
    }
}
