//! One run of the daemon, on the actix thread.

use std::{
    cell::{OnceCell, RefCell},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};
use wayside_actors::{
    device::{health, uplink as uplink_machine, wiring::Event},
    frame::{Hello, PROTOCOL},
};
use wayside_config::{audit::Way, identity::DeviceId};
use wayside_host::{Clock, Host};
use wayside_mesh::{circle::circle_of, lobby::Places, lost::Lost, session::Excluded, store::StoreSettings};

use super::{UpOptions, control, lobby, mesh, mqtt, relayed, secret, store, system, uplink};
use crate::{
    audit::Audit,
    copies::Copies,
    desired,
    engine::{Credentials, Engine, Settings as EngineSettings},
    secrets::Secrets,
    shell::{Adapters, DESIRED_ON_DISK, Device, MqttPort, View},
    state::{Found, Identity, StateFolder, default_memory},
    trust::{KEEP_MS, Trust},
};

/// How long the engine may take before the daemon goes on without its first word.
const ENGINE_FIRST: Duration = Duration::from_secs(1);

/// How long the actors may take to finish when the daemon stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the uplink may take to close.
const GOODBYE: Duration = Duration::from_secs(3);

/// The largest recording of one machine's life.
const RECORDING_BYTES: u64 = 64 << 20;

pub(super) struct Parts {
    pub(super) options: UpOptions,
    pub(super) state: Arc<StateFolder>,
    pub(super) identity: Identity,
    /// What was wrong with the identity.
    pub(super) problem: Option<String>,
    pub(super) io: Handle,
}

