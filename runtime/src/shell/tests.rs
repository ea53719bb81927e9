//! The device's actors with an engine that is watched and a store that has moods.

mod full;

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use wayside_actors::{
    device::{io, reconciler, router, wiring::Event},
    frame::Desired,
    queue::{Queue, StoreOp},
};
use wayside_config::{
    cosign,
    document::{Assignment, Member, Release, ReleaseRef},
    fleet::Fleet,
    hash::sha256,
    identity::DeviceId,
    workload::{Destination, ModuleSpec, Route, Target, Workload},
};
use wayside_host::{Clock, Host};
use wayside_mesh::lost::Lost;
use wayside_mesh::store::{Commit, Loaded, QueueStore, Restored, StoreError, StoreStats};

use super::{Adapters, Device, MqttPort, View};
use crate::{
    audit::Audit,
    desired,
    engine::{Engine, Settings},
    floors,
    secrets::Secrets,
    state::{Identity, StateFolder},
    trust::Trust,
};

/// Refuses so many commits for want of room, then takes them.
#[derive(Default)]
struct Moody {
    full: Mutex<u32>,
    taken: Mutex<Vec<StoreOp>>,
}

impl QueueStore for Moody {
    fn commit(&self, changes: Arc<Vec<StoreOp>>) -> Commit {
        let mut full = self.full.lock().unwrap();
        if let Some(left) = full.checked_sub(1) {
            *full = left;
            return Box::pin(async { Err(StoreError::Full { used_bytes: 2, max_bytes: 1 }) });
        }
        self.taken.lock().unwrap().extend(changes.iter().cloned());
        Box::pin(async { Ok(()) })
    }

    fn load(&self, queue: &Queue, _: u64, _: usize, _: usize) -> Result<Loaded, StoreError> {
        Err(StoreError::UnknownQueue(queue.to_string()))
    }

    fn restored(&self) -> Result<Restored, StoreError> {
        Ok(Restored::default())
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}

struct Fixture {
    device: Rc<Device>,
    store: Arc<Moody>,
    engine: mpsc::UnboundedReceiver<io::Engine>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    /// A device that boots with desired state on its disk and without any network.
    fn boot() -> Self {
        Self::boot_with(None)
    }

    /// And with an uplink that is watched, if any.
    fn boot_with(uplink: Option<mpsc::Sender<io::Uplink>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFolder::open(folder.path()).unwrap());
        let identity = Identity::load(&state).unwrap().0;
        let id = identity.device();
        desired::save(&state, &desired(id)).unwrap();
        let audit = Arc::new(Audit::open(&identity, &state).unwrap().0);
        let secrets = Arc::new(Secrets::load(&identity, folder.path(), Arc::clone(&state)).0);
        let settings = Settings {
            secrets,
            identity,
            name: "ewr".into(),
            mqtt_port: 1883,
            credentials: Arc::default(),
            state: folder.path().to_owned(),
            policy: Default::default(),
        };
        let (engine, commands) = Engine::taken(settings);
        let adapters = Adapters {
            device: id,
            seed: 1,
            mqtt: MqttPort::default(),
            calls: Arc::default(),
            twins: Arc::default(),
            name: "ewr".into(),
            blocking: Handle::current(),
            engine,
            mesh: None,
            uplink,
            lost: Lost::default(),
            audit,
            trust: Arc::new(Trust::load(id, None, None, None, Arc::clone(&state)).0),
            state,
            windows: Vec::new(),
            keep_unused_ms: 0,
            view: Arc::default(),
            sealed: Default::default(),
        };
        let (device, _) = Device::new(Host::new(Clock::start()), adapters);
        device.begin(None);
        let store = Arc::new(Moody::default());
        let opened: Arc<dyn QueueStore> = store.clone();
        device.open(opened, 7);
        Self { device, store, engine: commands, _folder: folder }
    }

    fn view(&self) -> &View {
        &self.device.adapters().view
    }

    async fn command(&mut self) -> io::Engine {
        timeout(Duration::from_secs(5), self.engine.recv()).await.unwrap().unwrap()
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(5), waiting).await.unwrap();
    }
}

