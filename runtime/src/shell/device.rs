//! The device as its actors see it: who is where, and the way to the outside.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::mpsc;
use wayside_actors::{
    device::{
        calls, delivery, health, membership, module, reconciler, router, twins, uplink,
        wiring::{self, Actor, Event, Out},
    },
    queue::{Endpoint, Queue},
};
use wayside_config::{limits::TWIN_BYTES, workload::ModuleId};
use wayside_host::{Address, Host, SendError};
use wayside_mesh::store::QueueStore;

use super::Adapters;

/// Payload that is brought to the router at once, about: one message may exceed it.
const AT_ONCE_BYTES: usize = 1 << 20;

/// What a report of a module leads to, however short it is: the twin as it is written, and one side of it to the router.
const REPORT_BYTES: usize = 3 * TWIN_BYTES;

/// After a module's or a queue's machine was given up, until it is started again.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// All actors of the device. Lives on the actix thread.
#[derive(Debug)]
pub struct Device {
    pub(super) host: Host,
    pub(super) adapters: Adapters,
    pub(super) actors: RefCell<Actors>,
    /// The queues and their epoch, once they are open.
    queues: OnceCell<Queues>,
    /// What is wrong, by who noticed it, to tell a health that was restarted.
    problems: RefCell<BTreeMap<String, Vec<String>>>,
    /// The cloud was not told a report: until it has a full one the next ones are not told either.
    pub(super) lacks_report: Cell<bool>,
    /// A machine was given up that the device cannot do without.
    fatal: mpsc::UnboundedSender<String>,
}

/// The open store.
struct Queues {
    store: Arc<dyn QueueStore>,
    epoch: u64,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queues").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Where the actors are.
#[derive(Debug, Default)]
pub(super) struct Actors {
    pub(super) reconciler: Option<Address<reconciler::Event>>,
    pub(super) router: Option<Address<router::Event>>,
    pub(super) membership: Option<Address<membership::Event>>,
    pub(super) uplink: Option<Address<uplink::Event>>,
    pub(super) health: Option<Address<health::Event>>,
    pub(super) calls: Option<Address<calls::Event>>,
    pub(super) twins: Option<Address<twins::Event>>,
    pub(super) modules: BTreeMap<ModuleId, Address<module::Event>>,
    pub(super) deliveries: BTreeMap<Queue, Address<delivery::Event>>,
}

impl Device {
    /// A device without actors; see [`Self::begin`]. What comes out of the receiver ends the daemon.
    #[must_use]
    pub fn new(host: Host, adapters: Adapters) -> (Rc<Self>, mpsc::UnboundedReceiver<String>) {
        let (fatal, fatals) = mpsc::unbounded_channel();
        let device = Self {
            host,
            adapters,
            actors: RefCell::default(),
            queues: OnceCell::new(),
            problems: RefCell::default(),
            lacks_report: Cell::default(),
            fatal,
        };
        (Rc::new(device), fatals)
    }

    /// The adapters, for those who feed the device.
    #[must_use]
    pub fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// The queues, once they are open.
    #[must_use]
    pub fn store(&self) -> Option<Arc<dyn QueueStore>> {
        self.queues.get().map(|queues| Arc::clone(&queues.store))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.queues.get().map_or(0, |queues| queues.epoch)
    }

    /// The queues are open: messages can be taken. Called once.
    pub fn open(self: &Rc<Self>, store: Arc<dyn QueueStore>, epoch: u64) {
        self.adapters.view.opened(Arc::clone(&store));
        if self.queues.set(Queues { store, epoch }).is_ok() {
            self.begin_router();
        }
    }

    /// The reconciler's address, for those on other threads.
    #[must_use]
    pub fn reconciler(&self) -> Option<Address<reconciler::Event>> {
        self.actors.borrow().reconciler.clone()
    }

    /// The address of the calls under way, for those on other threads.
    #[must_use]
    pub fn calls(&self) -> Option<Address<calls::Event>> {
        self.actors.borrow().calls.clone()
    }

    /// The address of the twins, for those on other threads.
    #[must_use]
    pub fn twins(&self) -> Option<Address<twins::Event>> {
        self.actors.borrow().twins.clone()
    }

