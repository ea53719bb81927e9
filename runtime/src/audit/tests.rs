use std::{fs, path::Path};

use wayside_config::{audit::verify, document::TwinChange};

use super::*;
use crate::control::Sealed;

fn open(folder: &Path) -> (Audit, Identity, Option<String>) {
    let state = Arc::new(StateFolder::open(folder).unwrap());
    let identity = Identity::load(&state).unwrap().0;
    let (audit, problem) = Audit::open(&identity, &state).unwrap();
    (audit, identity, problem)
}

fn entries(audit: &Audit, identity: &Identity) -> Vec<Entry> {
    let (log, head) = audit.read(1, usize::MAX).unwrap();
    let (entries, end) = verify(identity.device(), &log).unwrap();
    assert_eq!(end, head);
    entries
}

fn texts(audit: &Audit, identity: &Identity) -> Vec<String> {
    entries(audit, identity).into_iter().map(|entry| entry.text).collect()
}

fn call(method: &str, body: &str) -> Ask {
    Ask::Call {
        to: None,
        module: Some("w/m".into()),
        method: method.into(),
        body: body.into(),
        deadline_ms: 1,
    }
}

#[test]
fn what_was_recorded_is_there_after_a_restart_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    let by = PublicKey::from_bytes([3; 32]);
    audit.asked(Way::Lan, &[by], &call("reset", r#"{"password":"secret"}"#));
    audit.asked(Way::Local, &[], &Ask::Status);
    drop(audit);
    let (audit, identity, problem) = {
        drop(identity);
        open(folder.path())
    };
    assert_eq!(problem, None);
    let all = entries(&audit, &identity);
    let said: Vec<_> = all.iter().map(|e| (e.act, e.way, e.by.as_slice(), e.text.as_str())).collect();
    let started = (Act::Started, Way::Own, [].as_slice(), concat!("wayside ", env!("CARGO_PKG_VERSION")));
    assert_eq!(said, [started, (Act::Call, Way::Lan, &[by], "reset of w/m, with 21 bytes"), started]);
}

#[test]
fn the_log_is_bounded_and_what_is_left_of_it_still_proves_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    for number in 0..100 {
        audit.asked(Way::Lan, &[], &call(&format!("m{number}"), ""));
    }
    let all = entries(&audit, &identity);
    assert_eq!(audit.read(1, 1).unwrap().1.seq, 101);
    assert!(all[0].seq > 1 && all.len() < 60 && all.last().unwrap().text == "m99 of w/m, with 0 bytes");
    let bytes: u64 = ["log", "log.old"]
        .map(|name| fs::metadata(folder.path().join("audit").join(name)).unwrap().len())
        .iter()
        .sum();
    assert!(bytes <= 8 << 10, "{bytes}");
    // In parts, and from a number on.
    let from = all[10].seq;
    let (part, head) = audit.read(from, 600).unwrap();
    let (some, end) = verify(identity.device(), &part).unwrap();
    assert!(some[0].seq == from && some.len() < 5 && end.seq < head.seq);
    assert_eq!(audit.read(102, 600).unwrap().0, Vec::<u8>::new());
}

#[test]
fn what_is_not_whole_at_the_end_is_cut_off_and_said_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit/log");
    let (audit, identity, _) = open(folder.path());
    audit.asked(Way::Lan, &[], &call("a", ""));
    drop((audit, identity));
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let cut = |bytes: usize| whole[..whole.len() - bytes].to_vec();
    let garbage = |tail: &[u8]| [whole.as_slice(), tail].concat();
    for (damaged, left) in [
        (cut(1), 1),
        (cut(100), 1),
        (changed, 1),
        (garbage(&[0xff; 10]), 2),
        (garbage(&[0; 64]), 2),
        (vec![0; 4096], 0),
    ] {
        fs::write(&path, &damaged).unwrap();
        let (audit, identity, problem) = open(folder.path());
        let problem = problem.expect("it is said");
        let all = texts(&audit, &identity);
        assert!(all.len() == left + 1 && all[left].contains("cut off"), "{all:?}");
        let saved = problem.split("saved as ").nth(1).unwrap();
        assert_eq!(fs::read(saved).unwrap(), damaged);
        drop((audit, identity));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_newer_half_without_one_good_entry_follows_the_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    for number in 0..40 {
        audit.asked(Way::Lan, &[], &call(&format!("m{number}"), ""));
    }
    drop((audit, identity));
    let older = fs::read(folder.path().join("audit/log.old")).unwrap();
    for damaged in [vec![0; 100], vec![0xff; 100], vec![0, 0, 1]] {
        fs::write(folder.path().join("audit/log.old"), &older).unwrap();
        fs::write(folder.path().join("audit/log"), &damaged).unwrap();
        let (audit, identity, problem) = open(folder.path());
        assert!(problem.unwrap().contains("were cut off"));
        // The chain goes on, and so it still proves itself.
        let all = texts(&audit, &identity);
        assert!(all.len() > 5 && all.last().unwrap().contains("cut off"), "{all:?}");
        drop((audit, identity));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_log_whose_older_half_is_damaged_is_still_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    for number in 0..40 {
        audit.asked(Way::Lan, &[], &call(&format!("m{number}"), ""));
    }
    fs::write(folder.path().join("audit/log.old"), vec![7; 500]).unwrap();
    assert_eq!(texts(&audit, &identity).last().unwrap(), "m39 of w/m, with 0 bytes");
    // Room for a file was not there when the newer one was moved.
    fs::remove_file(folder.path().join("audit/log")).unwrap();
    for number in 40..80 {
        audit.asked(Way::Lan, &[], &call(&format!("m{number}"), ""));
    }
    assert_eq!((audit.problem(), audit.read(1, 1).unwrap().1.seq), (None, 81));
}

#[test]
fn readers_and_refusals_do_not_fill_it() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    let logs = Ask::Logs { module: "w/m".into(), tail: 1, since_ms: 0 };
    for _ in 0..50 {
        audit.asked(Way::Lan, &[], &logs);
        audit.asked(Way::Lan, &[], &Ask::Audit { from: 1 });
        audit.refused(Way::Lan, "signed by a stranger");
    }
    assert_eq!(texts(&audit, &identity)[1..], ["w/m", "this log", "signed by a stranger"]);
}

