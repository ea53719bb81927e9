//! Which session belongs to whom: where connections and commands meet.

mod clients;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use subtle::ConstantTimeEq as _;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wayside_actors::message::{Message, property};
use wayside_config::{
    identity::DeviceId,
    leaf::{Fingerprint, Leaf},
    text::Text,
    workload::ModuleId,
};

use self::clients::proof;
use super::{
    door::Door,
    event::MqttEvent,
    outbox::Parcel,
    packet::Connect,
    password,
    session::{Marks, Session},
    settings::{Authenticator, Settings},
    ticket::{Tickets, session_of},
};

/// What all connections share.
pub(super) struct Hub {
    pub(super) settings: Settings,
    pub(super) events: mpsc::Sender<MqttEvent>,
    pub(super) door: Arc<Door>,
    /// Cancelled when the listener closes.
    pub(super) closing: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
    authenticator: Arc<dyn Authenticator>,
    /// One check of a leaf's password at a time: each takes up to 64 MiB and a processor.
    checks: Semaphore,
    started: Instant,
    modules: Mutex<Modules>,
    /// Devices by name, for the topics that modules see.
    names: Mutex<BTreeMap<DeviceId, String>>,
}

#[derive(Default)]
struct Modules {
    /// Who may connect now.
    wanted: BTreeMap<ModuleId, Wanted>,
    slots: BTreeMap<ModuleId, Arc<Slot>>,
    /// The same by the number in their tickets.
    by_number: BTreeMap<u64, Arc<Slot>>,
    /// Sessions of before the restart, until somebody asks for them.
    marks: BTreeMap<ModuleId, Marks>,
    last_link: u64,
}

/// A client that has proven itself, and as which leaf.
pub(super) struct Proven {
    pub(super) client: ModuleId,
    leaf: Option<Leaf>,
}

/// Whom a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Modules,
    Leaves,
}

/// A client that may connect.
struct Wanted {
    /// How it proves itself, if it is a leaf.
    leaf: Option<Leaf>,
    topics: Arc<[String]>,
}

/// A session and the connection that looks after it.
pub(super) struct Slot(Mutex<Attended>);

/// See [`Slot`].
pub(super) struct Attended {
    pub(super) session: Session,
    /// Wakes the connection of the moment.
    wake: Arc<Notify>,
    /// Waits for the time of a will.
    will_timer: Option<AbortHandle>,
}

impl Hub {
    pub(super) fn new(
        settings: Settings,
        authenticator: Arc<dyn Authenticator>,
        marks: BTreeMap<ModuleId, Marks>,
        runtime: Handle,
    ) -> (Self, mpsc::Receiver<MqttEvent>) {
        let (events, receiver) = mpsc::channel(settings.events);
        let hub = Self {
            settings,
            events,
            door: Arc::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime,
            authenticator,
            checks: Semaphore::new(1),
            started: Instant::now(),
            modules: Mutex::new(Modules { marks, ..Modules::default() }),
            names: Mutex::default(),
        };
        (hub, receiver)
    }

    /// Who this CONNECT proves to be, at a place for `audience`, with the certificate that was shown. For a leaf it
    /// may take a while.
    pub(super) async fn authenticate(
        &self,
        connect: &Connect,
        audience: Audience,
        certificate: Option<Fingerprint>,
    ) -> Option<Proven> {
        let client: ModuleId = connect.user_name.as_deref()?.parse().ok()?;
        let (is_right, leaf) = match audience {
            Audience::Modules => (self.is_module(&client, connect.password.as_deref()?), None),
            Audience::Leaves => {
                let leaf = lock(&self.modules).wanted.get(&client)?.leaf.clone()?;
                let is_right = self.is_leaf(&leaf, connect.password.as_deref(), certificate).await;
                (is_right, Some(leaf))
            }
        };
        is_right.then_some(Proven { client, leaf })
    }

    fn is_module(&self, module: &ModuleId, given: &[u8]) -> bool {
        let is_wanted = lock(&self.modules).wanted.get(module).is_some_and(|wanted| wanted.leaf.is_none());
        let passwords = self.authenticator.passwords(module);
        // All of them, whichever it is.
        let right = passwords.iter().filter(|password| password.as_slice().ct_eq(given).into()).count();
        is_wanted && right > 0
    }