pub(super) async fn run(parts: Parts) -> anyhow::Result<()> {
    let Parts { options, state, identity, problem, io } = parts;
    let (name, settings) = (options.name(), &options.settings);
    let mut stop = Stop::new()?;
    let credentials = Arc::new(Credentials::load(Arc::clone(&state)));
    let in_memory = settings.secrets.clone().unwrap_or_else(default_memory);
    let (secrets, secrets_problem) = Secrets::load(&identity, &in_memory, Arc::clone(&state));
    let secrets = Arc::new(secrets);
    let (engine, engine_events) = Engine::start(
        &io,
        EngineSettings {
            identity: identity.clone(),
            name: name.clone(),
            mqtt_port: settings.mqtt_port,
            credentials: Arc::clone(&credentials),
            state: state.path().to_owned(),
            policy: settings.policy.clone(),
            secrets: Arc::clone(&secrets),
        },
    );
    let exclude = Excluded::default();
    actix::spawn(mesh::exclude_modules(engine.clone(), exclude.clone()));
    if !identity.is_new() {
        // This container may be in the modules' network already, and only the engine knows where.
        // When it is late, the mesh listens there too, which does no harm.
        let _ = timeout(ENGINE_FIRST, engine.first()).await;
    }
    let (holds, desired_problem) = match desired::load(&state) {
        Found::Whole(verified) => (Some(verified.sealed), None),
        Found::Nothing => (None, None),
        Found::Damaged(problem) => (None, Some(problem)),
    };
    crate::trust::can_be_judged(&state)
        .context("what this device knows of its fleet cannot be read, and without it, it would obey whoever comes first")?;
    let cloud_key = settings.cloud.as_ref().map(|cloud| cloud.key);
    let (trust, trust_problem) =
        Trust::load(identity.device(), cloud_key, settings.pinned(), holds.as_ref(), Arc::clone(&state));
    let (audit, audit_problem) = Audit::open(&identity, &state)
        .context("the audit log cannot be opened: free some space on the disk, or look at what it is")?;
    let audit = Arc::new(audit);
    audit.fleet(Way::Own, trust.fleet());
    if let Some((fleet, _)) = trust.fleet()
        && let Err(error) = secrets.only_of(fleet)
    {
        tracing::warn!(%error, "secrets of another fleet are given to no module, and cannot be removed from the disk; they are at the next start");
    }
    let (copies, copies_problems) = Copies::load(Arc::clone(&state), trust.fleet().map(|(fleet, _)| fleet));
    let (trust, copies) = (Arc::new(trust), Arc::new(copies));
    let lost = Lost::default();
    let circle = circle_of(Arc::new(identity.key().clone())).context("cannot prepare the mesh")?;
    circle.admit(lobby::keys(&trust));
    let assigned = holds.as_ref().and_then(lobby::version_of).unwrap_or(0);
    let (lobby, lobby_events) =
        lobby::open(&io, &identity, &name, settings, exclude.clone(), (&trust, assigned));
    let opening = (&identity, circle.clone(), &*trust);
    let (mesh, mesh_events) = mesh::open(opening, &name, &settings.mesh, exclude, lost.clone());
    let cloud = settings.cloud.as_ref().map(|cloud| uplink::start(&io, cloud, &identity)).transpose()?;
    let (commands, uplink_events) = cloud.unzip();
    let mut host = Host::new(Clock::start());
    if let Some(folder) = &options.record {
        host = host.recording(folder.clone(), RECORDING_BYTES)?;
    }
    let adapters = Adapters {
        device: identity.device(),
        seed: seed(),
        blocking: io.clone(),
        engine: engine.clone(),
        mesh: mesh.as_ref().ok().cloned(),
        mqtt: MqttPort::default(),
        calls: Arc::default(),
        twins: Arc::default(),
        name: name.clone(),
        uplink: commands,
        lost,
        state: Arc::clone(&state),
        trust: Arc::clone(&trust),
        audit,
        windows: settings.updates.windows.clone(),
        keep_unused_ms: settings.images.keep_unused_ms,
        view: Arc::new(View::default()),
        sealed: OnceCell::new(),
    };
    let (device, mut fatal) = Device::new(host, adapters);
    device.begin(settings.cloud.as_ref().map(|cloud| Hello {
        protocol: PROTOCOL,
        name: name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        labels: settings.labels.clone().into_iter().collect(),
        token: cloud.token.clone(),
        run: getrandom::u64().unwrap_or_default(),
        grant: None,
    }));
    device.problem("identity", problem);
    device.problem(DESIRED_ON_DISK, desired_problem);
    device.problem("fleet", trust_problem);
    device.problem("audit", audit_problem);
    device.problem("kept secrets", secrets_problem);
    device.problems_of("copies", copies_problems);
    actix::spawn(secret::follow(Rc::clone(&device), Arc::clone(&secrets)));
    actix::spawn(keep_time(Rc::clone(&device)));
    device.problem("mesh", mesh.as_ref().err().cloned());
    let store_settings = StoreSettings {
        dir: state.store(),
        damaged_dir: state.damaged(),
        max_bytes: settings.store_max_bytes,
    };
    actix::spawn(store::open(Rc::clone(&device), store_settings));
    actix::spawn(pump_engine(Rc::clone(&device), engine_events));
    actix::spawn(system::watch(Rc::clone(&device), engine.clone()));
    let (stands, uplink_stands) = watch::channel(false);
    if let Some(events) = uplink_events {
        actix::spawn(uplink::pump(Rc::clone(&device), events, stands));
    }
    let control =
        control::Control::new(&device, &identity, &options, &name, lobby.clone(), Arc::clone(&copies));
    let site = Rc::new(lobby::Site {
        device: Rc::clone(&device),
        identity: identity.clone(),
        audit: Arc::clone(&device.adapters().audit),
        io: io.clone(),
        name: name.clone(),
        settings: settings.clone(),
        lobby,
        circle,
        mesh: mesh.as_ref().ok().cloned(),
        trust,
        secrets,
        copies,
        assigned,
        handed: RefCell::default(),
        handing: Places::default(),
        offers: RefCell::default(),
    });
    actix::spawn(Rc::clone(&site).keep());
    actix::spawn(site.hear(lobby_events.news));
    actix::spawn(lobby::take(lobby_events.deliveries, Arc::clone(&control)));
    actix::spawn(mesh::tell_lost(Rc::clone(&device)));
    relayed::answer_cloud(&device, &control);
    actix::spawn(mesh::pump(Rc::clone(&device), mesh_events, Arc::clone(&control)));
    control::serve(&device, &io, &state.control_socket(), control);
    let mqtt = mqtt::start(&device, &options, identity.clone(), credentials, &io);
    actix::spawn(greet(engine, name, identity.device(), state.path().to_owned(), options.clone()));

    let ended = tokio::select! {
        () = stop.wanted() => Ok(()),
        Some(reason) = fatal.recv() => Err(reason),
    };
    tracing::info!("stopping");
    tokio::select! {
        () = take_apart(&device, mqtt, uplink_stands, &options) => {}
        () = stop.wanted() => tracing::warn!("told to stop again: not waiting any longer"),
    }
    // A missing socket tells commands that no daemon is there.
    let _ = std::fs::remove_file(state.control_socket());
    if let Err(reason) = ended {
        bail!("a part failed that the daemon cannot do without: {reason}; start it again, and report this");
    }
    Ok(())
}

