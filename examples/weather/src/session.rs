//! A module's connection to the broker on its device: comes back by itself, loses and repeats nothing.

use std::{convert::Infallible, env, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use rumqttc::{
    Connect, ConnectReturnCode, Packet, PubAck, QoS, Subscribe, SubscribeFilter,
    mqttbytes::Error as CodecError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{self, Instant, MissedTickBehavior},
};

use crate::outbox::Outbox;

const KEEP_ALIVE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(5);
const MAX_PACKET_BYTES: usize = 256 * 1024;
/// With more than this unsent nothing more is read: a broker that does not read is not fed.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// What a module does with its session.
pub trait Module {
    /// What it wants to hear, at QoS 1; empty for nothing.
    fn filters(&self) -> Vec<String>;

    /// How long it waits between messages of its own; `None` for none.
    fn pace(&self) -> Option<Duration>;

    /// The next message of its own: topic and payload. Asked when the pace says so and there is room.
    fn next(&mut self) -> Option<(&'static str, String)>;

    /// A message arrived. May arrive again after a broken connection.
    fn hear(&mut self, topic: &str, payload: &[u8]);
}

/// Where the broker is and who asks, from the environment that the daemon gives to each module.
#[derive(Clone, Debug)]
pub struct Access {
    host: String,
    port: u16,
    username: String,
    password: String,
}

impl Access {
    /// Reads `WAYSIDE_MQTT_HOST`, `_PORT`, `_USERNAME` and `_PASSWORD`. Without them (under plain Compose)
    /// it is the host `wayside`, which may never answer.
    ///
    /// # Errors
    /// When the port is not a number.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.into());
        Ok(Self {
            host: variable("WAYSIDE_MQTT_HOST", "wayside"),
            port: variable("WAYSIDE_MQTT_PORT", "1883").parse().context("WAYSIDE_MQTT_PORT is not a port")?,
            username: variable("WAYSIDE_MQTT_USERNAME", "module"),
            password: variable("WAYSIDE_MQTT_PASSWORD", ""),
        })
    }
}

/// Runs the module for ever: connects, resumes, and when the connection breaks begins again, calmly.
pub async fn run(access: &Access, module: &mut impl Module) {
    let mut outbox = Outbox::default();
    let mut wait = RETRY_FIRST;
    let mut told = String::new();
    loop {
        let started = Instant::now();
        let Err(error) = connection(access, module, &mut outbox).await;
        if started.elapsed() > RETRY_LAST {
            wait = RETRY_FIRST;
        }
        let text = format!("{error:#}");
        if text != told {
            eprintln!(
                "no broker at {}:{} ({text}); trying again until there is one",
                access.host, access.port
            );
            told = text;
        }
        time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

/// One connection, until it breaks.
async fn connection(access: &Access, module: &mut impl Module, outbox: &mut Outbox) -> Result<Infallible> {
    let connecting = TcpStream::connect((access.host.as_str(), access.port));
    let mut stream = time::timeout(CONNECT_TIMEOUT, connecting).await.context("no answer")??;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.split();
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    write(&mut output, &connect(access))?;

    let mut pace = time::interval(module.pace().unwrap_or(Duration::from_secs(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let paced = module.pace().is_some();
    let mut ping = time::interval(KEEP_ALIVE / 2);
    ping.reset();
    let mut last_heard = Instant::now();
    let mut ready = false;
    let mut session_present = false;

    loop {
        // Reading and writing are separate branches, so neither side's full buffers can stop the other.
        tokio::select! {
            read = reader.read_buf(&mut input), if output.len() < MAX_OUTPUT_BYTES => {
                if read? == 0 {
                    bail!("the broker closed the connection");
                }
                last_heard = Instant::now();
            }
            written = writer.write(&output), if !output.is_empty() => output.advance(written?),
            _ = pace.tick(), if paced && ready && outbox.has_room() => {
                send_next(module, outbox, &mut output)?;
            }
            _ = ping.tick() => {
                if last_heard.elapsed() > KEEP_ALIVE * 2 {
                    bail!("the broker is silent");
                }
                if ready {
                    write(&mut output, &Packet::PingReq)?;
                }
            }
        }
        while let Some(packet) = read(&mut input)? {
            if let Packet::ConnAck(answer) = &packet {
                ensure!(answer.code == ConnectReturnCode::Success, "the broker refused: {:?}", answer.code);
                session_present = answer.session_present;
                if let Some(subscribe) = subscribe(module) {
                    // What was under way is sent again only after SUBACK: its identifier is then free.
                    write(&mut output, &subscribe)?;
                    continue;
                }
            }
            if matches!(packet, Packet::ConnAck(_) | Packet::SubAck(_)) {
                for packet in outbox.resume(session_present) {
                    write(&mut output, &packet)?;
                }
                ready = true;
                println!("connected to {}:{}", access.host, access.port);
            }
            settle(packet, module, outbox, &mut output)?;
        }
        // Answers to what was heard are not paced.
        while !paced && ready && outbox.has_room() && send_next(module, outbox, &mut output)? {}
    }
}

/// What a packet means for the outbox and the module; answers go to `output`.
fn settle(
    packet: Packet,
    module: &mut impl Module,
    outbox: &mut Outbox,
    output: &mut BytesMut,
) -> Result<()> {
    if let Packet::Publish(publish) = packet {
        module.hear(&publish.topic, &publish.payload);
        if publish.qos == QoS::AtLeastOnce {
            write(output, &Packet::PubAck(PubAck::new(publish.pkid)))?;
        }
    } else if let Packet::PubRec(received) = packet {
        write(output, &outbox.received(received.pkid))?;
    } else if let Packet::PubComp(completed) = packet {
        outbox.completed(completed.pkid);
    }
    Ok(())
}

/// Sends the module's next message; whether there was one.
fn send_next(module: &mut impl Module, outbox: &mut Outbox, output: &mut BytesMut) -> Result<bool> {
    let Some((topic, payload)) = module.next() else { return Ok(false) };
    write(output, &outbox.take(topic, payload))?;
    Ok(true)
}

fn connect(access: &Access) -> Packet {
    let mut connect = Connect::new(access.username.as_str());
    connect.clean_session = false;
    connect.keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
    connect.set_login(access.username.as_str(), access.password.as_str());
    Packet::Connect(connect)
}

fn subscribe(module: &impl Module) -> Option<Packet> {
    let filters = module.filters().into_iter();
    let mut subscribe = Subscribe::new_many(filters.map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce)));
    subscribe.pkid = 1;
    (!subscribe.filters.is_empty()).then_some(Packet::Subscribe(subscribe))
}

fn write(output: &mut BytesMut, packet: &Packet) -> Result<()> {
    packet.write(output, MAX_PACKET_BYTES).context("a packet to the broker")?;
    Ok(())
}

/// The next whole packet in `input`, if there is one.
fn read(input: &mut BytesMut) -> Result<Option<Packet>> {
    match Packet::read(input, MAX_PACKET_BYTES) {
        Ok(packet) => Ok(Some(packet)),
        Err(CodecError::InsufficientBytes(_)) => Ok(None),
        Err(error) => Err(error).context("a packet from the broker"),
    }
}