    async fn is_leaf(&self, leaf: &Leaf, given: Option<&[u8]>, certificate: Option<Fingerprint>) -> bool {
        let Leaf { password: hash, certificate: expected, .. } = leaf.clone();
        if expected.is_some() && certificate != expected {
            return false;
        }
        let Some(hash) = hash else { return expected.is_some() };
        let (Some(given), Ok(_turn)) = (given.map(<[u8]>::to_vec), self.checks.acquire().await) else {
            return false;
        };
        let check = self.runtime.spawn_blocking(move || password::is_right(&hash, &given));
        check.await.unwrap_or(false)
    }

    /// Connects an admitted client to its session: the connection's number and what wakes it. `None` if it has become unwanted while
    /// it proved itself, or would have to prove itself in another way by now.
    pub(super) fn connect(&self, proven: &Proven, connect: Connect) -> Option<(Arc<Slot>, u64, Arc<Notify>)> {
        let Proven { client: module, leaf } = proven;
        let mut modules = lock(&self.modules);
        let wanted = modules.wanted.get(module).filter(|wanted| proof(&wanted.leaf) == proof(leaf))?;
        let topics = Arc::clone(&wanted.topics);
        modules.last_link += 1;
        let link = modules.last_link;
        let slot = self.slot(&mut modules, module);
        let assigned = format!("{module}-{link}-{}", unix_nanos());
        let wake = Arc::new(Notify::new());
        let mut attended = slot.lock();
        attended.session.grant(topics);
        attended.session.connect(link, connect, assigned, self.now_ms());
        std::mem::replace(&mut attended.wake, wake.clone()).notify_one();
        drop(attended);
        Some((slot, link, wake))
    }

    /// Changes the session that gave a ticket.
    pub(super) fn with_ticket(self: &Arc<Self>, ticket: u64, change: impl FnOnce(&mut Session)) {
        let slot = lock(&self.modules).by_number.get(&session_of(ticket)).cloned();
        if let Some(slot) = slot {
            self.change(&slot, change);
        }
    }

    /// Accepts tickets of whichever sessions, each session's together.
    pub(super) fn accept(self: &Arc<Self>, tickets: &[u64]) {
        for of_session in tickets.chunk_by(|a, b| session_of(*a) == session_of(*b)) {
            if let Some(first) = of_session.first() {
                self.with_ticket(*first, |session| session.accept(of_session));
            }
        }
    }

    /// Changes a module's session.
    pub(super) fn with_module(self: &Arc<Self>, module: &ModuleId, change: impl FnOnce(&mut Session)) {
        let slot = self.slot(&mut lock(&self.modules), module);
        self.change(&slot, change);
    }

    /// Sets what devices are called.
    pub(super) fn set_names(&self, names: BTreeMap<DeviceId, String>) {
        *lock(&self.names) = names;
    }

    /// Whether this client is a leaf.
    pub(super) fn has_leaf(&self, client: &ModuleId) -> bool {
        lock(&self.modules).wanted.get(client).is_some_and(|wanted| wanted.leaf.is_some())
    }

    /// Messages as their receiver sees them: a leaf as they were published, a module with where it was.
    pub(super) fn parcels(&self, messages: Vec<Message>, client: &ModuleId) -> Vec<Parcel> {
        let to_leaf = self.has_leaf(client);
        let names = lock(&self.names);
        let mut parcels = Vec::with_capacity(messages.len());
        // What a queue holds mostly comes from one place under one topic.
        let mut before: Option<(DeviceId, Text, Text, Text)> = None;
        for message in messages {
            let topic = match &before {
                _ if to_leaf => message.topic.clone(),
                Some((origin, source, topic, seen))
                    if (origin, source, topic) == (&message.origin, &message.source, &message.topic) =>
                {
                    seen.clone()
                }
                Some(_) | None => {
                    let seen = Text::from(match names.get(&message.origin) {
                        Some(name) => message.topic_from(name),
                        None => message.topic_from(&message.origin.to_string()),
                    });
                    before =
                        Some((message.origin, message.source.clone(), message.topic.clone(), seen.clone()));
                    seen
                }
            };
            parcels.push(self.parcel(message, topic, client));
        }
        parcels
    }