    /// Brings an event from outside, and waits while its actor has no room. One for an actor that is
    /// not there is dropped: it is late.
    pub async fn send(self: &Rc<Self>, event: Event, payload_bytes: usize) {
        let sending: BoxFuture<'static, Result<(), SendError>> = {
            let actors = self.actors.borrow();
            match event {
                Event::Reconciler(event) => sending(actors.reconciler.as_ref(), event, payload_bytes),
                Event::Router(event) => sending(actors.router.as_ref(), event, payload_bytes),
                Event::Membership(event) => sending(actors.membership.as_ref(), event, payload_bytes),
                Event::Uplink(event) => sending(actors.uplink.as_ref(), event, payload_bytes),
                Event::Health(event) => sending(actors.health.as_ref(), event, payload_bytes),
                Event::Calls(event) => sending(actors.calls.as_ref(), event, payload_bytes),
                Event::Twins(event) => sending(actors.twins.as_ref(), event, payload_bytes),
                Event::Module(module, event) => sending(actors.modules.get(&module), event, payload_bytes),
                Event::Delivery(queue, event) => sending(actors.deliveries.get(&queue), event, payload_bytes),
                event @ Event::Deliveries(..) => {
                    drop(actors);
                    return self.tell(event);
                }
            }
        };
        // Only an actor that has ended does not take it: it is late.
        let _ = sending.await;
    }

    /// Brings several events of modules, those for the router together as far as they are not large: what waits for
    /// room is bounded in bytes. Among the events for one actor order holds.
    pub async fn send_all(self: &Rc<Self>, events: impl Iterator<Item = Event>) {
        let (mut to_router, mut bytes, mut others) =
            (Vec::with_capacity(events.size_hint().0), 0, Vec::new());
        for event in events {
            if let Event::Router(event) = event {
                if let router::Event::Published { payload, .. } = &event {
                    bytes += payload.len();
                }
                to_router.push(event);
                if bytes >= AT_ONCE_BYTES {
                    self.send_to_router(std::mem::take(&mut to_router), std::mem::take(&mut bytes)).await;
                }
            } else {
                others.push(event);
            }
        }
        self.send_to_router(to_router, bytes).await;
        for event in others {
            let bytes = if let Event::Twins(twins::Event::Reported { patch, .. }) = &event {
                patch.len() + REPORT_BYTES
            } else {
                0
            };
            self.send(event, bytes).await;
        }
    }

    async fn send_to_router(&self, events: Vec<router::Event>, bytes: usize) {
        let router = self.actors.borrow().router.clone().filter(|_| !events.is_empty());
        if let Some(router) = router {
            // Only an actor that has ended does not take them: they are late.
            let _ = router.send_all(events, bytes).await;
        }
    }

    /// Tells an event at once: what one actor's effect means to another.
    pub fn tell(self: &Rc<Self>, event: Event) {
        if event.starts() {
            self.start_for(&event);
        }
        let actors = self.actors.borrow();
        match event {
            Event::Reconciler(event) => tell(actors.reconciler.as_ref(), event),
            Event::Router(event) => tell(actors.router.as_ref(), event),
            Event::Membership(event) => tell(actors.membership.as_ref(), event),
            Event::Uplink(event) => tell(actors.uplink.as_ref(), event),
            Event::Health(event) => tell(actors.health.as_ref(), event),
            Event::Calls(event) => tell(actors.calls.as_ref(), event),
            Event::Twins(event) => tell(actors.twins.as_ref(), event),
            Event::Module(module, event) => tell(actors.modules.get(&module), event),
            Event::Delivery(queue, event) => tell(actors.deliveries.get(&queue), event),
            Event::Deliveries(endpoint, event) => {
                if endpoint == Endpoint::Cloud {
                    self.adapters.view.cloud(matches!(event, delivery::Event::Up));
                }
                for (_, address) in actors.deliveries.iter().filter(|(queue, _)| queue.to == endpoint) {
                    tell(Some(address), event.clone());
                }
            }
        }
    }

    /// Carries out what an effect leads to.
    pub(super) async fn out(self: &Rc<Self>, out: Out) {
        match out {
            Out::Tell(event) => self.tell(event),
            Out::Io(io) => self.io(io).await,
            Out::End(actor) => self.end(&actor),
        }
    }

    /// Says what is wrong, and when it is over. Told to health only when it changed.
    pub fn problem(self: &Rc<Self>, source: &str, problem: Option<String>) {
        self.problems_of(source, Vec::from_iter(problem));
    }

