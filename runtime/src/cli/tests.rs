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
    document::{Assignment, Release, TwinChange},
    envelope::{Kind, claimed_signer, open},
    hash::sha256,
    identity::DeviceId,
    patch::patched,
};

use super::{Cli, Failure};
use crate::control::{
    Answer, Ask, ControlHandler, MessageLine, Neighbour, Sealed, Status, TwinView, Versions, bind, serve,
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
}

fn device() -> DeviceId {
    DeviceId::from_bytes([1; 32])
}

impl Fake {
    fn apply(&self, assignment: &Sealed, releases: &[Sealed]) -> Result<Answer, String> {
        let signer = [claimed_signer(&assignment.0).unwrap()];
        let (_, assignment) =
            open::<Assignment>(&assignment.0, Kind::Assignment, &signer).map_err(|e| e.to_string())?;
        assert_eq!(assignment.device, device());
        let mut held = self.held.lock().unwrap();
        held.releases.clear();
        for sealed in releases {
            let (_, release) =
                open::<Release>(&sealed.0, Kind::Release, &signer).map_err(|e| e.to_string())?;
            assert!(assignment.releases.iter().any(|named| named.sha256 == sha256(&sealed.0)));
            held.releases.push(release);
        }
        let version = assignment.version;
        held.assignment = Some(assignment);
        Ok(Answer::Applied { version })
    }

    fn set_twin(&self, change: &Sealed) -> Result<Answer, String> {
        let signer = [claimed_signer(&change.0).unwrap()];
        let (_, change) =
            open::<TwinChange>(&change.0, Kind::TwinChange, &signer).map_err(|e| e.to_string())?;
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
            operators: Vec::new(),
            cloud: None,
            mesh: Default::default(),
            store: None,
            mqtt: Default::default(),
            report,
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
            Ask::Versions => Ok(Answer::Versions(self.versions())),
            Ask::Apply { assignment, releases } => self.apply(&assignment, &releases),
            Ask::Logs { module, .. } => Err(format!("no module is named `{module}`")),
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
fn a_workload_comes_and_goes_on_the_device_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = Arc::new(Fake::default());
    let listener = runtime.block_on(async { bind(&folder.path().join("control.sock")).unwrap() });
    runtime.spawn(serve(listener, fake.clone()));
    let file = folder.path().join("compose.yaml");
    std::fs::write(&file, COMPOSE).unwrap();
    let file = file.to_str().unwrap();

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

#[test]
fn every_command_is_sound_and_has_examples() {
    Cli::command().debug_assert();
    for command in Cli::command().get_subcommands_mut() {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:"), "{help}");
    }
}
