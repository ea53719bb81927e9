//! The client that publishes: what is not acknowledged goes again, with the identifier that it had.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    AGAIN, Shared,
    packet::{self, Link, PUBCOMP, PUBREC, PUBREL},
};

/// Publishes under way at most.
const WINDOW: usize = 100;

/// A publish that is not complete.
struct Open {
    id: u16,
    number: u64,
    /// PUBREC has come: the broker has it, and it must not be sent again.
    is_received: bool,
}

/// Publishes until told to end, and then until nothing is under way.
pub(crate) fn run(shared: &Shared, user: &str, password: &str, topic: &str, rate: u32) -> Result<()> {
    let (mut open, mut next) = (VecDeque::<Open>::new(), 0u64);
    let every = Duration::from_secs(1) / rate;
    while !shared.is_over() {
        let Ok(mut link) = Link::open(shared, "witness-publisher", user, password)? else {
            thread::sleep(AGAIN);
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        if !link.is_resumed && open.iter().any(|one| one.is_received) {
            bail!("the broker has forgotten the publisher's session, and with it what it had received");
        }
        match talk(shared, &mut link, topic, every, &mut open, &mut next) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Broken::Connection) => thread::sleep(AGAIN),
            Err(Broken::Rule(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Why a conversation stops.
enum Broken {
    Connection,
    Rule(anyhow::Error),
}

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Self::Connection
    }
}

/// `true` when everything is acknowledged and nothing more is to be published.
fn talk(
    shared: &Shared,
    link: &mut Link,
    topic: &str,
    every: Duration,
    open: &mut VecDeque<Open>,
    next: &mut u64,
) -> Result<bool, Broken> {
    let mut out = Vec::new();
    for one in open.iter() {
        out.extend(match one.is_received {
            true => packet::reply(PUBREL, one.id),
            false => packet::publish(topic, one.id, true, one.number),
        });
    }
    link.send(&out)?;
    let mut due = Instant::now();
    loop {
        let is_ending = shared.ending.load(Ordering::Relaxed) > 0;
        if is_ending && open.is_empty() || shared.is_over() {
            return Ok(true);
        }
        let mut out = Vec::new();
        while !is_ending && open.len() < WINDOW && due <= Instant::now() {
            due += every;
            // Far more identifiers than are ever under way; never 0.
            let id = u16::try_from(*next % 60_000).unwrap_or_default() + 1;
            out.extend(packet::publish(topic, id, false, *next));
            open.push_back(Open { id, number: *next, is_received: false });
            *next += 1;
        }
        if !out.is_empty() {
            link.send(&out)?;
        }
        if open.len() >= WINDOW {
            due = due.max(Instant::now());
        }
        while let Some((first, body)) = link.next()? {
            answer(link, first >> 4, &body, open)?;
            // Complete from the oldest on: everything before is acknowledged.
            let oldest = open.iter().find(|one| !one.is_received).map_or(*next, |one| one.number);
            shared.acknowledged.store(oldest, Ordering::Relaxed);
        }
    }
}

fn answer(link: &mut Link, kind: u8, body: &[u8], open: &mut VecDeque<Open>) -> Result<(), Broken> {
    let id = packet::identifier(body).context("a short packet").map_err(Broken::Rule)?;
    match kind {
        PUBREC => {
            // Also for one that is complete: the standard answers every PUBREC.
            if let Some(one) = open.iter_mut().find(|one| one.id == id) {
                one.is_received = true;
            }
            Ok(link.send(&packet::reply(PUBREL, id))?)
        }
        PUBCOMP => {
            open.retain(|one| one.id != id || !one.is_received);
            Ok(())
        }
        kind => Err(Broken::Rule(anyhow::anyhow!("a publisher got packet {kind}"))),
    }
}