#[test]
fn who_asks_is_recorded_and_not_whom_the_change_names() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    let bob = PublicKey::from_bytes([3; 32]);
    let alice = SigningKey::from_bytes(&[4; 32]);
    let fleet = wayside_config::fleet::Fleet::of_one(&alice).unwrap();
    let change = SecretChange {
        device: identity.device(),
        version: 7,
        secret: wayside_config::secret::SecretName { workload: None, secret: "token".into() },
        value: None,
    };
    let sealed = cosign::seal(&fleet.id(), &change, &alice).unwrap();
    audit.asked(Way::Lan, &[bob], &Ask::SetSecret { change: Sealed(sealed) });
    let last = entries(&audit, &identity).pop().unwrap();
    assert_eq!((last.act, last.by.as_slice()), (Act::Secret, [bob].as_slice()));
    assert!(last.text.contains("token removed, version 7"), "{}", last.text);
}

#[test]
fn what_a_cloud_brings_again_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    for _ in 0..50 {
        audit.twin_by_cloud(b"one");
        audit.twin_by_cloud(b"another");
    }
    assert_eq!(entries(&audit, &identity).len(), 3);
}

#[test]
fn a_fleet_is_recorded_when_it_is_new_and_a_change_of_a_twin_by_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    let fleet = FleetId::from_bytes([5; 32]);
    audit.fleet(Way::Own, Some((fleet, 1)));
    audit.fleet(Way::Lan, Some((fleet, 1)));
    audit.fleet(Way::Cloud, Some((fleet, 2)));
    audit.fleet(Way::Lan, None);
    audit.asked(Way::Lan, &[], &Ask::SetTwin { change: Sealed(vec![1, 2, 3]) });
    let change = TwinChange {
        device: identity.device(),
        name: None,
        module: "grid/pump".parse().unwrap(),
        life: 3,
        version: 8,
        patch: "{}".into(),
    };
    let sealed = cosign::seal(&fleet, &change, &SigningKey::from_bytes(&[7; 32])).unwrap();
    audit.asked(Way::Lan, &[], &Ask::SetTwin { change: Sealed(sealed) });
    let all = entries(&audit, &identity);
    let said: Vec<_> = all[1..].iter().map(|e| (e.act, e.way, e.text.clone())).collect();
    assert_eq!(
        said,
        [
            (Act::Fleet, Way::Cloud, format!("fleet {}, root 2", fleet.short())),
            (Act::Twin, Way::Lan, "a change that cannot be read".into()),
            (Act::Twin, Way::Lan, "grid/pump to version 8".into()),
        ]
    );
}

#[test]
fn what_cannot_be_written_is_counted_and_said_when_it_can_again() {
    let folder = tempfile::tempdir().unwrap();
    let (audit, identity, _) = open(folder.path());
    // A file that is open for reading only fails each write.
    let path = folder.path().join("audit/log");
    let good = audit.lock().log.replace_file(fs::File::open(&path).unwrap());
    audit.asked(Way::Lan, &[], &call("a", ""));
    audit.asked(Way::Lan, &[], &call("b", ""));
    let problem = audit.problem().unwrap();
    assert!(problem.contains("2 acts are not in it"), "{problem}");
    audit.lock().log.replace_file(good);
    audit.asked(Way::Lan, &[], &call("c", ""));
    assert_eq!(audit.problem(), None);
    let all = entries(&audit, &identity);
    let said: Vec<_> = all[1..].iter().map(|e| (e.act, e.text.as_str())).collect();
    assert!(
        matches!(said[..], [(Act::Lost, lost), (Act::Call, _)] if lost.starts_with("2 acts could not")),
        "{said:?}"
    );
}