/// Stops taking, then finishes what was taken, then says goodbye.
async fn take_apart(
    device: &Rc<Device>,
    mqtt: mqtt::Mqtt,
    mut uplink_stands: watch::Receiver<bool>,
    options: &UpOptions,
) {
    mqtt.close().await;
    device.send(Event::Uplink(uplink_machine::Event::Stop), 0).await;
    if timeout(DRAIN, device.drain()).await.is_err() {
        tracing::warn!(
            "some actors did not finish in time; what they had not committed was not acknowledged"
        );
    }
    // For the last frames. Late or gone, the next connection says it all again.
    let _ = timeout(GOODBYE, uplink_stands.wait_for(|stands| !stands)).await;
    if let Some(mesh) = &device.adapters().mesh {
        mesh.close().await;
    }
    if options.stop_modules {
        tracing::info!("stopping modules");
        device.adapters().engine.stop_all().await;
    }
    tracing::info!("stopped");
}

/// Keeps how much time was lived through, and says what expired meanwhile.
async fn keep_time(device: Rc<Device>) {
    let adapters = device.adapters();
    loop {
        device.problems_of("expiry", adapters.trust.expired(&adapters.view.held().borrow().sealed));
        tokio::time::sleep(Duration::from_millis(KEEP_MS)).await;
        if let Err(error) = adapters.trust.keep_time() {
            tracing::warn!(%error, "how much time was lived through could not be written; it is tried again in an hour");
        }
    }
}

async fn pump_engine(device: Rc<Device>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if let Event::Health(health::Event::Usage(usage)) = &event {
            device.adapters().view.uses(usage);
        }
        device.send(event, 0).await;
    }
}

/// Spreads this device's repetitions against those of others.
fn seed() -> u64 {
    // Without randomness devices merely repeat at the same moments.
    getrandom::u64().unwrap_or_default()
}

/// The first lines, for whoever started the daemon by hand.
async fn greet(engine: Engine, name: String, device: DeviceId, state: PathBuf, options: UpOptions) {
    let late = |_| Err("it does not answer yet".to_owned());
    let engine = timeout(ENGINE_FIRST, engine.first()).await.unwrap_or_else(late);
    println!("device  {name} ({})", device.short());
    println!("state   {}", state.display());
    println!("engine  {}", engine.map_or_else(|problem| problem, |ready| ready.version));
    let multicast = options.settings.mesh.multicast;
    println!("mesh    {}", if multicast { "looking for neighbours" } else { "without multicast" });
    match &options.settings.cloud {
        Some(cloud) => println!("cloud   {}", cloud.address()),
        None => println!("cloud   none: `wayside apply` from any machine on this LAN"),
    }
}

/// The signals that stop the daemon.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
