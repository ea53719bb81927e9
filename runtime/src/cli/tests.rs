//! Commands against a device that is only its control socket.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use clap::{CommandFactory, Parser};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use wayside_actors::{
    device::{
        calls::{Failed as Missed, Why},
        twins::{Side, Twin},
    },
    report::{ModuleState, ModuleStatus, Report},
};
use wayside_config::{
    cosign,
    document::{Assignment, Release, Revocation, TwinChange},
    fleet::Fleet,
    hash::sha256,
    identity::DeviceId,
    patch::patched,
};

use super::{Cli, Failure, fleet_file::FleetFile, operator::KeyFile};
use crate::control::{
    Answer, Ask, ControlHandler, InLobby, MessageLine, Neighbour, Present, Sealed, Status, TwinView,
    Versions, bind, serve,
};

const COMPOSE: &str = "
name: grid
services:
  sensor: { image: sensor:1 }
x-wayside: { target: { devices: [ewr] } }
";

/// Takes every well-signed assignment, and says that all its modules run.
#[derive(Default)]
struct Fake {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    assignment: Option<Assignment>,
    releases: Vec<Release>,
    twin: Option<Twin>,
    fleet: Option<Fleet>,
    grant: Option<Sealed>,
}

fn device() -> DeviceId {
    DeviceId::from_bytes([1; 32])
}

impl Fake {
    fn apply(&self, roots: &[Sealed], assignment: &Sealed, releases: &[Sealed]) -> Result<Answer, String> {
        let roots: Vec<&[u8]> = roots.iter().map(|root| root.0.as_slice()).collect();
        let fleet = Fleet::open(&roots).map_err(|error| error.to_string())?;
        let (_, assignment) = fleet.verify::<Assignment>(&assignment.0).map_err(|error| error.to_string())?;
        assert_eq!(assignment.device, device());
        let mut held = self.held.lock().unwrap();
        held.releases.clear();
        for sealed in releases {
            let (_, release) = fleet.verify::<Release>(&sealed.0).map_err(|error| error.to_string())?;
            assert!(assignment.releases.iter().any(|named| named.sha256 == sha256(&sealed.0)));
            held.releases.push(release);
        }
        let version = assignment.version;
        held.assignment = Some(assignment);
        held.fleet = Some(fleet);
        Ok(Answer::Applied { version })
    }

    fn set_twin(&self, change: &Sealed) -> Result<Answer, String> {
        let fleet = self.held.lock().unwrap().fleet.clone().unwrap();
        let (_, change) = fleet.verify::<TwinChange>(&change.0).map_err(|error| error.to_string())?;
        assert_eq!((change.device, change.life), (device(), 7));
        let mut held = self.held.lock().unwrap();
        let twin = held.twin.get_or_insert_with(|| Twin::new(7));
        assert_eq!(change.version, twin.desired.version + 1);
        let properties = patched(&twin.desired.properties, change.patch.as_bytes()).unwrap();
        twin.desired = Side { version: change.version, properties };
        Ok(Answer::Twin(TwinView::new(&change.module, twin)))
    }

    fn status(&self) -> Status {
        let held = self.held.lock().unwrap();
        let mut report = Report { full: true, ..Report::default() };
        for release in &held.releases {
            for (name, spec) in &release.workload.modules {
                let module = ModuleStatus {
                    state: ModuleState::Running,
                    image: spec.image.clone(),
                    restarts: 0,
                    exit_code: None,
                    problem: String::new(),
                    health: None,
                    output: String::new(),
                };
                report.modules.insert(format!("{}/{name}", release.workload.name), module);
            }
        }
        Status {
            device: device(),
            name: "ewr".into(),
            labels: Default::default(),
            version: "0.1.0".into(),
            uptime_ms: 0,
            fleet: None,
            cloud: None,
            mesh: Default::default(),
            store: None,
            mqtt: Default::default(),
            copies: Default::default(),
            locks: Vec::new(),
            report,
        }
    }

    fn present(&self) -> Present {
        Present {
            device: device(),
            name: "ewr".into(),
            labels: Default::default(),
            fleet: None,
            root: 0,
            revocation: 0,
            grant: self.held.lock().unwrap().grant.clone(),
            door: None,
            mesh: Vec::new(),
            is_cloned: false,
        }
    }