fn desired(device: DeviceId) -> Desired {
    let operator = SigningKey::from_bytes(&[5; 32]);
    let module = ModuleSpec { image: "sensor:1".into(), ..Default::default() };
    let route = Route { buffer_bytes: 1 << 20, ..Route::new("out", "sensor", "#", Destination::Cloud) };
    let workload = Workload {
        name: "w".into(),
        target: Target::default(),
        modules: BTreeMap::from([("sensor".into(), module)]),
        leaves: Default::default(),
        twins: Default::default(),
        update: Default::default(),
        priority: Workload::PRIORITY,
        routes: vec![route],
    };
    let fleet = Fleet::of_one(&operator).unwrap();
    let release = Release { version: 1, issued_ms: 0, expires_ms: None, workload };
    let release = cosign::seal(&fleet.id(), &release, &operator).unwrap();
    let members = vec![Member { device, name: "ewr".into(), labels: BTreeMap::new() }];
    let reference = ReleaseRef { workload: "w".into(), version: 1, sha256: sha256(&release), members };
    let assignment = Assignment { device, version: 3, releases: vec![reference] };
    let assignment = cosign::seal(&fleet.id(), &assignment, &operator).unwrap();
    let roots = fleet.roots().iter().cloned().map(Into::into).collect();
    Desired { roots, revocation: None, assignment: assignment.into(), releases: vec![release.into()] }
}

/// A message that the route `w/out` takes.
fn published() -> Event {
    Event::Router(router::Event::Published {
        ticket: 1,
        module: "w/sensor".parse().unwrap(),
        topic: "t".into(),
        properties: Default::default(),
        payload: "x".into(),
        wall_ms: 1,
        packet_id: None,
    })
}

fn on_actix<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    actix::System::new().block_on(async { test().await });
}

#[test]
fn a_device_without_a_network_starts_its_modules() {
    on_actix(|| async {
        let mut fixture = Fixture::boot();
        let (workload, images) = ("w".to_owned(), vec!["sensor:1".to_owned()]);
        let look = io::Engine::Look { workload: workload.clone(), images: images.clone() };
        assert_eq!((fixture.command().await, fixture.command().await), (look, io::Engine::List));
        assert_eq!(fixture.view().held().borrow().version, 3);
        // Of what was taken before there were versions of their own, too.
        let state = &fixture.device.adapters().state;
        assert_eq!(floors::load(state).0.assignment(), 3);
        let observed = reconciler::Event::Observed { additions: String::new(), containers: Vec::new() };
        let found = Ok(reconciler::Images { missing: Vec::new(), disk: None });
        let looked = reconciler::Event::Looked { workload, images, found };
        fixture.device.send(Event::Reconciler(looked), 0).await;
        fixture.device.send(Event::Reconciler(observed), 0).await;
        let created = fixture.command().await;
        assert!(
            matches!(&created, io::Engine::Create { spec, .. } if spec.image == "sensor:1"),
            "{created:?}"
        );
    });
}

#[test]
fn a_full_store_waits_and_says_so_and_loses_nothing() {
    on_actix(|| async {
        let fixture = Fixture::boot();
        let mut tap = fixture.view().tap();
        *fixture.store.full.lock().unwrap() = 3;
        // The router has its routes when the reconciler has read the disk.
        fixture.until(|fixture| fixture.view().held().borrow().version == 3).await;
        fixture.device.send(published(), 1).await;
        fixture
            .until(|fixture| {
                let problems = fixture.view().report().problems.unwrap_or_default();
                problems.iter().any(|problem| problem.contains("the queues hold 2 bytes"))
            })
            .await;
        assert!(tap.recv().now_or_never().is_none());
        let tapped = timeout(Duration::from_secs(5), tap.recv()).await.unwrap().unwrap();
        assert_eq!((tapped.route.as_str(), tapped.seq), ("w/out", 1));
        assert_eq!(fixture.store.taken.lock().unwrap().len(), 1);
    });
}
