//! The client that subscribes, and what it has seen: a message counts when its PUBLISH comes with an identifier that is
//! not open, as the standard has it for QoS 2.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};

use crate::{
    AGAIN, Shared,
    packet::{self, Link, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK},
};

/// What has come.
#[derive(Default)]
pub(crate) struct Seen {
    counts: Mutex<Counts>,
    is_subscribed: AtomicBool,
}

#[derive(Default)]
struct Counts {
    numbers: BTreeSet<u64>,
    doubled: u64,
    misordered: u64,
}

impl Seen {
    pub(crate) fn is_subscribed(&self) -> bool {
        self.is_subscribed.load(Ordering::Relaxed)
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.counts().numbers.len() as u64
    }

    pub(crate) fn doubled(&self) -> u64 {
        self.counts().doubled
    }

    pub(crate) fn misordered(&self) -> u64 {
        self.counts().misordered
    }

    /// How many of the first `acknowledged` messages have not come.
    pub(crate) fn missing(&self, acknowledged: u64) -> u64 {
        acknowledged - self.counts().numbers.range(..acknowledged).count() as u64
    }

    fn take(&self, number: u64) {
        let mut counts = self.counts();
        let is_late = counts.numbers.last().is_some_and(|last| number < *last);
        match counts.numbers.insert(number) {
            false => counts.doubled += 1,
            true => counts.misordered += u64::from(is_late),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes messages until told to end.
pub(crate) fn run(shared: &Shared, seen: &Seen, user: &str, password: &str, filter: &str) -> Result<()> {
    // Identifiers whose PUBLISH has come and whose PUBREL has not.
    let mut open = BTreeSet::new();
    while !shared.is_over() {
        let Ok(mut link) = Link::open(shared, "witness-subscriber", user, password)? else {
            thread::sleep(AGAIN);
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        if !link.is_resumed {
            if seen.is_subscribed() {
                bail!("the broker has forgotten the subscriber's session");
            }
            open.clear();
            if link.send(&packet::subscribe(filter)).is_err() {
                continue;
            }
        }
        while !shared.is_over() {
            match link.next() {
                Ok(Some((first, body))) => {
                    if handle(&mut link, seen, &mut open, first, &body)?.is_err() {
                        break;
                    }
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }
    Ok(())
}

fn handle(
    link: &mut Link,
    seen: &Seen,
    open: &mut BTreeSet<u16>,
    first: u8,
    body: &[u8],
) -> Result<io::Result<()>> {
    match first >> 4 {
        SUBACK => {
            if body.get(2) != Some(&2) {
                bail!("the broker grants {:?} where QoS 2 was asked for", body.get(2));
            }
            seen.is_subscribed.store(true, Ordering::Relaxed);
            Ok(Ok(()))
        }
        PUBLISH => {
            let (id, number) = packet::published(body).context("a short PUBLISH")?;
            if open.insert(id) {
                seen.take(number);
            }
            Ok(link.send(&packet::reply(PUBREC, id)))
        }
        PUBREL => {
            let id = packet::identifier(body).context("a short PUBREL")?;
            open.remove(&id);
            Ok(link.send(&packet::reply(PUBCOMP, id)))
        }
        kind => bail!("a subscriber got packet {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_doubles_and_late_ones_are_counted() {
        let seen = Seen::default();
        [0, 1, 3, 2, 3, 5].into_iter().for_each(|number| seen.take(number));
        assert_eq!((seen.arrived(), seen.doubled(), seen.misordered()), (5, 1, 1));
        assert_eq!((seen.missing(4), seen.missing(6)), (0, 1));
    }
}