    fn versions(&self) -> Versions {
        let held = self.held.lock().unwrap();
        let assignment = held.assignment.as_ref();
        Versions {
            device: device(),
            name: "ewr".into(),
            labels: Default::default(),
            assignment: assignment.map_or(0, |assignment| assignment.version),
            releases: assignment.map(|assignment| assignment.releases.clone()).unwrap_or_default(),
            highest_assignment: 0,
            highest: Default::default(),
            away: Vec::new(),
        }
    }
}

impl ControlHandler for Fake {
    fn answer(&self, ask: Ask) -> BoxFuture<'static, Result<Answer, String>> {
        let answer = match ask {
            Ask::Status => Ok(Answer::Status(Box::new(self.status()))),
            Ask::Devices => {
                Ok(Answer::Devices { devices: vec![Neighbour { device: device(), name: "ewr".into() }] })
            }
            Ask::Lobby => Ok(Answer::Lobby(InLobby { own: Box::new(self.present()), devices: Vec::new() })),
            Ask::Admit { grants, .. } => {
                let own = grants.into_iter().next();
                self.held.lock().unwrap().grant.clone_from(&own);
                Ok(Answer::Admitted { version: own.map(|_| 1) })
            }
            Ask::Versions => Ok(Answer::Versions(self.versions())),
            Ask::Apply { roots, assignment, releases, .. } => self.apply(&roots, &assignment, &releases),
            Ask::Keep { .. } => Ok(Answer::Kept { refused: Default::default() }),
            Ask::Logs { module, .. } | Ask::PreviousLogs { module, .. } => {
                Err(format!("no module is named `{module}`"))
            }
            Ask::Call { module: None, body, .. } => {
                let outcome = Ok(body.into_bytes().into());
                Ok(Answer::Called { outcome: crate::control::Called::from(outcome) })
            }
            Ask::Call { module: Some(module), .. } => {
                let reason = format!("{module} is slow").into();
                let outcome = Err(Missed { why: Why::Deadline, reason });
                Ok(Answer::Called { outcome: crate::control::Called::from(outcome) })
            }
            Ask::Twin { module, .. } => {
                let module = module.parse().unwrap();
                let twin = self.held.lock().unwrap().twin.clone().unwrap_or_else(|| Twin::new(7));
                Ok(Answer::Twin(TwinView::new(&module, &twin)))
            }
            Ask::SetTwin { change } => self.set_twin(&change),
            Ask::Rules => Ok(Answer::Rules { rules: Vec::new() }),
            Ask::Secrets | Ask::SetSecret { .. } => Err("no secrets".into()),
            Ask::Audit { .. } => Err("no log".into()),
            Ask::Lock { .. } | Ask::Unlock { .. } => Err("not here".into()),
            Ask::Messages => Err("a stream".into()),
        };
        Box::pin(async move { answer })
    }

    fn messages(&self) -> mpsc::Receiver<MessageLine> {
        mpsc::channel(1).1
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let key = folder.join("operator.key");
    let (state, key) = (folder.to_str().unwrap(), key.to_str().unwrap());
    let line = [&["wayside"], arguments, &["--state", state, "--operator-key", key]].concat();
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).run()
}

fn failed(result: Result<(), Failure>, with: &str) {
    assert!(matches!(&result, Err(Failure::Failed(text)) if text.contains(with)), "{result:?}");
}

#[test]
fn every_command_has_help_with_examples() {
    for command in Cli::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(
            help.contains("Examples:\n  wayside "),
            "no example in the help of {}:\n{help}",
            command.get_name()
        );
    }
}

