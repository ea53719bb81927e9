//! A device that gets secrets, and its modules.

use std::fs;

use tempfile::TempDir;
use wayside_config::{cosign, fleet::Fleet, limits::VERSION_MAX};

use super::*;

struct Device {
    state: Arc<StateFolder>,
    identity: Identity,
    operator: SigningKey,
    memory: TempDir,
    secrets: Secrets,
    _disk: TempDir,
}

fn name(workload: Option<&str>, secret: &str) -> SecretName {
    SecretName { workload: workload.map(Into::into), secret: secret.into() }
}

fn mount(secret: &str) -> SecretMount {
    SecretMount { secret: secret.into(), file: secret.into(), uid: None, gid: None, mode: 0o444 }
}

impl Device {
    fn new() -> Self {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let state = Arc::new(StateFolder::open(disk.path()).unwrap());
        let identity = Identity::load(&state).unwrap().0;
        let (secrets, problem) = Secrets::load(&identity, memory.path(), Arc::clone(&state));
        assert_eq!(problem, None);
        Self { state, identity, operator: SigningKey::from_bytes(&[7; 32]), memory, secrets, _disk: disk }
    }

    fn restart(&mut self) -> Option<String> {
        let (secrets, problem) = Secrets::load(&self.identity, self.memory.path(), Arc::clone(&self.state));
        self.secrets = secrets;
        problem
    }

    fn fleet(&self) -> Fleet {
        Fleet::of_one(&self.operator).unwrap()
    }

    fn change(&self, secret: SecretName, version: u64, value: Option<&str>) -> (Bytes, SecretChange) {
        let mut change = SecretChange { device: self.identity.device(), version, secret, value: None };
        let binding = change.binding(&self.fleet().id());
        change.value = value.map(|value| seal(value.as_bytes(), &change.device, &binding).unwrap());
        let sealed = cosign::seal(&self.fleet().id(), &change, &self.operator).unwrap();
        (sealed.into(), change)
    }

    fn set(&self, secret: &str, version: u64, value: Option<&str>) -> Result<(), SecretError> {
        let (sealed, change) = self.change(name(None, secret), version, value);
        self.secrets.take(sealed, change, self.fleet().id())
    }

    fn file(&self, module: &ModuleId, file: &str) -> Option<String> {
        fs::read_to_string(self.secrets.place.folder(module).join(file)).ok()
    }
}

fn sensor() -> ModuleId {
    "grid/sensor".parse().unwrap()
}

#[test]
fn a_module_has_its_secrets_and_a_new_value_without_being_made_anew() {
    let device = Device::new();
    device.set("token", 1, Some("one")).unwrap();
    let folder = device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    assert_eq!(fs::read_to_string(folder.join("token")).unwrap(), "one");
    device.set("token", 2, Some("two")).unwrap();
    assert_eq!(device.file(&sensor(), "token").as_deref(), Some("two"));
    assert_eq!(device.secrets.problems(), [] as [&str; 0]);
    device.set("token", 3, None).unwrap();
    assert_eq!(device.file(&sensor(), "token"), None);
    assert!(
        device.secrets.problems()[0].starts_with("grid/sensor has the secret `token`, which was not set")
    );
    assert!(matches!(device.set("token", 4, None), Err(SecretError::Unknown(_))));
}

#[test]
fn that_of_a_workload_comes_before_that_of_all() {
    let device = Device::new();
    device.set("token", 1, Some("for all")).unwrap();
    let (sealed, change) = device.change(name(Some("grid"), "token"), 2, Some("for grid"));
    device.secrets.take(sealed, change, device.fleet().id()).unwrap();
    let other: ModuleId = "other/sensor".parse().unwrap();
    for (module, value) in [(&sensor(), "for grid"), (&other, "for all")] {
        device.secrets.prepare(module, &[mount("token")]).unwrap();
        assert_eq!(device.file(module, "token").as_deref(), Some(value));
    }
}

#[test]
fn who_lacks_a_secret_is_held_back_until_it_comes_and_no_other() {
    let device = Device::new();
    let refused = device.secrets.prepare(&sensor(), &[mount("token")]).unwrap_err();
    assert!(refused.contains("`token`") && refused.contains("`wayside secret set token"), "{refused}");
    assert!(device.secrets.prepare(&"grid/other".parse().unwrap(), &[]).is_ok());
    assert_eq!(device.secrets.freed(), []);
    let changes = device.secrets.changes();
    device.set("token", 1, Some("one")).unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(device.secrets.freed(), [sensor()]);
    assert_eq!(device.secrets.freed(), []);
}

#[test]
fn secrets_are_there_after_a_restart_of_the_machine_before_any_container_is_started() {
    let mut device = Device::new();
    device.set("token", 1, Some("one")).unwrap();
    device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    fs::remove_dir_all(device.secrets.place.folder(&sensor())).unwrap();
    assert_eq!(device.restart(), None);
    device.secrets.listed(vec![(sensor(), vec![mount("token")])], device.secrets.count());
    assert_eq!(device.file(&sensor(), "token").as_deref(), Some("one"));
    // Gone with the container, but not by a list that is older than the container.
    device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    let begun = device.secrets.count();
    for _ in 0..2 {
        device.secrets.listed(vec![], begun);
        assert!(device.file(&sensor(), "token").is_some());
        device.secrets.made(&sensor());
    }
    device.secrets.listed(vec![], device.secrets.count());
    assert_eq!(device.file(&sensor(), "token"), None);
}

