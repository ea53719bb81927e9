//! Which session belongs to whom: where connections and commands meet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use subtle::ConstantTimeEq as _;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wayside_actors::message::Message;
use wayside_config::{identity::DeviceId, workload::ModuleId};

use super::{
    door::Door,
    event::MqttEvent,
    fault::Fault,
    outbox::Parcel,
    packet::Connect,
    session::Session,
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
    runtime: Handle,
    authenticator: Arc<dyn Authenticator>,
    started: Instant,
    modules: Mutex<Modules>,
    /// Devices by name, for the topics that modules see.
    names: Mutex<BTreeMap<DeviceId, String>>,
}

#[derive(Default)]
struct Modules {
    /// Who may connect now.
    wanted: BTreeSet<ModuleId>,
    slots: BTreeMap<ModuleId, Arc<Slot>>,
    /// The same by the number in their tickets.
    by_number: BTreeMap<u64, Arc<Slot>>,
    /// Sessions of before the restart, until somebody asks for them.
    marks: BTreeMap<ModuleId, Vec<u8>>,
    last_link: u64,
}

/// A session and the connection that looks after it.
pub(super) struct Slot(Mutex<Attended>);

/// See [`Slot`].
pub(super) struct Attended {
    pub(super) session: Session,
    /// Wakes the connection of the moment.
    wake: Arc<Notify>,
}

impl Hub {
    pub(super) fn new(
        settings: Settings,
        authenticator: Arc<dyn Authenticator>,
        marks: BTreeMap<ModuleId, Vec<u8>>,
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
            started: Instant::now(),
            modules: Mutex::new(Modules { marks, ..Modules::default() }),
            names: Mutex::default(),
        };
        (hub, receiver)
    }

    /// The module that this CONNECT proves to be.
    pub(super) fn authenticate(&self, connect: &Connect) -> Option<ModuleId> {
        let module: ModuleId = connect.user_name.as_deref()?.parse().ok()?;
        let is_wanted = lock(&self.modules).wanted.contains(&module);
        let expected = self.authenticator.password(&module);
        let given = connect.password.as_deref()?;
        let is_right: bool = expected.as_deref().unwrap_or_default().ct_eq(given).into();
        (is_wanted && expected.is_some() && is_right).then_some(module)
    }

    /// Connects an admitted client to its session: the connection's number and what wakes it. `None` if the
    /// module has just become unwanted.
    pub(super) fn connect(
        &self,
        module: &ModuleId,
        connect: Connect,
    ) -> Option<(Arc<Slot>, u64, Arc<Notify>)> {
        let mut modules = lock(&self.modules);
        if !modules.wanted.contains(module) {
            return None;
        }
        modules.last_link += 1;
        let link = modules.last_link;
        let slot = modules.slot(module, self.now_ms());
        let assigned = format!("{module}-{link}-{}", unix_nanos());
        let wake = Arc::new(Notify::new());
        let mut attended = slot.lock();
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

    /// Changes a module's session.
    pub(super) fn with_module(self: &Arc<Self>, module: &ModuleId, change: impl FnOnce(&mut Session)) {
        let slot = lock(&self.modules).slot(module, self.now_ms());
        self.change(&slot, change);
    }

    /// Sets who may connect, and disconnects the others.
    pub(super) fn set_wanted(self: &Arc<Self>, wanted: BTreeSet<ModuleId>) {
        let mut modules = lock(&self.modules);
        for (module, slot) in &modules.slots {
            if !wanted.contains(module) {
                self.change(slot, |session| session.evict(Fault::Unwanted));
            }
        }
        modules.wanted = wanted;
    }

    /// Sets what devices are called.
    pub(super) fn set_names(&self, names: BTreeMap<DeviceId, String>) {
        *lock(&self.names) = names;
    }

    /// A message as modules see it.
    pub(super) fn parcel(&self, message: Message) -> Parcel {
        let topic = match lock(&self.names).get(&message.origin) {
            Some(name) => message.topic_from(name),
            None => message.topic_from(&message.origin.to_string()),
        };
        Parcel { topic, properties: message.properties, payload: message.payload }
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

    /// Milliseconds since the listener began.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
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

impl Modules {
    fn slot(&mut self, module: &ModuleId, now_ms: u64) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(module) {
            return slot.clone();
        }
        let mark = self.marks.remove(module);
        let tickets = Tickets::new();
        let number = tickets.session();
        let session = Session::new(module.clone(), tickets, mark, now_ms);
        let slot = Arc::new(Slot(Mutex::new(Attended { session, wake: Arc::default() })));
        self.slots.insert(module.clone(), slot.clone());
        self.by_number.insert(number, slot.clone());
        slot
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
