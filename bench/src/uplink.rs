//! Device to cloud: messages are committed to the device's queue while its delivery, which is the product's on the
//! product's host, sends them to a real `wayside-cloud`, until the last one is confirmed and trimmed.

mod cloud;
mod device;

use std::{
    path::PathBuf,
    rc::Rc,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use wayside_actors::{
    device::{
        delivery::{Delivery, Event, Terms},
        io,
    },
    frame::{Hello, PROTOCOL, ToCloud, ToDevice},
    queue::{Endpoint, Queue, StoreOp},
    report::Report,
};
use wayside_cloud_bridge::device::{CloudAddress, Event as UplinkEvent, UplinkClient};
use wayside_config::{identity::DeviceId, join::JoinLink};
use wayside_host::{Address, Clock, Host};
use wayside_mesh::store::{QueueStore, SledStore, StoreSettings};

use self::device::DeviceShell;
use crate::payload::{self, Kind};

/// For each wait on the cloud's side.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of one commit, and commits under way: as many as busy publishers have open.
const TOGETHER: u64 = 128;
const COMMITS: usize = 8;

/// How far the queue may be ahead of what is confirmed, in messages: a publisher is held back then.
const AHEAD: u64 = 65_536;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The program `wayside-cloud`; the one beside this program when none is named
    #[arg(long)]
    cloud: Option<PathBuf>,
    /// How many messages
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How large each body is
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// What is in them
    #[arg(long, value_enum, default_value_t = Kind::Json)]
    payload: Kind,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let program = match arguments.cloud {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("wayside-cloud"),
    };
    let folder = tempfile::tempdir()?;
    let cloud = cloud::Cloud::start(&program, &folder.path().join("cloud"), PATIENCE)?;
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = StoreSettings {
        dir: folder.path().join("store"),
        damaged_dir: folder.path().join("damaged"),
        max_bytes: 4 << 30,
    };
    let (store, restored) = SledStore::open(settings)?;
    let load = Load { messages: arguments.messages, bytes: arguments.bytes, payload: arguments.payload };
    let seconds = actix::System::new().block_on(device(
        io.handle().clone(),
        cloud.join.clone(),
        Arc::new(store),
        restored.epoch,
        load,
    ))?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = load.messages as f64 / seconds;
    println!(
        "{}",
        serde_json::json!({ "messages": load.messages, "bytes": load.bytes, "seconds": seconds, "msgs_s": rate.round() })
    );
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    messages: u64,
    bytes: usize,
    payload: Kind,
}

/// Sends everything. Gives the seconds from the first commit to the last confirmation.
async fn device(
    io: tokio::runtime::Handle,
    link: JoinLink,
    store: Arc<dyn QueueStore>,
    epoch: u64,
    load: Load,
) -> Result<f64> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let origin = DeviceId::from_bytes(key.verifying_key().to_bytes());
    let address = CloudAddress { host: link.host.clone(), port: link.port, key: link.key };
    let (client, mut events) = UplinkClient::start(&io, address, &key)?;
    join(&client, &mut events, link.token).await?;
    let (commands, mut taken) = mpsc::channel(16);
    io.spawn(async move {
        while let Some(command) = taken.recv().await {
            if client.command(command).await.is_err() {
                return;
            }
        }
    });

    let queue = Queue::new("bench/observations", Endpoint::Cloud);
    let (trimmed, mut done) = watch::channel(0);
    let failed = Arc::new(Mutex::new(None));
    let delivery = Rc::new(OnceLock::new());
    let shell = DeviceShell {
        queue: queue.clone(),
        epoch,
        store: Arc::clone(&store),
        io: io.clone(),
        uplink: commands,
        myself: Rc::clone(&delivery),
        trimmed,
        failed: Arc::clone(&failed),
    };
    let host = Host::new(Clock::start());
    let myself: Address<Event> = host.spawn::<Delivery, _>("delivery", shell);
    let _ = delivery.set(myself.clone());
    let hearing = actix::spawn(hear(events, myself.clone()));

    let begun = Instant::now();
    fill(&*store, &queue, origin, load, &myself, &mut done).await?;
    let wait = done.wait_for(|upto| *upto >= load.messages);
    if timeout(PATIENCE, wait).await.is_err() {
        let reason = failed.lock().ok().and_then(|mut failed| failed.take());
        bail!("not everything was confirmed: {}", reason.unwrap_or_else(|| "the cloud is silent".into()));
    }
    let seconds = begun.elapsed().as_secs_f64();
    hearing.abort();
    Ok(seconds)
}

async fn join(
    client: &UplinkClient,
    events: &mut mpsc::Receiver<UplinkEvent>,
    token: Option<String>,
) -> Result<()> {
    client.command(io::Uplink::Connect).await?;
    let hello = Hello {
        protocol: PROTOCOL,
        name: "bench".into(),
        version: "0".into(),
        labels: Vec::new(),
        token,
        run: 1,
        grant: None,
    };
    let mut hello = Some(hello);
    loop {
        match timeout(PATIENCE, events.recv()).await?.context("the uplink ended")? {
            UplinkEvent::Connected => {
                if let Some(hello) = hello.take() {
                    client.command(io::Uplink::Send(ToCloud::Hello(hello))).await?;
                }
            }
            UplinkEvent::Frame(ToDevice::Welcome) => break,
            other @ (UplinkEvent::Frame(_) | UplinkEvent::Unreadable { .. } | UplinkEvent::Lost { .. }) => {
                bail!("not welcome: {other:?}")
            }
        }
    }
    let report = Report { number: 1, full: true, ..Report::default() };
    client.command(io::Uplink::Send(ToCloud::Report(Box::new(report)))).await?;
    Ok(())
}

/// Passes confirmations on.
async fn hear(mut events: mpsc::Receiver<UplinkEvent>, delivery: Address<Event>) {
    let _ = delivery.tell(Event::Up);
    while let Some(event) = events.recv().await {
        if let UplinkEvent::Frame(ToDevice::Confirm(confirm)) = event {
            let _ = delivery.send(Event::Acked { epoch: Some(confirm.epoch), upto: confirm.upto }, 0).await;
        }
    }
}

/// Commits the messages, several commits at a time, and tells the delivery of each commit that is done.
async fn fill(
    store: &dyn QueueStore,
    queue: &Queue,
    origin: DeviceId,
    load: Load,
    delivery: &Address<Event>,
    done: &mut watch::Receiver<u64>,
) -> Result<()> {
    let mut under_way = FuturesOrdered::new();
    let mut next = 1;
    while next <= load.messages || !under_way.is_empty() {
        while next <= load.messages && under_way.len() < COMMITS {
            let last = (next + TOGETHER - 1).min(load.messages);
            let append = |seq| StoreOp::Append {
                queue: queue.clone(),
                seq,
                message: payload::message(origin, load.payload, seq, load.bytes),
            };
            let commit = store.commit(Arc::new((next..=last).map(append).collect()));
            under_way.push_back(async move { commit.await.map(|()| last) });
            next = last + 1;
        }
        if let Some(committed) = under_way.next().await {
            let last = committed?;
            let acked = *done.borrow();
            let _ = delivery.send(Event::Appended { acked, last, terms: Terms::USUAL }, 0).await;
            timeout(PATIENCE, done.wait_for(|upto| upto + AHEAD >= last))
                .await
                .context("nothing is confirmed")??;
        }
    }
    Ok(())
}
