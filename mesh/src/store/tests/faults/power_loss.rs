//! The power goes between any two steps of the store; what it acknowledged is there, and nothing else.

use std::sync::{Arc, Mutex};

use super::{
    images::Device,
    load::{Held, check, next},
    *,
};

/// Commits of one store, and one in how many steps the power goes at.
const COMMITS: u64 = 60;
const ONE_IN: u64 = 8;

struct Watch {
    device: Device,
    dice: Dice,
    before: Held,
    after: Held,
    outcome: Outcome,
    left: u64,
    alarms: u64,
    /// What the power went after, and what came of it where something was wrong.
    wrong: Vec<String>,
}

impl Watch {
    fn see(&mut self, step: crate::store::steps::Step<'_>) {
        self.device.see(step);
        if self.left == 0 || !self.dice.one_in(ONE_IN) {
            return;
        }
        self.left -= 1;
        let image = folder();
        self.device.crash(&image.path().join("store"), &mut self.dice);
        let outcome = match SledStore::open(settings(image.path(), SMALL)) {
            Ok((store, restored)) => {
                self.alarms += u64::from(!restored.problems.is_empty());
                let outcome =
                    check(&store, &restored, &self.before, &self.after, !restored.problems.is_empty());
                if outcome != (Outcome { runs: 1, ..Outcome::default() }) {
                    self.wrong.push(format!(
                        "{step:?} of commit {}: {outcome:?} {:?}",
                        self.after.commit,
                        store.problems()
                    ));
                }
                outcome
            }
            Err(error) => {
                self.wrong.push(format!("{step:?} of commit {}: {error}", self.after.commit));
                Outcome { runs: 1, lost: 1, ..Outcome::default() }
            }
        };
        self.outcome.add(outcome);
    }
}

#[test]
fn power_loss() {
    let (count, seed) = asked(60);
    let (mut outcome, mut seeds, mut alarms, mut wrong) = (Outcome::default(), seed, 0, Vec::new());
    while outcome.runs < count {
        let (more, alarm, found) = one_store(seeds, count - outcome.runs);
        outcome.add(more);
        alarms += alarm;
        wrong.extend(found.into_iter().map(|text| format!("seed {seeds}: {text}")));
        seeds += 1;
    }
    for text in wrong.iter().take(20) {
        println!("{text}");
    }
    println!(
        "{} stores; in {alarms} of {} damage was reported where nothing was lost",
        seeds - seed,
        outcome.runs
    );
    outcome.conclude();
}

fn one_store(seed: u64, left: u64) -> (Outcome, u64, Vec<String>) {
    let dir = folder();
    let mut dice = Dice(seed);
    let (store, _) = open_small(dir.path());
    let watch = Arc::new(Mutex::new(Watch {
        device: Device::new(&dir.path().join("store")),
        dice: Dice(seed ^ 0x5eed),
        before: Held::default(),
        after: Held::default(),
        outcome: Outcome::default(),
        left,
        alarms: 0,
        wrong: Vec::new(),
    }));
    let watcher = watch.clone();
    *lock(&store.shared().folder.steps.watcher) = Some(Box::new(move |step| lock(&watcher).see(step)));
    let mut held = Held::default();
    for _ in 0..COMMITS {
        let (changes, after) = next(&held, &mut dice);
        {
            let mut watch = lock(&watch);
            (watch.before, watch.after) = (held, after);
        }
        if dice.one_in(12) {
            store.shared().rotate.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        match commit(&store, changes) {
            Ok(()) => held = after,
            // It has a limit; that is no fault.
            Err(StoreError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    *lock(&store.shared().folder.steps.watcher) = None;
    drop(store);
    let mut watch = lock(&watch);
    (watch.outcome, watch.alarms, std::mem::take(&mut watch.wrong))
}
