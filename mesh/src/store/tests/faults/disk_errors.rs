//! Any write or sync fails, once or from then on: nothing is acknowledged that the device does not have, and after a
//! restart on a disk that works again all that was acknowledged is there.
//!
//! `strace` makes the errors in a process of its own, which is this test once more.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    load::{Held, check, next},
    *,
};

const COMMITS: u64 = 25;

/// A victim takes less than a second on a quiet machine. A store that never answers is as bad as one that lies.
const LIMIT: Duration = Duration::from_secs(120);

/// What may fail, and up to which call of it in the victim's life.
const CALLS: [(&str, u64); 5] =
    [("pwrite64", 100), ("fdatasync", 40), ("fsync", 30), ("write", 12), ("sync_file_range", 60)];

#[test]
fn disk_errors() {
    let (count, seed) = asked(8);
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    assert!(strace.is_ok(), "strace is missing, which makes the errors: `apt-get install strace`");
    let (mut outcome, mut failed, mut wrong) = (Outcome::default(), 0, Vec::new());
    for run in 0..count {
        let mut dice = Dice(seed.wrapping_mul(1 << 32) + run);
        let (call, calls) = CALLS[dice.below(CALLS.len() as u64) as usize];
        let error = ["EIO", "ENOSPC"][dice.below(2) as usize];
        let when = format!("{}{}", 1 + dice.below(calls), ["", "+"][dice.below(2) as usize]);
        let fault = format!("{call}:error={error}:when={when}");
        let dir = folder();
        let (one, hit, problems) = one_victim(dir.path(), seed + run, call, &fault);
        failed += u64::from(hit);
        if one != (Outcome { runs: 1, ..Outcome::default() }) {
            wrong.push(format!("seed {seed}, run {run}: {fault}: {one:?} {problems:?}"));
        }
        outcome.add(one);
    }
    for text in wrong.iter().take(20) {
        println!("{text}");
    }
    println!("a call failed in {failed} of {count} runs; in the others there were fewer calls");
    outcome.conclude();
}

fn one_victim(dir: &Path, seed: u64, call: &str, fault: &str) -> (Outcome, bool, Vec<String>) {
    let (log, socket) = (dir.join("strace"), dir.join("socket"));
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut victim = Command::new("strace")
        .args(["-f", "-qq", "-s", "16", "-e", &format!("trace=fdatasync,sendto,{call}")])
        .args(["-e", &format!("inject={fault}"), "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::faults::disk_errors::victim", "--nocapture"])
        .env("WAYSIDE_TEST_STORE", dir)
        .env("WAYSIDE_SEED", seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut before, mut after, mut may_jump) = (Held::default(), Held::default(), false);
    let mut text = [0; 256];
    let started = Instant::now();
    loop {
        let ended = victim.try_wait().unwrap().is_some();
        while let Ok(len) = heard.recv(&mut text) {
            let (word, held) = read(&text[..len]);
            after = held;
            may_jump |= word == "damaged";
            if word != "asked" {
                before = held;
            }
        }
        if ended {
            break;
        }
        if started.elapsed() > LIMIT {
            victim.kill().unwrap();
            victim.wait().unwrap();
            panic!("after {fault} the store has not answered for {} s: {after:?}", LIMIT.as_secs());
        }
    }
    let calls = fs::read_to_string(log).unwrap();
    let (store, restored) = open_small(dir);
    let mut outcome = check(&store, &restored, &before, &after, may_jump);
    outcome.lost += acknowledged_unsynced(&calls);
    (outcome, calls.contains("(INJECTED)"), store.problems())
}

/// How often a sync failed and the next word was that the commit is acknowledged.
fn acknowledged_unsynced(calls: &str) -> u64 {
    let (mut failed, mut count) = (false, 0);
    for line in calls.lines() {
        if line.contains("fdatasync(") && line.contains("(INJECTED)") {
            failed = true;
        } else if line.contains("sendto(") && line.contains('"') {
            count += u64::from(failed && line.contains("\"acked"));
            failed = false;
        }
    }
    count
}

/// Not a test of its own: the process whose disk fails. Says what it asks for and what is acknowledged.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os("WAYSIDE_TEST_STORE") else { return };
    let dir = Path::new(&dir);
    let socket = UnixDatagram::unbound().unwrap();
    let say = |word: &str, held: &Held| {
        let text = format!("{word} {} {:?}", held.commit, held.queues);
        socket.send_to(text.as_bytes(), dir.join("socket")).unwrap();
    };
    let mut dice = Dice(asked(0).1);
    let Ok((store, _)) = SledStore::open(settings(dir, SMALL)) else { return };
    let mut held = Held::default();
    for _ in 0..COMMITS {
        let (changes, after) = next(&held, &mut dice);
        if dice.one_in(10) {
            store.shared().rotate.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        say("asked", &after);
        if commit(&store, changes).is_ok() {
            held = after;
            say("acked", &held);
            continue;
        }
        // The daemon makes its router anew from what is there.
        let Ok(restored) = store.restored() else { return };
        let mark = restored.marks.first().map(|(_, value)| value.clone());
        if mark == Some(after.commit.to_be_bytes().to_vec()) {
            held = after;
        }
        if !restored.problems.is_empty() {
            // Numbers may have jumped: it does not know how to go on.
            return say("damaged", &held);
        }
        say("found", &held);
    }
}

fn read(text: &[u8]) -> (String, Held) {
    let text = String::from_utf8_lossy(text);
    let (word, rest) = text.split_once(' ').unwrap();
    let numbers: Vec<u64> = rest
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap())
        .collect();
    let queues = [1, 3, 5].map(|at| (numbers[at], numbers[at + 1]));
    (word.into(), Held { commit: numbers[0], queues })
}