#[test]
fn an_older_value_is_never_taken_again() {
    let mut device = Device::new();
    let old = device.change(name(None, "token"), 1, Some("old"));
    device.secrets.take(old.0.clone(), old.1.clone(), device.fleet().id()).unwrap();
    device.set("token", 5, Some("new")).unwrap();
    let again = |device: &Device| device.secrets.take(old.0.clone(), old.1.clone(), device.fleet().id());
    assert!(matches!(again(&device), Err(SecretError::Older(1, 5))));
    device.set("token", 6, None).unwrap();
    assert!(matches!(again(&device), Err(SecretError::Older(1, 6))));
    device.restart();
    assert!(matches!(again(&device), Err(SecretError::Older(1, 6))));
    // Nor when the file with the values is damaged.
    fs::write(device.state.path().join("secrets"), "x").unwrap();
    assert!(device.restart().unwrap().contains("set this device's secrets again"));
    assert!(matches!(again(&device), Err(SecretError::Older(1, 6))));
}

#[test]
fn a_value_of_another_device_secret_version_or_fleet_does_not_open() {
    let device = Device::new();
    let take = |change: SecretChange, fleet: FleetId| device.secrets.take(Bytes::new(), change, fleet);
    let (_, change) = device.change(name(None, "token"), 1, Some("one"));
    let ours = device.fleet().id();
    let other = SigningKey::from_bytes(&[9; 32]);
    let another = DeviceId::from_bytes(other.verifying_key().to_bytes());
    for moved in [
        SecretChange { version: 2, ..change.clone() },
        SecretChange { secret: name(None, "other"), ..change.clone() },
        SecretChange { secret: name(Some("grid"), "token"), ..change.clone() },
        SecretChange { device: another, ..change.clone() },
    ] {
        assert!(matches!(take(moved, ours), Err(SecretError::Closed)));
    }
    assert!(matches!(take(change.clone(), FleetId::from_bytes([1; 32])), Err(SecretError::Closed)));
    assert!(take(change, ours).is_ok());
    assert!(device.set("last", VERSION_MAX, Some("x")).is_ok());
}

#[test]
fn what_is_wiped_leaves_none_of_them() {
    let mut device = Device::new();
    device.set("token", 1, Some("hunter2")).unwrap();
    device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    device.secrets.wipe().unwrap();
    assert_eq!(device.file(&sensor(), "token"), None);
    device.restart();
    assert_eq!(device.secrets.list(), (1, vec![]));
    assert!(device.secrets.prepare(&sensor(), &[mount("token")]).is_err());
}

#[test]
fn what_is_to_go_is_tried_again_until_the_disk_takes_it() {
    let mut device = Device::new();
    device.set("token", 1, Some("hunter2")).unwrap();
    // A folder in the place where the file is written aside.
    let aside = device.state.path().join("secrets.new");
    fs::create_dir(&aside).unwrap();
    assert!(device.secrets.wipe().is_err());
    assert!(device.secrets.wipe().is_err(), "it is given up while the disk has it");
    fs::remove_dir(&aside).unwrap();
    device.secrets.wipe().unwrap();
    device.restart();
    assert_eq!(device.secrets.list(), (1, vec![]));
}

#[test]
fn the_operators_of_another_fleet_get_nothing_of_what_those_before_set() {
    let mut device = Device::new();
    device.set("token", 1, Some("hunter2")).unwrap();
    device.secrets.only_of(device.fleet().id()).unwrap();
    assert_eq!(device.secrets.list().1.len(), 1);
    device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    device.secrets.only_of(FleetId::from_bytes([1; 32])).unwrap();
    assert_eq!(device.file(&sensor(), "token"), None);
    device.restart();
    // The numbering goes on.
    assert_eq!(device.secrets.list(), (1, vec![]));
    assert!(device.secrets.prepare(&sensor(), &[mount("token")]).is_err());
}

#[test]
fn no_file_on_the_disk_and_no_debug_form_has_a_value() {
    let device = Device::new();
    let value = "hunter2-hunter2-hunter2";
    device.set("token", 1, Some(value)).unwrap();
    device.secrets.prepare(&sensor(), &[mount("token")]).unwrap();
    let (mut folders, mut files) = (vec![device.state.path().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 0);
    // One after the other, for both take the lock.
    let shown = [format!("{:?}", device.secrets), format!("{:?}", device.secrets.lock())].concat();
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let device = Device::new();
    let mut inner = device.secrets.lock();
    for n in 0..SECRETS {
        let (sealed, change) = device.change(name(None, &format!("s{n}")), 1, Some("x"));
        inner.kept.held.insert(change.secret.clone(), Held::new(sealed, change, device.fleet().id()));
    }
    drop(inner);
    assert!(matches!(device.set("more", 2, Some("x")), Err(SecretError::TooMany)));
    assert!(device.set("s0", 3, Some("y")).is_ok());
}
