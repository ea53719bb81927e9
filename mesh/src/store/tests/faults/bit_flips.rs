//! One bit flips in a file of a store, or the file is cut off: at most its segment is lost, that is said, and nothing is
//! served that was not stored.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    images::files,
    load::{Held, message_of, name, next},
    *,
};

/// Harms to copies of one store before another one is made.
const PER_STORE: u64 = 64;
const COMMITS: u64 = 50;

/// A store that nobody writes to, and what it holds: by queue and number the segment.
struct Filled {
    dir: tempfile::TempDir,
    epoch: u64,
    held: Held,
    segments: BTreeMap<(usize, u64), u64>,
}

#[test]
fn bit_flips() {
    let (count, seed) = asked(64);
    let (mut outcome, mut wrong, mut reported) = (Outcome::default(), Vec::new(), 0);
    let mut filled = None;
    for run in 0..count {
        let filled = match &mut filled {
            Some(filled) if run % PER_STORE != 0 => filled,
            other => other.insert(fill(seed + run / PER_STORE)),
        };
        let mut dice = Dice(seed.wrapping_mul(1 << 32) + run);
        let copy = folder();
        let (from, to) = (filled.dir.path().join("store"), copy.path().join("store"));
        copy_files(&from, &to);
        let (file, what) = harm(&to, run, &mut dice);
        let (one, problems) = look(filled, copy.path(), &file);
        reported += u64::from(!problems.is_empty());
        if one != (Outcome { runs: 1, ..Outcome::default() }) {
            wrong.push(format!("seed {seed}, run {run}: {}: {what}: {one:?} {problems:?}", file.display()));
        }
        outcome.add(one);
    }
    for text in wrong.iter().take(20) {
        println!("{text}");
    }
    println!(
        "{reported} of {count} were damage that was reported; the others changed nothing that is needed"
    );
    outcome.conclude();
}

fn fill(seed: u64) -> Filled {
    let dir = folder();
    let mut dice = Dice(seed);
    let (store, restored) = open_small(dir.path());
    let mut held = Held::default();
    for _ in 0..COMMITS {
        let (changes, after) = next(&held, &mut dice);
        if dice.one_in(8) {
            store.shared().rotate.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        if commit(&store, changes).is_ok() {
            held = after;
        }
    }
    let mut segments = BTreeMap::new();
    for (queue, index) in &lock(&store.shared().view).index {
        let number = (0..3).find(|number| name(*number) == *queue).unwrap();
        for extent in &index.extents {
            segments.extend((extent.first..=extent.last).map(|seq| ((number, seq), extent.segment)));
        }
    }
    Filled { dir, epoch: restored.epoch, held, segments }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every file in turn, each at its head, in its first page, anywhere, and at its end; flipped or cut off.
fn harm(store: &Path, run: u64, dice: &mut Dice) -> (PathBuf, String) {
    let mut all: Vec<PathBuf> =
        files(store).into_iter().filter(|file| fs::metadata(file).is_ok_and(|file| file.len() > 0)).collect();
    all.sort();
    let (turn, path) = (run / all.len() as u64, all[(run % all.len() as u64) as usize].clone());
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len() as u64;
    let at = match turn % 4 {
        0 => dice.below(len.min(64)),
        1 => dice.below(len.min(4096)),
        2 => dice.below(len),
        _ => len - 1 - dice.below(len.min(512)),
    };
    let what = if turn / 4 % 2 == 0 {
        bytes[at as usize] ^= 1 << dice.below(8);
        format!("a bit of byte {at} of {len}")
    } else {
        bytes.truncate(at as usize);
        format!("cut off at {at} of {len}")
    };
    fs::write(&path, bytes).unwrap();
    (path.strip_prefix(store).unwrap().into(), what)
}

/// What of the store is left. Counted as lost is what another segment held, or what nobody reported.
fn look(filled: &Filled, dir: &Path, file: &Path) -> (Outcome, Vec<String>) {
    let mut outcome = Outcome { runs: 1, ..Outcome::default() };
    let (store, restored) = open_small(dir);
    let harmed: Option<u64> =
        file.components().next().and_then(|first| first.as_os_str().to_str()?.parse().ok());
    let (mut missing, mut elsewhere) = (0, 0);
    let mark = restored.marks.first().map(|(_, value)| value.clone());
    let mut goes_back = mark != Some(filled.held.commit.to_be_bytes().to_vec());
    for (number, (acked, last)) in filled.held.queues.iter().enumerate().filter(|(_, (_, last))| *last > 0) {
        let state = restored.queues.iter().find(|(queue, _)| *queue == name(number));
        let state = state.map(|(_, state)| *state).unwrap_or_default();
        // A number that was given out is never given out again in the store's life.
        outcome.misordered += u64::from(restored.epoch == filled.epoch && state.last < *last);
        goes_back |= state.acked < *acked;
        let mut there = BTreeMap::new();
        let mut from = 1;
        while let Ok(loaded) = store.load(&name(number), from, 200, 1 << 20)
            && !loaded.messages.is_empty()
        {
            for (seq, message) in (loaded.first_seq..).zip(loaded.messages) {
                outcome.misordered += u64::from(message != message_of(number, seq));
                there.insert(seq, ());
                from = seq + 1;
            }
        }
        for seq in (acked + 1..=*last).filter(|seq| !there.contains_key(seq)) {
            missing += 1;
            elsewhere += u64::from(filled.segments.get(&(number, seq)).copied() != harmed);
        }
    }
    let problems = store.problems();
    outcome.lost = if (missing > 0 || goes_back) && problems.is_empty() { missing.max(1) } else { elsewhere };
    (outcome, problems)
}
