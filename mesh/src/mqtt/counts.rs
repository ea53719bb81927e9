//! What clients did that they may not do, counted for `wayside status`: since the daemon started, over all listeners.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// The counters. Whoever makes a listener keeps them.
#[derive(Debug, Default)]
pub struct Counts {
    clients: AtomicU64,
    malformed: Counter,
    too_large: Counter,
    denied_publishes: Counter,
    denied_subscriptions: Counter,
    wrong_passwords: Counter,
    turned_away: Counter,
    silent: Counter,
    not_reading: Counter,
    discarded: Counter,
}

/// What they stand at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Clients that are connected now.
    pub clients: u64,
    /// Connections that ended for something that is no MQTT, or not allowed by it.
    pub malformed: u64,
    /// Connections that ended for a packet above the limit.
    pub too_large: u64,
    /// Publishes to topics that are not the client's.
    pub denied_publishes: u64,
    /// Subscriptions to topics that are not the client's.
    pub denied_subscriptions: u64,
    /// Connections with a name, password or certificate that is not right.
    pub wrong_passwords: u64,
    /// Connections beyond what there may be.
    pub turned_away: u64,
    /// Connections that ended because nothing was heard.
    pub silent: u64,
    /// Connections that ended because the client took nothing of what was sent.
    pub not_reading: u64,
    /// Messages that were not sent, for they are above the client's maximum packet size.
    #[serde(default)]
    pub discarded: u64,
}

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    Malformed,
    TooLarge,
    DeniedPublish,
    DeniedSubscription,
    WrongPassword,
    TurnedAway,
    Silent,
    NotReading,
    /// The client's limit, and nobody's fault.
    Discarded,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// What they stand at now.
    #[must_use]
    pub fn now(&self) -> Counted {
        Counted {
            clients: self.clients.load(Ordering::Relaxed),
            malformed: self.malformed.get(),
            too_large: self.too_large.get(),
            denied_publishes: self.denied_publishes.get(),
            denied_subscriptions: self.denied_subscriptions.get(),
            wrong_passwords: self.wrong_passwords.get(),
            turned_away: self.turned_away.get(),
            silent: self.silent.get(),
            not_reading: self.not_reading.get(),
            discarded: self.discarded.get(),
        }
    }

    pub(super) fn add(&self, what: Misdeed) {
        let counter = match what {
            Misdeed::Malformed => &self.malformed,
            Misdeed::TooLarge => &self.too_large,
            Misdeed::DeniedPublish => &self.denied_publishes,
            Misdeed::DeniedSubscription => &self.denied_subscriptions,
            Misdeed::WrongPassword => &self.wrong_passwords,
            Misdeed::TurnedAway => &self.turned_away,
            Misdeed::Silent => &self.silent,
            Misdeed::NotReading => &self.not_reading,
            Misdeed::Discarded => &self.discarded,
        };
        counter.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended for this reason.
    pub(super) fn ended(&self, fault: &Fault) {
        let misdeed = match fault {
            Fault::Malformed
            | Fault::Protocol(_)
            | Fault::Topic(_)
            | Fault::TopicAlias
            | Fault::ReceiveMaximum
            | Fault::Properties => Misdeed::Malformed,
            Fault::TooLarge => Misdeed::TooLarge,
            Fault::KeepAlive => Misdeed::Silent,
            // The device's doing, or nobody's fault.
            Fault::Refused(_) | Fault::TakenOver | Fault::Unwanted | Fault::Stopping => return,
        };
        self.add(misdeed);
    }

    /// A client is connected, for as long as this is held.
    pub(super) fn client(&self) -> Present<'_> {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Present(self)
    }
}

/// See [`Counts::client`].
pub(super) struct Present<'a>(&'a Counts);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
