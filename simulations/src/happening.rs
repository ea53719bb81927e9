//! Everything that can be on the schedule of a world.

use wayside_actors::{
    cloud,
    device::wiring::{Actor, Event},
    frame::{ToCloud, ToDevice},
    message::{Batch, Confirm, Message},
    queue::Queue,
};
use wayside_config::workload::{ModuleId, ModuleSpec};

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Happening {
    /// On a device.
    Device(u32, OnDevice),
    /// In the cloud.
    Cloud(InCloud),
    /// The operator applies the scenario's workload in this version, until the cloud has it.
    Apply(u64),
    /// A fault of the scenario begins.
    Fault(usize),
    /// A fault of the scenario is over.
    Mended(usize),
}

/// Something on a device.
#[derive(Debug)]
pub(crate) enum OnDevice {
    /// The daemon starts.
    Boot,
    /// For the daemon as it was started that time; nothing for a later one.
    Daemon { life: u32, what: InDaemon },
    /// Something about this connection to the cloud; nothing for a daemon that has another one.
    Uplink { connection: u64, what: OnUplink },
    /// Something came over the LAN.
    Lan { from: u32, what: OnLan },
    /// The mesh looks whether a neighbour's liveliness changed.
    Look { at: u32 },
    /// The container engine is done with something that this life of the daemon asked for.
    Engine { life: u32, what: InEngine },
    /// A container's main process ends by itself.
    Crash { container: u64, run: u64 },
    /// Something in a module.
    Program(ModuleId, InProgram),
}

/// Something in a daemon.
#[derive(Debug)]
pub(crate) enum InDaemon {
    /// The actor's group of changes is on the disk.
    Committed(Actor),
    /// The actor wished to be woken.
    Wake(Actor),
    /// An adapter has something to tell.
    Tell(Box<Event>),
    /// An operator calls a module.
    Call,
    /// A packet of a module's MQTT session.
    Packet { module: ModuleId, session: u64, packet: ToBroker },
}

/// What a device hears of its uplink.
#[derive(Debug)]
pub(crate) enum OnUplink {
    /// The handshake is over, if nothing came between.
    Dialled,
    /// The connection could not be made, or is found to have ended.
    Lost,
    /// A frame from the cloud.
    Frame(Box<ToDevice>),
}

/// What devices say to each other.
#[derive(Clone, Debug)]
pub(crate) enum OnLan {
    Batch(Box<Batch>),
    Confirm(Confirm),
}

/// What a container engine does.
#[derive(Debug)]
pub(crate) enum InEngine {
    List,
    Look { workload: String, images: Vec<String> },
    Pull { workload: String, images: Vec<String> },
    Create { module: ModuleId, spec: Box<ModuleSpec>, spec_hash: String },
    Start { module: ModuleId, container: String },
    Stop { module: ModuleId, container: String },
    Remove { module: ModuleId, container: String },
    RemoveOrphan { container: String },
}

/// Something in a module. A run is one start of its container.
#[derive(Debug)]
pub(crate) enum InProgram {
    /// It dials the broker.
    Dial { run: u64 },
    /// It measures.
    Tick { run: u64 },
    /// A packet came from the broker.
    Packet { session: u64, packet: ToModule },
}

/// MQTT, from a module.
#[derive(Clone, Debug)]
pub(crate) enum ToBroker {
    /// PUBLISH at QoS 2.
    Publish { packet_id: u16, number: u64 },
    /// PUBREL.
    Release { packet_id: u16 },
    /// PUBACKs for everything up to a number of a queue.
    Ack { queue: Queue, upto: u64 },
    /// PUBLISH of the answer to a call.
    Answer { call: u64 },
}

/// MQTT, to a module.
#[derive(Clone, Debug)]
pub(crate) enum ToModule {
    /// PUBREC.
    Received { packet_id: u16 },
    /// PUBCOMP.
    Complete { packet_id: u16 },
    /// PUBREC with a reason to give up.
    Refused { packet_id: u16, reason: String },
    /// PUBLISH of a call.
    Call { call: u64 },
    /// PUBLISHes at QoS 1.
    Deliver { queue: Queue, first_seq: u64, messages: Vec<Message> },
}

/// Something in the cloud.
#[derive(Debug)]
pub(crate) enum InCloud {
    /// The service starts.
    Boot,
    /// For the service as it was started that time.
    Service { life: u32, what: InService },
}

/// Something in the cloud's service.
#[derive(Debug)]
pub(crate) enum InService {
    /// The actor's group of changes is stored.
    Committed(cloud::wiring::Actor),
    /// The actor wished to be woken.
    Wake(cloud::wiring::Actor),
    /// A device's connection stands.
    Opened { device: u32, connection: u64 },
    /// A frame from a device.
    Frame { device: u32, connection: u64, frame: Box<ToCloud> },
    /// A device's connection is found to have ended.
    Closed { device: u32, connection: u64 },
}
