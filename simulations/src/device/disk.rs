//! A device's disk: what is committed outlives the daemon, and nothing else does.

use std::collections::{BTreeMap, VecDeque};

use wayside_actors::{
    device::{
        delivery,
        reconciler::{Floors, Life, Locks, Pulled},
        twins::Twin,
    },
    frame::Desired,
    message::Message,
    queue::{Queue, QueueState, StoreOp},
};
use wayside_config::workload::{ModuleId, ModuleSpec};

#[derive(Debug)]
pub(super) struct Disk {
    /// Which life of the store numbers its messages.
    pub(super) epoch: u64,
    pub(super) floors: Floors,
    pub(super) desired: Option<Desired>,
    pub(super) lives: BTreeMap<String, Life>,
    pub(super) locks: Locks,
    pub(super) pulled: Pulled,
    pub(super) twins: BTreeMap<ModuleId, Twin>,
    queues: BTreeMap<Queue, Kept>,
    marks: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
struct Kept {
    acked: u64,
    messages: VecDeque<Message>,
}

impl Disk {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            floors: Floors::default(),
            desired: None,
            locks: Locks::default(),
            pulled: Pulled::default(),
            lives: BTreeMap::new(),
            twins: BTreeMap::new(),
            queues: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn commit(&mut self, op: StoreOp) {
        match op {
            StoreOp::Append { queue, seq, message } => {
                let new = Kept { acked: seq - 1, messages: VecDeque::new() };
                let kept = self.queues.entry(queue).or_insert(new);
                assert_eq!(seq, kept.last() + 1, "a queue is numbered without gaps");
                kept.messages.push_back(message);
            }
            StoreOp::Trim { queue, upto } => {
                if let Some(kept) = self.queues.get_mut(&queue) {
                    while kept.acked < upto && kept.messages.pop_front().is_some() {
                        kept.acked += 1;
                    }
                }
            }
            StoreOp::Drop { queue } => {
                self.queues.remove(&queue);
            }
            StoreOp::Mark { key, value } => {
                self.marks.insert(key, value);
            }
            StoreOp::Unmark { key } => {
                self.marks.remove(&key);
            }
        }
    }

    /// The modules of the version that runs, when the one whose modules are `newest` was taken back.
    pub(super) fn goes_without(
        &self,
        newest: &BTreeMap<ModuleId, ModuleSpec>,
    ) -> Option<BTreeMap<ModuleId, ModuleSpec>> {
        let life = self.lives.values().find(|life| life.taken_back.is_some())?;
        let release = &life.committed.as_ref()?.release;
        let name = &release.workload.name;
        let modules = release.workload.modules.iter();
        let modules =
            modules.map(|(module, spec)| (ModuleId::new(name.as_str(), module.as_str()), spec.clone()));
        Some(modules.collect()).filter(|modules| modules != newest)
    }

    /// Every queue and how far it has come.
    pub(super) fn queues(&self) -> BTreeMap<Queue, QueueState> {
        self.queues.iter().map(|(queue, kept)| (queue.clone(), kept.state())).collect()
    }

    pub(super) fn marks(&self) -> BTreeMap<String, Vec<u8>> {
        self.marks.clone()
    }

    /// Reads for a delivery.
    pub(super) fn load(
        &self,
        queue: &Queue,
        from: u64,
        max_messages: usize,
        max_bytes: usize,
        wall_ms: u64,
    ) -> delivery::Event {
        let Some(kept) = self.queues.get(queue) else {
            return delivery::Event::Loaded { from, first_seq: from, messages: Vec::new(), wall_ms };
        };
        let first_seq = from.max(kept.acked + 1);
        let mut bytes = 0;
        let skip = (first_seq - kept.acked - 1) as usize;
        let wanted = kept.messages.iter().skip(skip).take(max_messages).enumerate();
        let messages = wanted.take_while(|(at, message)| {
            bytes += message.cost_bytes();
            *at == 0 || bytes <= max_bytes
        });
        let messages = messages.map(|(_, message)| message.clone()).collect();
        delivery::Event::Loaded { from, first_seq, messages, wall_ms }
    }
}

impl Kept {
    fn last(&self) -> u64 {
        self.acked + self.messages.len() as u64
    }

    fn state(&self) -> QueueState {
        let bytes = self.messages.iter().map(|message| message.cost_bytes() as u64).sum();
        QueueState { acked: self.acked, last: self.last(), bytes }
    }
}
