//! Damage costs one segment at most, is named, and is never served.

use super::*;

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Five segments or so, all needed.
fn filled(dir: &Path) -> (Queue, u64, u64) {
    let a = queue("a");
    let (store, restored) = open_small(dir);
    for batch in 0..56 {
        commit(&store, (1..=100).map(|n| append(&a, batch * 100 + n, 700)).collect()).unwrap();
    }
    commit(&store, vec![StoreOp::Mark { key: "k".into(), value: vec![7] }]).unwrap();
    assert!(store.stats().segments >= 3, "{:?}", store.stats());
    (a, 5600, restored.epoch)
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut dirs: Vec<_> = std::fs::read_dir(dir.join("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    dirs.sort();
    dirs
}

#[test]
fn damage_costs_one_segment_and_is_named() {
    let original = tempfile::tempdir().unwrap();
    let (a, last, epoch) = filled(original.path());
    let count = segments(original.path()).len();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("cut off", |path| {
            let len = std::fs::metadata(path).unwrap().len();
            std::fs::File::options().write(true).open(path).unwrap().set_len(len / 2).unwrap();
        }),
        ("emptied", |path| std::fs::write(path, b"").unwrap()),
        ("noise in the middle", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4096].fill(0xa5);
            std::fs::write(path, bytes).unwrap();
        }),
        ("one bit", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let at = bytes.len() / 3;
            bytes[at] ^= 0x10;
            std::fs::write(path, bytes).unwrap();
        }),
        ("gone", |path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap()),
    ];
    let files = [0, count / 2, count - 1].into_iter().flat_map(|which| [(which, "db"), (which, "log")]);
    for (which, file) in files {
        for (name, harm) in harms {
            let dir = tempfile::tempdir().unwrap();
            copy_dir(original.path(), dir.path());
            harm(&segments(dir.path())[which].join(file));
            let (store, restored) = open_small(dir.path());
            let state = restored.queues.first().map(|(_, state)| *state).unwrap_or_default();
            let there = seqs(&store, &a, 1);
            let lost = last as usize - there.len();
            println!(
                "segment {which} of {count}, {file} {name}: {lost} lost, last {}, {:?}",
                state.last,
                store.problems()
            );
            assert_eq!(restored.epoch, epoch);
            assert!(
                there.is_sorted() && there.len() as u64 >= last / 3,
                "{name} in {file} {which}: {}",
                there.len()
            );
            assert_eq!(
                lost > 0 || state.last != last,
                !store.problems().is_empty(),
                "{name} in {file} {which}"
            );
            // No number is given out twice, whatever was lost.
            assert!(state.last >= last, "{name} in {file} {which}: {state:?}");
            commit(&store, vec![append(&a, state.last + 1, 10)]).unwrap();
            drop(store);
            let (store, restored) = open_small(dir.path());
            assert_eq!(restored.queues[0].1.last, state.last + 1);
            assert_eq!(seqs(&store, &a, 1).len(), there.len() + 1, "{name} in {file} {which}");
        }
    }
}

#[test]
fn a_copy_made_while_it_is_written_opens_with_all_that_was_acknowledged_before() {
    let dir = tempfile::tempdir().unwrap();
    let a = queue("a");
    let (store, _) = open(dir.path());
    for round in 0..10 {
        commit(&store, (1..=50).map(|n| append(&a, round * 50 + n, 300)).collect()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let pending = store.commit(vec![append(&queue("b"), round + 1, 3000)].into());
        copy_dir(&dir.path().join("store"), &copy.path().join("store"));
        let (copied, _) = open(copy.path());
        assert!(seqs(&copied, &a, 1).len() as u64 >= (round + 1) * 50);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(pending).unwrap();
    }
}