#[test]
fn a_workload_comes_and_goes_on_the_device_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = Arc::new(Fake::default());
    let listener = runtime.block_on(async { bind(&folder.path().join("control.sock")).unwrap() });
    runtime.spawn(serve(listener, fake.clone()));
    let file = folder.path().join("compose.yaml");
    std::fs::write(&file, COMPOSE).unwrap();
    let file = file.to_str().unwrap();

    failed(run(folder.path(), &["apply", file]), "there is no operator's key");
    by(folder.path(), "operator", &["key"]).unwrap();
    run(folder.path(), &["apply", file]).unwrap();
    run(folder.path(), &["apply", file, "--json", "--device", "ewr"]).unwrap();
    let held = fake.versions();
    assert_eq!((held.assignment, held.releases[0].version), (2, 2));
    assert_eq!(held.releases[0].members[0].name, "ewr");
    run(folder.path(), &["status"]).unwrap();
    run(folder.path(), &["devices", "--json"]).unwrap();
    failed(run(folder.path(), &["status", "jfk"]), "no device jfk");
    failed(run(folder.path(), &["logs", "ewr/lamp"]), "`lamp`");
    run(folder.path(), &["call", "ewr", "ping"]).unwrap();
    failed(run(folder.path(), &["call", "ewr/sensor", "measure", "--json"]), "sensor is slow");
    run(folder.path(), &["twin", "ewr/grid/sensor"]).unwrap();
    run(folder.path(), &["twin", "set", "ewr/grid/sensor", r#"{"interval_ms": 500}"#]).unwrap();
    run(folder.path(), &["twin", "set", "ewr/grid/sensor", r#"{"depth": 2}"#, "--json"]).unwrap();
    let twin = fake.held.lock().unwrap().twin.clone().unwrap();
    assert_eq!(
        (twin.desired.version, twin.desired.properties.as_str()),
        (2, r#"{"depth":2,"interval_ms":500}"#)
    );
    assert!(matches!(run(folder.path(), &["twin", "set", "ewr/grid/sensor", "[]"]), Err(Failure::Usage(_))));
    assert!(matches!(run(folder.path(), &["call", "ewr", "ping", "{"]), Err(Failure::Usage(_))));
    run(folder.path(), &["remove", "grid"]).unwrap();
    assert_eq!(fake.versions().releases, []);
    failed(run(folder.path(), &["remove", "grid"]), "no device here runs grid");

    std::fs::write(file, COMPOSE.replace("[ewr]", "[jfk]")).unwrap();
    failed(run(folder.path(), &["apply", file]), "no device here is a target");
    std::fs::write(file, COMPOSE.replace("image", "imge")).unwrap();
    assert!(matches!(run(folder.path(), &["apply", file]), Err(Failure::File(_))));
    assert!(matches!(run(folder.path(), &["apply", file, "--json"]), Err(Failure::Told)));
    assert_eq!(fake.versions().assignment, 3, "what was refused changed nothing");
}

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    key: KeyFile,
}

/// A command of the operator `name`, whose key and fleet lie in `folder`.
fn by(folder: &Path, name: &str, arguments: &[&str]) -> Result<(), Failure> {
    let key = folder.join(format!("{name}.key"));
    let line = [&["wayside"], arguments, &["--operator-key", key.to_str().unwrap()]].concat();
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).run()
}

#[test]
fn several_operators_begin_a_fleet_sign_together_and_put_one_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let operator =
        |name: &str| Only::parse_from(["x", "--operator-key", &path(&format!("{name}.key"))]).key.operator();
    let key = |name: &str| operator(name).map(|operator| operator.signer.key()).unwrap().to_string();
    ["anna", "ben", "caro"].iter().for_each(|name| by(folder.path(), name, &["key"]).unwrap());
    let (anna, ben) = (key("anna"), key("ben"));
    let (annas, bens) = (path("anna.fleet"), path("ben.fleet"));
    by(folder.path(), "anna", &["fleet", "init", "--key", &ben, "--threshold", "2"]).unwrap();
    failed(by(folder.path(), "anna", &["fleet"]), "1 of 2 signatures");
    assert!(matches!(by(folder.path(), "anna", &["verify", &annas]), Err(Failure::Told)));
    by(folder.path(), "ben", &["sign", &annas]).unwrap();
    failed(by(folder.path(), "ben", &["sign", &annas]), "nothing that your signature is missing on");
    by(folder.path(), "anna", &["verify", &annas]).unwrap();
    std::fs::copy(&annas, &bens).unwrap();
    assert_eq!(operator("anna").unwrap().fleet, operator("ben").unwrap().fleet);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = Arc::new(Fake::default());
    let listener = runtime.block_on(async { bind(&folder.path().join("control.sock")).unwrap() });
    runtime.spawn(serve(listener, fake.clone()));
    let (compose, release, state) = (path("compose.yaml"), path("grid.release"), path(""));
    std::fs::write(&compose, COMPOSE).unwrap();
    let apply = |name: &str, arguments: &[&str]| {
        by(folder.path(), name, &[&["apply", "--state", &state], arguments].concat())
    };
    failed(apply("anna", &[&compose]), "1 of 2 signatures");
    apply("anna", &[&compose, "--out", &release, "--expires", "90"]).unwrap();
    failed(apply("anna", &[&release]), "wayside sign FILE");
    assert!(matches!(by(folder.path(), "ben", &["verify", &release]), Err(Failure::Told)));
    by(folder.path(), "ben", &["sign", &release]).unwrap();
    by(folder.path(), "ben", &["verify", &release, "--json"]).unwrap();
    apply("ben", &[&release]).unwrap();
    assert_eq!(fake.versions().assignment, 1);
    assert!(fake.held.lock().unwrap().releases[0].expires_ms.is_some());

    // Of a fleet that is not theirs nobody signs anything.
    failed(by(folder.path(), "caro", &["sign", &release]), "no document of your fleet");
    by(folder.path(), "anna", &["revoke", "--release", &release]).unwrap();
    assert_eq!(operator("anna").unwrap().revocation, None);
    by(folder.path(), "ben", &["sign", &annas]).unwrap();
    assert!(operator("anna").unwrap().revocation.is_some());
    // One key alone from now on: with both signatures, and not before.
    by(folder.path(), "anna", &["rotate", "--remove", &ben, "--threshold", "1"]).unwrap();
    assert_eq!(operator("anna").unwrap().fleet.root().version, 1);
    by(folder.path(), "ben", &["sign", &annas]).unwrap();
    let after = operator("anna").unwrap();
    assert_eq!((after.fleet.root().version, after.fleet.id()), (2, operator("ben").unwrap().fleet.id()));
    assert_eq!(after.fleet.root().roles.release.keys()[0].to_string(), anna);
    // What is revoked was signed anew with the root.
    assert!(after.revocation.is_some());
    apply("anna", &[&compose]).unwrap();
    assert!(matches!(by(folder.path(), "anna", &["rotate"]), Err(Failure::Usage(_))));
}

#[test]
fn a_list_that_others_still_have_to_sign_takes_nothing_from_the_one_before_and_no_rotation_loses_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let operator =
        |name: &str| Only::parse_from(["x", "--operator-key", &path(&format!("{name}.key"))]).key.operator();
    let device = |byte: u8| DeviceId::from_bytes([byte; 32]);
    let list = |sealed: &[u8]| cosign::peek::<Revocation>(sealed).unwrap().devices;
    let file = || FleetFile::read(&folder.path().join("anna.fleet")).unwrap().unwrap();
    let revoke = |byte: u8| by(folder.path(), "anna", &["revoke", "--device", &device(byte).to_string()]);
    ["anna", "ben"].iter().for_each(|name| by(folder.path(), name, &["key"]).unwrap());
    let ben = operator("ben").unwrap().signer.key().to_string();
    by(folder.path(), "anna", &["fleet", "init", "--key", &ben, "--threshold", "2"]).unwrap();
    by(folder.path(), "ben", &["sign", &path("anna.fleet")]).unwrap();
    revoke(1).unwrap();
    by(folder.path(), "ben", &["sign", &path("anna.fleet")]).unwrap();
    for (byte, all) in [(2, vec![device(1), device(2)]), (3, vec![device(1), device(2), device(3)])] {
        revoke(byte).unwrap();
        assert_eq!(list(&operator("anna").unwrap().revocation.unwrap()), [device(1)]);
        assert_eq!(list(&file().revocation.unwrap()), all);
    }
    by(folder.path(), "anna", &["rotate", "--expires", "90"]).unwrap();
    assert_eq!(list(&operator("anna").unwrap().revocation.unwrap()), [device(1)]);
    assert_eq!(list(&file().revocation.unwrap()).len(), 3);
    by(folder.path(), "ben", &["sign", &path("anna.fleet")]).unwrap();
    let after = operator("anna").unwrap();
    assert_eq!((after.fleet.root().version, list(&after.revocation.unwrap()).len()), (2, 3));
}

#[test]
fn every_command_is_sound_and_has_examples() {
    Cli::command().debug_assert();
    for command in Cli::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{help}");
    }
}