    /// As [`Self::problem`], for a source that may have several.
    pub fn problems_of(self: &Rc<Self>, source: &str, problems: Vec<String>) {
        let mut known = self.problems.borrow_mut();
        if known.get(source).map_or(problems.is_empty(), |before| *before == problems) {
            return;
        }
        known.insert(source.to_owned(), problems.clone());
        drop(known);
        self.tell(Event::Health(health::Event::Problems { source: source.to_owned(), problems }));
    }

    /// What makes an actor whole again after a restart, and what begins some actors' first life.
    pub(super) fn restore(self: &Rc<Self>, actor: &Actor) {
        if *actor == Actor::Health {
            for (source, problems) in self.problems.borrow().clone() {
                self.tell(Event::Health(health::Event::Problems { source, problems }));
            }
        }
        let (device, outs) = (Rc::clone(self), wiring::after_restart(actor));
        actix::spawn(async move {
            for out in outs {
                device.out(out).await;
            }
        });
    }

    /// A machine was given up. Without one module or queue the device goes on, and tries it again
    /// later; without one of the others it would only seem to.
    pub(super) fn escalate(self: &Rc<Self>, actor: &Actor, reason: String) {
        let again = match actor {
            Actor::Module(module) => {
                self.actors.borrow_mut().modules.remove(module);
                Event::Reconciler(reconciler::Event::ModuleRestarted(module.clone()))
            }
            Actor::Delivery(queue) => {
                self.actors.borrow_mut().deliveries.remove(queue);
                Event::Router(router::Event::DeliveryRestarted(queue.clone()))
            }
            Actor::Reconciler
            | Actor::Router
            | Actor::Membership
            | Actor::Uplink
            | Actor::Health
            | Actor::Calls
            | Actor::Twins => {
                // An error means that the daemon is ending already.
                let _ = self.fatal.send(reason);
                return;
            }
        };
        // A source for each: one that is well again does not hide another.
        let source = format!("{actor:?}");
        self.problem(&source, Some(format!("{reason}; it is tried again every minute, please report this")));
        let device = Rc::clone(self);
        actix::spawn(async move {
            tokio::time::sleep(GIVEN_UP).await;
            device.problem(&source, None);
            device.tell(again);
        });
    }

    fn end(self: &Rc<Self>, actor: &Actor) {
        let mut actors = self.actors.borrow_mut();
        match actor {
            Actor::Module(module) => end(actors.modules.remove(module)),
            Actor::Delivery(queue) => end(actors.deliveries.remove(queue)),
            Actor::Reconciler => end(actors.reconciler.take()),
            Actor::Router => end(actors.router.take()),
            Actor::Membership => end(actors.membership.take()),
            Actor::Uplink => end(actors.uplink.take()),
            Actor::Health => end(actors.health.take()),
            Actor::Calls => end(actors.calls.take()),
            Actor::Twins => end(actors.twins.take()),
        }
    }

    /// Ends the actors after what they have handled is committed and handed over.
    pub async fn drain(&self) {
        let actors = self.actors.take();
        // The router first: what it has taken is appended and acknowledged. Then those that it told.
        drained(actors.router).await;
        futures_util::future::join_all(actors.deliveries.into_values().map(|a| drained(Some(a)))).await;
        futures_util::future::join_all(actors.modules.into_values().map(|a| drained(Some(a)))).await;
        drained(actors.reconciler).await;
        drained(actors.membership).await;
        drained(actors.calls).await;
        drained(actors.twins).await;
        drained(actors.health).await;
        drained(actors.uplink).await;
    }
}

fn sending<E: Send + 'static>(
    address: Option<&Address<E>>,
    event: E,
    payload_bytes: usize,
) -> BoxFuture<'static, Result<(), SendError>> {
    let address = address.cloned();
    async move {
        match address {
            Some(address) => address.send(event, payload_bytes).await,
            None => Err(SendError::Exited),
        }
    }
    .boxed()
}

fn tell<E: Send + 'static>(address: Option<&Address<E>>, event: E) {
    if let Some(address) = address {
        // Only an actor that has ended does not take it: it is late.
        let _ = address.tell(event);
    }
}

fn end<E: Send + 'static>(address: Option<Address<E>>) {
    actix::spawn(drained(address));
}

async fn drained<E: Send + 'static>(address: Option<Address<E>>) {
    if let Some(address) = address {
        address.end().await;
    }
}
