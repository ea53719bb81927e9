//! What the device's machines want done outside: the whole list.
//!
//! Adapters carry these out and answer with events. They decide nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use wayside_config::{
    document::Member,
    identity::DeviceId,
    workload::{ModuleId, ModuleSpec},
};

use crate::{
    device::{
        access::Client,
        calls,
        membership::Role,
        reconciler::{Floors, Life, Locks, Pulled},
        twins::Twin,
    },
    frame::{Ask, Desired, ToCloud},
    message::{Batch, Confirm, Message},
    queue::{Queue, StoreOp},
    report::Report,
};

/// Something outside the machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Io {
    /// To the container engine.
    Engine(Engine),
    /// To the mesh.
    Mesh(Mesh),
    /// To the MQTT listener.
    Mqtt(Mqtt),
    /// To the uplink.
    Uplink(Uplink),
    /// To the queue store.
    Store(Store),
    /// Replaces the persisted highest versions, atomically: always a persist step. The reconciler is
    /// made from them.
    SaveFloors(Floors),
    /// Replaces the persisted desired state as a whole, atomically: always a persist step.
    SaveDesired(Desired),
    /// Replaces what is persisted of a workload, atomically: always a persist step. The reconciler is made from them.
    SaveLife(String, Box<Life>),
    /// Forgets a workload: always a persist step.
    DropLife(String),
    /// Keeps a module's twin: always a persist step. The twins are made from them.
    SaveTwin(ModuleId, Box<Twin>),
    /// Forgets a module's twin: always a persist step.
    DropTwin(ModuleId),
    /// Check the signature of a twin's change that came from the cloud; when it holds, answered by
    /// `twins::Event::Change` without a question.
    VerifyTwin(Bytes),
    /// A module's twin, for the operator who asked.
    TwinShown {
        /// The question's number.
        question: u64,
        /// The twin, or why not, and what to do.
        result: Result<Box<Twin>, String>,
    },
    /// Replaces who holds updates back: always a persist step. The reconciler is made from them.
    SaveLocks(Locks),
    /// Replaces which images were got here: always a persist step. The reconciler is made from them.
    SavePulled(Pulled),
    /// Put on record that a version of a workload did not prove itself, and the one before runs again.
    TakenBack {
        /// Of this workload.
        workload: String,
        /// The version that was taken back.
        version: u64,
        /// In words.
        why: String,
    },
    /// Tell whoever offered it that desired state with an assignment of this version is not taken.
    NotTaken {
        /// The version.
        version: u64,
        /// Why, and what to do.
        reason: String,
    },
    /// Say what time it is by the wall clock; answered by `reconciler::Event::Time`.
    AskTime,
    /// Read the persisted desired state; answered by `reconciler::Event::Desired` with `restored`,
    /// or not at all where there is none.
    LoadDesired,
    /// Check the signatures of desired state that came from the cloud; when they hold, answered by
    /// `reconciler::Event::Desired`.
    Verify(Desired),
    /// Answer an operator's question, by `uplink::Event::Answer`.
    Answer(Ask),
    /// Hold the device's wall clock against the cloud's: tells `health::Event::Clock`.
    Clock {
        /// What the cloud's clock was in the middle of the round trip, about.
        cloud_ms: u64,
        /// Milliseconds that question and answer took; the answer has only now come.
        round_trip_ms: u64,
    },
    /// What came of an operator's call, for whoever made it.
    Called {
        /// Which.
        call: u64,
        /// Its answer.
        outcome: calls::Outcome,
    },
    /// A report for whoever asks on this device (`wayside status`).
    Publish(Box<Report>),
}

/// Container engine. Each answers the module machine named, or the reconciler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Engine {
    /// List this device's containers; answered by `reconciler::Event::Observed`, or `EngineLost`.
    List,
    /// Say which of these images are not there, and what room there is for them; answered by `reconciler::Event::Looked`.
    /// What is still under way for the workload is given up.
    Look {
        /// For this workload.
        workload: String,
        /// The images.
        images: Vec<String>,
    },
    /// Get these images; answered by `reconciler::Event::Got` as each comes, and by `Pulled`.
    Pull {
        /// For this workload.
        workload: String,
        /// The images.
        images: Vec<String>,
        /// All that may be downloaded for them, in bytes. What goes beyond that is `reconciler::NotPulled::TooLarge`.
        max_bytes: u64,
    },
    /// Make a container; answered by `module::Event::Created` or `Failed`.
    Create {
        /// For this module.
        module: ModuleId,
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// For the label `wayside.spec`.
        spec_hash: String,
    },
    /// Make the container ahead that a module wants once the one that runs has ended. Not answered: what is not made then is made when it
    /// is asked for.
    Prepare {
        /// For this module.
        module: ModuleId,
        /// As its release says.
        spec: Box<ModuleSpec>,
        /// For the label `wayside.spec`.
        spec_hash: String,
        /// What the one that runs has to end, in milliseconds.
        grace_ms: u64,
    },
    /// Start it; answered by `Started` or `Failed`.
    Start {
        /// The module.
        module: ModuleId,
        /// Its container.
        container: String,
    },
    /// Stop it within `grace_ms`, then kill; answered by `Exited` from the event stream, or `Failed`.
    Stop {
        /// The module.
        module: ModuleId,
        /// Its container.
        container: String,
        /// Milliseconds between the stop signal and the kill.
        grace_ms: u64,
    },
    /// Remove it, running or not; answered by `Removed` or `Failed`. Removing what is gone is success.
    Remove {
        /// The module.
        module: ModuleId,
        /// Its container.
        container: String,
    },
    /// Say what room there is for images; answered by `reconciler::Event::Space`.
    Space,
    /// Remove an image that this device got, unless a container uses it; answered by `reconciler::Event::ImageGone`, or not at all
    /// where the engine does not say.
    RemoveImage {
        /// The image.
        image: String,
    },
    /// Remove a container that carries this device's label and that nobody wants. Not answered.
    RemoveOrphan {
        /// The container.
        container: String,
    },
}

