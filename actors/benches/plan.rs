//! What a new version of a workload of 50 modules costs a device, in which one module has changed: from the sealed bytes
//! through every signature and check to the requests to the engine. No disk and no engine.
//!
//! `cargo bench-all plan_50_modules_ms` runs it. Prints one JSON object: milliseconds, the median of several rounds, and
//! microseconds of a look at the engine's list in which nothing has changed, with 50 modules and with 5.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use wayside_actors::{
    device::reconciler::{Assigner, Effect, Event, Floors, Images, Life, Observed, Reconciler},
    frame::Desired,
    machine::{Effects, Machine, Step},
    time::Time,
};
use wayside_config::{
    cosign,
    document::{Assignment, Member, Release, ReleaseRef},
    fleet::Fleet,
    hash::sha256,
    identity::DeviceId,
    workload::{ModuleId, ModuleSpec, PortMapping, VolumeMount, Workload},
};

const ROUNDS: usize = 21;
const MODULES: usize = 50;
const ADDITIONS: &str = "wayside-net 172.18.0.1:1883 ewr";
const ME: DeviceId = DeviceId::from_bytes([1; 32]);

fn spec(number: usize, version: u64) -> ModuleSpec {
    let environment = (0..10).map(|at| (format!("SETTING_{at}"), format!("value {at} of module {number}")));
    ModuleSpec {
        image: format!("registry.example/plant/module-{number}:{}", if number == 7 { version } else { 1 }),
        command: Some(vec!["/bin/module".into(), "--number".into(), number.to_string()]),
        environment: environment.collect(),
        labels: [("plant".into(), "p7".into())].into(),
        memory_bytes: Some(64 << 20),
        volumes: vec![VolumeMount { volume: "data".into(), path: "/data".into(), read_only: false }],
        ports: vec![PortMapping { host_ip: None, host_port: 8000, container_port: 80, udp: false }],
        ..ModuleSpec::default()
    }
}

/// A sealed desired state of one workload, as the wire brings it.
fn desired(key: &SigningKey, fleet: &Fleet, modules: usize, version: u64) -> Desired {
    let workload = Workload {
        name: "plant".into(),
        target: Default::default(),
        modules: (0..modules).map(|number| (format!("module-{number}"), spec(number, version))).collect(),
        leaves: BTreeMap::new(),
        routes: Vec::new(),
        twins: BTreeMap::new(),
        update: Default::default(),
        priority: Workload::PRIORITY,
    };
    let release = Release { version, issued_ms: 1, expires_ms: None, workload };
    let release = cosign::seal(&fleet.id(), &release, key).expect("it is signed");
    let members = vec![Member { device: ME, name: "ewr".into(), labels: BTreeMap::new() }];
    let reference = ReleaseRef { workload: "plant".into(), version, sha256: sha256(&release), members };
    let assignment = Assignment { device: ME, version, releases: vec![reference] };
    let assignment = cosign::seal(&fleet.id(), &assignment, key).expect("it is signed");
    Desired {
        roots: fleet.roots().iter().map(|root| Bytes::copy_from_slice(root)).collect(),
        revocation: None,
        assignment: assignment.into(),
        releases: vec![release.into()],
    }
}

/// Every signature, as a device asks for them.
fn verified(desired: &Desired) -> Event {
    let fleet = Fleet::open(&desired.roots).expect("a good chain");
    let (_, assignment) = fleet.verify::<Assignment>(&desired.assignment).expect("a good assignment");
    let releases: Vec<Release> =
        desired.releases.iter().map(|release| fleet.verify(release).expect("a good release").1).collect();
    let (sealed, assignment) = (desired.clone(), Box::new(assignment));
    Event::Desired { sealed, assignment, releases, by: Assigner::Operator, restored: false }
}

/// A device and what its engine has.
struct Device {
    reconciler: Reconciler,
    containers: BTreeMap<ModuleId, Observed>,
}

impl Device {
    fn new() -> Self {
        let lives = BTreeMap::<String, Life>::new();
        Self { reconciler: Reconciler::new(ME, Floors::default(), lives), containers: BTreeMap::new() }
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Effects::new();
        self.reconciler.handle(Time::from_millis(1), event, &mut out);
        let does = |step| match step {
            Step::Do(effect) => Some(effect),
            Step::Persist(_) | Step::WakeAt(_) => None,
        };
        out.take().into_iter().filter_map(does).collect()
    }

    /// The engine has all images, and lists its containers. What is wanted then is there the next time.
    fn follow(&mut self, effects: Vec<Effect>) -> usize {
        // What one answer leads to is answered as well: the time of the day, for windows, and the images.
        let mut waiting = VecDeque::from(effects);
        while let Some(effect) = waiting.pop_front() {
            let answer = if let Effect::Look { workload, images } = effect {
                Event::Looked { workload, images, found: Ok(Images { missing: vec![], disk: None }) }
            } else if effect == Effect::AskTime {
                Event::Time { wall_ms: 1_700_000_000_000 }
            } else {
                continue;
            };
            waiting.extend(self.tell(answer));
        }
        self.list()
    }

    fn list(&mut self) -> usize {
        let containers = self.containers.values().cloned().collect();
        let wanted = self.tell(Event::Observed { additions: ADDITIONS.into(), containers });
        let mut count = 0;
        for effect in wanted {
            if let Effect::Want { module, spec_hash, .. } = effect {
                count += 1;
                let container = format!("c-{module}-{spec_hash}");
                let observed = Observed {
                    container,
                    module: Some(module.clone()),
                    spec_hash,
                    running: true,
                    exit_code: None,
                    health: None,
                };
                self.containers.insert(module, observed);
            }
        }
        count
    }
}

/// What one round took.
struct Round {
    update_ms: f64,
    /// A list in which nothing has changed.
    idle_us: f64,
}

fn round(modules: usize) -> Round {
    let key = SigningKey::from_bytes(&[7; 32]);
    let fleet = Fleet::of_one(&key).expect("a fleet");
    let [first, second] = [1, 2].map(|version| desired(&key, &fleet, modules, version));
    let mut device = Device::new();
    let effects = device.tell(verified(&first));
    assert_eq!(device.follow(effects), modules);

    let begun = Instant::now();
    let effects = device.tell(verified(&second));
    let changed = device.follow(effects);
    let update = begun.elapsed();
    assert_eq!(changed, usize::from(modules > 7), "the smallest plan is the one module that changed");

    let begun = Instant::now();
    assert_eq!(device.list(), 0);
    let idle = begun.elapsed();
    Round { update_ms: update.as_secs_f64() * 1e3, idle_us: idle.as_secs_f64() * 1e6 }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let (large, small): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (round(MODULES), round(MODULES / 10))).unzip();
    println!(
        "{{\"update_ms\":{:.3},\"idle_50_us\":{:.1},\"idle_5_us\":{:.1}}}",
        median(large.iter().map(|round| round.update_ms)),
        median(large.iter().map(|round| round.idle_us)),
        median(small.iter().map(|round| round.idle_us)),
    );
}