    fn parcel(&self, message: Message, topic: Text, client: &ModuleId) -> Parcel {
        let is_own = Some(message.origin) == self.settings.device && message.source == client.module.as_str();
        let mut properties = message.properties;
        let is_retained = properties.remove(property::RETAIN).is_some();
        // Whose clocks differ does not matter: what is left is never more than there was.
        let expiry_s = properties.remove(property::EXPIRY).and_then(|seconds| seconds.parse().ok());
        let expiry_s = expiry_s.map(|seconds: u32| {
            let waited_s = unix_ms().saturating_sub(message.accepted_ms) / 1000;
            seconds.saturating_sub(u32::try_from(waited_s).unwrap_or(u32::MAX))
        });
        Parcel { topic, properties, payload: message.payload, expiry_s, is_own, is_retained }
    }

    /// Sends what a session has to tell, as far as there is room. True if nothing is left.
    pub(super) fn tell_some(&self, slot: &Slot) -> bool {
        let mut attended = slot.lock();
        while attended.session.has_events() {
            let Ok(permit) = self.events.try_reserve() else { return false };
            attended.tell(permit);
        }
        true
    }

    /// Sends all of it, waiting for room.
    pub(super) async fn tell_all(&self, slot: &Slot) {
        while !self.tell_some(slot) {
            let Ok(permit) = self.events.reserve().await else { return };
            slot.lock().tell(permit);
        }
    }

    /// Publishes the will that a session holds back, when its time has come.
    pub(super) fn await_will(self: &Arc<Self>, slot: &Arc<Slot>) {
        let mut attended = slot.lock();
        let Some((number, delay)) = attended.session.waiting_will() else { return };
        let (hub, waiting) = (self.clone(), slot.clone());
        let timer = self.tasks.spawn_on(
            async move {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {
                        hub.change(&waiting, |session| session.will_is_due(number));
                    }
                    // Its client lives on.
                    () = hub.closing.cancelled() => {}
                }
            },
            &self.runtime,
        );
        // The will before is published, or its client was back in time.
        if let Some(before) = attended.will_timer.replace(timer.abort_handle()) {
            before.abort();
        }
    }

    /// Milliseconds since the listener began.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn slot(&self, modules: &mut Modules, module: &ModuleId) -> Arc<Slot> {
        if let Some(slot) = modules.slots.get(module) {
            return slot.clone();
        }
        let marks = modules.marks.remove(module).unwrap_or_default();
        let tickets = Tickets::new();
        let number = tickets.session();
        let counts = Arc::clone(&self.settings.counts);
        let mut session = Session::new(module.clone(), tickets, marks, counts, self.now_ms());
        session.count_lost_in(self.settings.lost.clone());
        let slot = Arc::new(Slot(Mutex::new(Attended { session, wake: Arc::default(), will_timer: None })));
        modules.slots.insert(module.clone(), slot.clone());
        modules.by_number.insert(number, slot.clone());
        slot
    }

    fn change(self: &Arc<Self>, slot: &Arc<Slot>, change: impl FnOnce(&mut Session)) {
        let mut attended = slot.lock();
        change(&mut attended.session);
        attended.wake.notify_one();
        if !attended.session.is_attended() && attended.session.has_events() {
            let (hub, slot) = (self.clone(), slot.clone());
            self.tasks.spawn_on(async move { hub.tell_all(&slot).await }, &self.runtime);
        }
    }
}

impl Attended {
    /// Sends the next event. Under the lock, so that nobody else sends a later one first.
    pub(super) fn tell(&mut self, permit: mpsc::Permit<'_, MqttEvent>) {
        if let Some(event) = self.session.next_event() {
            permit.send(event);
        }
    }
}

impl Slot {
    /// The session, for the connection that looks after it.
    pub(super) fn lock(&self) -> MutexGuard<'_, Attended> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an assigned client identifier differ from those of before a restart.
fn unix_nanos() -> u128 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos())
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