/// The mesh. Not answered; what arrives comes as events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Mesh {
    /// Send messages to a device, which answers with a `Confirm`.
    Send {
        /// The destination.
        to: DeviceId,
        /// What.
        batch: Batch,
    },
    /// Send one message of a best-effort route: now or not at all.
    Forward {
        /// The destination.
        to: DeviceId,
        /// Names the route.
        queue: Queue,
        /// What.
        message: Message,
    },
    /// Tell the origin how far its messages are stored here.
    Confirm {
        /// The origin.
        to: DeviceId,
        /// How far.
        confirm: Confirm,
    },
    /// The membership was restarted: bring `TokenSeen` and `RouterSeen` for every token that is there.
    Tokens,
    /// Take part in the mesh like this from now on, with a new session if need be.
    Role(Role),
}

/// The MQTT listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Mqtt {
    /// The publishes with these tickets are stored (or need no storing): acknowledge them.
    Accept {
        /// From `router::Event::Published`.
        tickets: Vec<u64>,
    },
    /// The client may not publish to that topic: no route takes it, and no grant names it.
    Deny {
        /// From `router::Event::Published`.
        ticket: u64,
    },
    /// The publish with this ticket is refused; MQTT 5 clients get the reason.
    Refuse {
        /// From `router::Event::Published`.
        ticket: u64,
        /// For a person.
        reason: String,
    },
    /// Deliver to a module's session; answered by `delivery::Event::Acked`.
    Deliver {
        /// The queue, whose endpoint is the module.
        queue: Queue,
        /// Number of the first message.
        first_seq: u64,
        /// Their topics as the module sees them: [`Message::topic_from`].
        messages: Vec<Message>,
    },
    /// Deliver one message of a best-effort route to a module's session at QoS 0: now or not at all.
    Forward {
        /// Names the route and the module.
        queue: Queue,
        /// Its topic as the module sees it: [`Message::topic_from`].
        message: Message,
    },
    /// What is retained for a module: it gets what its new subscriptions match.
    Retained {
        /// Whose.
        module: ModuleId,
        /// Their topics as the module sees them: [`Message::topic_from`].
        messages: Vec<Message>,
    },
    /// The queue, whose endpoint is a module, is closed: what is held of it is not delivered any more,
    /// and a later queue of that name counts anew. Not answered.
    Forget(Queue),
    /// Say whether the module's session can take messages: answered by `delivery::Event::Up` or
    /// `Down` for its endpoint.
    AskUp {
        /// Which.
        module: ModuleId,
    },
    /// Hand a call to the module's client, now or not at all; answered by `calls::Event::Answered` or
    /// `Undelivered`.
    Call {
        /// Its number.
        call: u64,
        /// To whom.
        module: ModuleId,
        /// The method's name: [`calls::is_method`].
        method: String,
        /// What is said with it, at most [`calls::MAX_BODY_BYTES`].
        body: Bytes,
    },
    /// Nobody waits for the call's answer any more: it is not handed over if it was not yet. Not answered.
    Withdraw {
        /// Which.
        call: u64,
        /// Whose.
        module: ModuleId,
    },
    /// Tell the module's client what is desired of it, if it wants to hear; in place of what it was not told yet.
    Desired {
        /// Whose.
        module: ModuleId,
        /// JSON: `{"version": 3, "desired": {...}}`.
        body: Bytes,
    },
    /// The names of devices in the topics that modules see. A device without one goes by its key.
    Names(BTreeMap<DeviceId, String>),
    /// The modules and leaves that may connect now, by their names; others are disconnected, and their sessions end.
    Clients(Vec<Client>),
    /// Everybody is disconnected, and nobody may connect before [`Mqtt::Clients`] says who. Sessions stay.
    Pause,
}

/// The uplink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Uplink {
    /// Dial the cloud; answered by `uplink::Event::Connected` or `Lost`.
    Connect,
    /// Close the connection, if any.
    Close,
    /// Send a frame on the connection, if any. Where there is no room now nobody waits: see
    /// [`crate::device::wiring::untold`].
    Send(ToCloud),
    /// Send these frames, one after the other, or none of them: as `Send`.
    Together(Vec<ToCloud>),
}

/// The queue store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Store {
    /// Commit, in one group with other changes: always a persist step.
    Commit(StoreOp),
    /// Read messages; always answered by `delivery::Event::Loaded`, which is empty where reading fails.
    Load {
        /// The queue.
        queue: Queue,
        /// First number wanted.
        from: u64,
        /// At most this many messages.
        max_messages: usize,
        /// At most about this many bytes; at least one message.
        max_bytes: usize,
    },
}

/// Members of a workload, with their names, as its assignment lists them.
pub type Members = Vec<Member>;
