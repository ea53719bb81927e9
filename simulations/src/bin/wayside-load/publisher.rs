//! A client that publishes: one thread writes, a second counts acknowledgements.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    Client, Options,
    latency::now_ns,
    packet::{self, CONNACK, PUBACK, Packets},
};

/// What is written at once at most.
const CHUNK_BYTES: usize = 64 << 10;

pub(crate) struct Publisher {
    number: usize,
    stream: TcpStream,
    packets: Packets<TcpStream>,
    topic: String,
    qos: u8,
    messages: u64,
    size: usize,
    window: u64,
    /// Between two messages; `None` for as fast as acknowledgements allow.
    every: Option<Duration>,
    patience: Duration,
}

/// Acknowledgements counted.
#[derive(Default)]
struct Acked {
    count: Mutex<u64>,
    moved: Condvar,
    failed: AtomicBool,
}

impl Publisher {
    pub(crate) fn connect(
        address: SocketAddr,
        number: usize,
        client: &Client,
        options: &Options,
        messages: u64,
    ) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let patience = Duration::from_secs(options.patience);
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(&packet::connect(
            &format!("load-publisher-{number}"),
            &client.user,
            &client.password,
        ))?;
        let mut packets = Packets::new(stream.try_clone()?);
        let connack = packets.expect(CONNACK).context("no CONNACK")?;
        if connack.get(1) != Some(&0) {
            bail!("the broker refused the connection, code {:?}", connack.get(1));
        }
        let publishers = u32::try_from(options.publishers.len())?;
        let every = (options.rate > 0).then(|| Duration::from_secs(1) * publishers / options.rate);
        Ok(Self {
            number,
            stream,
            packets,
            topic: client.topic.clone(),
            qos: options.qos,
            messages,
            size: usize::try_from(options.size)?,
            window: u64::from(options.window),
            every,
            patience,
        })
    }

    /// Publishes all. Gives the time of the first publish once all are acknowledged.
    pub(crate) fn start(self) -> JoinHandle<Result<Instant>> {
        thread::spawn(move || self.run())
    }

    fn run(self) -> Result<Instant> {
        let acked = Arc::new(Acked::default());
        let counter = (self.qos > 0).then(|| {
            let (packets, acked, messages) = (self.packets, Arc::clone(&acked), self.messages);
            thread::spawn(move || count(packets, &acked, messages))
        });
        let mut stream = self.stream;
        let begun = Instant::now();
        let mut payload = vec![0xa5; self.size];
        let (mut sent, mut chunk) = (0, Vec::with_capacity(CHUNK_BYTES * 2));
        while sent < self.messages {
            if let Some(every) = self.every {
                let due = begun + every * u32::try_from(sent)?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let limit = match self.qos {
                0 => self.messages,
                _ => acked.wait(sent, self.window, self.patience)? + self.window,
            };
            let now = now_ns();
            while sent < limit.min(self.messages) && chunk.len() < CHUNK_BYTES {
                payload[..8].copy_from_slice(&now.to_be_bytes());
                payload[8..16].copy_from_slice(&(self.number as u64).to_be_bytes());
                payload[16..24].copy_from_slice(&sent.to_be_bytes());
                // Identifiers are never 0, and a window is far smaller than their number.
                let id = u16::try_from(sent % 65_000)? + 1;
                chunk.extend(packet::publish(&self.topic, self.qos, id, &payload));
                sent += 1;
                if self.every.is_some() {
                    break;
                }
            }
            stream.write_all(&chunk).context("publishing")?;
            chunk.clear();
        }
        if let Some(counter) = counter {
            counter.join().map_err(|_| anyhow::anyhow!("the counter panicked"))??;
        }
        Ok(begun)
    }
}

/// Counts PUBACKs until all are there.
fn count(mut packets: Packets<TcpStream>, acked: &Acked, messages: u64) -> Result<()> {
    let mut total = 0;
    while total < messages {
        let mut new = 0;
        while let Some((first, _)) = packets.here() {
            new += u64::from(first >> 4 == PUBACK);
        }
        total += new;
        if new > 0 {
            acked.set(total);
        }
        if total < messages
            && let Err(error) = packets.fill()
        {
            acked.failed.store(true, Ordering::Relaxed);
            acked.moved.notify_all();
            return Err(error).with_context(|| format!("{total} of {messages} were acknowledged"));
        }
    }
    Ok(())
}

impl Acked {
    fn set(&self, count: u64) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) = count;
        self.moved.notify_one();
    }

    /// Waits until fewer than `window` of `sent` are open. How many are acknowledged.
    fn wait(&self, sent: u64, window: u64, patience: Duration) -> Result<u64> {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |count: &mut u64| sent - *count >= window && !self.failed.load(Ordering::Relaxed);
        let (count, _) =
            self.moved.wait_timeout_while(count, patience, is_full).unwrap_or_else(PoisonError::into_inner);
        if sent - *count >= window {
            bail!("no acknowledgement came: {count} of {sent}");
        }
        Ok(*count)
    }
}
