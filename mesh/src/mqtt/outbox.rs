//! Messages on their way to one module: which are sent, which are acknowledged, and how far each queue is.
//!
//! It outlives connections: what was handed over once is kept until the client has acknowledged it, so a queue
//! is always acknowledged without a gap, whatever its delivery sends again meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use wayside_actors::{message::Properties, queue::Queue};

/// Messages of best-effort routes that wait for the client to read, at most; and their bytes.
const LIVE_MESSAGES: usize = 1024;
const LIVE_BYTES: usize = 1 << 20;

/// Unacknowledged messages by queue. Bounded by the windows of the queues' deliveries.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    lanes: BTreeMap<Arc<Queue>, Lane>,
    inflight: BTreeMap<u16, InFlight>,
    /// In flight on an earlier connection and not yet sent on this one, in the order of sending.
    resend: VecDeque<u16>,
    sent: u64,
    last_id: u16,
    /// The queue that sent last: the next one has its turn.
    turn: Option<Arc<Queue>>,
    /// Queues whose progress is to be told.
    progress: BTreeSet<Arc<Queue>>,
    /// Messages of best-effort routes, oldest first, and their bytes.
    live: VecDeque<Parcel>,
    live_bytes: usize,
    is_lives_turn: bool,
}

/// A message as its module gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) topic: String,
    pub(super) properties: Properties,
    pub(super) payload: Bytes,
}

impl Parcel {
    fn cost_bytes(&self) -> usize {
        let properties: usize =
            self.properties.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
        self.topic.len() + self.payload.len() + properties + 64
    }
}

/// One publish to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) parcel: Parcel,
    /// `None` for QoS 0, which is settled by sending it.
    pub(super) packet_id: Option<u16>,
    pub(super) dup: bool,
}

impl Outbox {
    /// Takes what a delivery sends. What is held already is left out.
    pub(super) fn take(&mut self, queue: Queue, first_seq: u64, messages: Vec<Parcel>) {
        let queue = Arc::new(queue);
        let lane = self.lanes.entry(queue.clone()).or_insert_with(|| Lane::starting_at(first_seq));
        if first_seq <= lane.acked {
            // The delivery has not heard of it, or has lost it.
            self.progress.insert(queue);
        }
        for (seq, parcel) in (first_seq..).zip(messages) {
            if seq > lane.high {
                lane.high = seq;
                lane.held.push_back(Held { seq, parcel, is_settled: false });
            }
        }
    }

    /// Takes a message that nobody stores; the oldest ones make room for it.
    pub(super) fn take_live(&mut self, parcel: Parcel) {
        self.live_bytes += parcel.cost_bytes();
        self.live.push_back(parcel);
        while self.live.len() > LIVE_MESSAGES || (self.live_bytes > LIVE_BYTES && self.live.len() > 1) {
            self.next_live();
        }
    }

    fn next_live(&mut self) -> Option<Parcel> {
        let parcel = self.live.pop_front()?;
        self.live_bytes -= parcel.cost_bytes();
        Some(parcel)
    }

    /// Forgets a queue.
    pub(super) fn forget(&mut self, queue: &Queue) {
        self.lanes.remove(queue);
        self.progress.remove(queue);
        self.inflight.retain(|_, flight| *flight.queue != *queue);
    }

    /// The same client is back: what was in flight is sent again, first and in its order.
    pub(super) fn resume(&mut self) {
        let mut ids: Vec<_> = self.inflight.iter().map(|(id, flight)| (flight.order, *id)).collect();
        ids.sort_unstable();
        self.resend = ids.into_iter().map(|(_, id)| id).collect();
    }

    /// The session ended: what was in flight is sent as new to the next one.
    pub(super) fn restart(&mut self) {
        self.inflight.clear();
        self.resend.clear();
        self.live.clear();
        self.live_bytes = 0;
        for lane in self.lanes.values_mut() {
            lane.next = 0;
        }
    }

    /// The next publish, while fewer than `window` are in flight. `grant` tells the QoS for a topic, or `None`
    /// where no subscription matches: such a message waits, and its queue behind it.
    pub(super) fn next(&mut self, window: usize, grant: impl Fn(&str) -> Option<u8>) -> Option<Outgoing> {
        while let Some(id) = self.resend.pop_front() {
            let held = self
                .inflight
                .get(&id)
                .and_then(|flight| self.lanes.get(&flight.queue).and_then(|lane| lane.find(flight.seq)));
            if let Some(held) = held {
                return Some(held.outgoing(Some(id), true));
            }
        }
        // Turn about, so that neither kind waits for the other.
        self.is_lives_turn = !self.is_lives_turn;
        let chosen = self.choose(window, &grant);
        if self.is_lives_turn || chosen.is_none() {
            while let Some(parcel) = self.next_live() {
                if grant(&parcel.topic).is_some() {
                    return Some(Outgoing { parcel, packet_id: None, dup: false });
                }
            }
        }
        let queue = chosen?;
        self.turn = Some(queue.clone());
        let lane = self.lanes.get_mut(&queue)?;
        let held = lane.unsent()?;
        if grant(&held.parcel.topic)? == 0 {
            let outgoing = held.outgoing(None, false);
            let seq = held.seq;
            lane.next += 1;
            self.settle(&queue, seq);
            return Some(outgoing);
        }
        let seq = held.seq;
        let id = free_id(self.last_id, &self.inflight);
        let outgoing = held.outgoing(Some(id), false);
        lane.next += 1;
        self.last_id = id;
        self.sent += 1;
        self.inflight.insert(id, InFlight { queue, seq, order: self.sent });
        Some(outgoing)
    }

    /// The client acknowledged a packet. False if none such was in flight.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> bool {
        let Some(flight) = self.inflight.remove(&packet_id) else {
            return false;
        };
        self.settle(&flight.queue, flight.seq);
        true
    }

    /// Queues that came further since the last call, and how far.
    pub(super) fn take_progress(&mut self) -> Vec<(Queue, u64)> {
        std::mem::take(&mut self.progress)
            .into_iter()
            .filter_map(|queue| Some(((*queue).clone(), self.lanes.get(&queue)?.acked)))
            .collect()
    }

    /// A queue whose next message may be sent, beginning after the one whose turn it was.
    fn choose(&self, window: usize, grant: impl Fn(&str) -> Option<u8>) -> Option<Arc<Queue>> {
        let has_room = self.inflight.len() < window;
        let is_ready = |(_, lane): &(&Arc<Queue>, &Lane)| {
            lane.peek().is_some_and(|held| match grant(&held.parcel.topic) {
                Some(0) => true,
                Some(_) => has_room,
                None => false,
            })
        };
        let after = self.turn.as_ref().and_then(|turn| {
            let later = (Bound::Excluded(turn.clone()), Bound::Unbounded);
            self.lanes.range(later).find(is_ready)
        });
        after.or_else(|| self.lanes.iter().find(is_ready)).map(|(queue, _)| queue.clone())
    }

    fn settle(&mut self, queue: &Arc<Queue>, seq: u64) {
        if self.lanes.get_mut(queue).is_some_and(|lane| lane.settle(seq)) {
            self.progress.insert(queue.clone());
        }
    }
}

#[derive(Debug)]
struct InFlight {
    queue: Arc<Queue>,
    seq: u64,
    /// Which publish of the outbox this was, for sending again in the same order.
    order: u64,
}

/// One queue: everything up to `acked` is settled, everything up to `high` has been taken.
#[derive(Debug)]
struct Lane {
    acked: u64,
    high: u64,
    held: VecDeque<Held>,
    /// Index of the first one that is not sent.
    next: usize,
}

#[derive(Debug)]
struct Held {
    seq: u64,
    parcel: Parcel,
    is_settled: bool,
}

impl Lane {
    fn starting_at(first_seq: u64) -> Self {
        let before = first_seq.saturating_sub(1);
        Self { acked: before, high: before, held: VecDeque::new(), next: 0 }
    }

    fn find(&self, seq: u64) -> Option<&Held> {
        let index = self.held.binary_search_by_key(&seq, |held| held.seq).ok()?;
        self.held.get(index)
    }

    /// The first message that is neither sent nor settled.
    fn peek(&self) -> Option<&Held> {
        self.held.iter().skip(self.next).find(|held| !held.is_settled)
    }

    /// The same, with `next` standing on it.
    fn unsent(&mut self) -> Option<&Held> {
        while self.held.get(self.next)?.is_settled {
            self.next += 1;
        }
        self.held.get(self.next)
    }

    /// True if the queue came further.
    fn settle(&mut self, seq: u64) -> bool {
        let Ok(index) = self.held.binary_search_by_key(&seq, |held| held.seq) else {
            return false;
        };
        self.held[index].is_settled = true;
        let before = self.acked;
        while let Some(held) = self.held.front().filter(|held| held.is_settled) {
            self.acked = held.seq;
            self.held.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        self.acked > before
    }
}

impl Held {
    fn outgoing(&self, packet_id: Option<u16>, dup: bool) -> Outgoing {
        Outgoing { parcel: self.parcel.clone(), packet_id, dup }
    }
}

/// The next packet identifier that is not in flight; the window is far smaller than their number.
fn free_id(last: u16, inflight: &BTreeMap<u16, InFlight>) -> u16 {
    let mut id = last.checked_add(1).unwrap_or(1);
    while inflight.contains_key(&id) {
        id = id.checked_add(1).unwrap_or(1);
    }
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wayside_actors::queue::Endpoint;

    use super::*;

    fn queue(route: &str) -> Queue {
        let to = Endpoint::Module("plant/detector".parse().unwrap());
        Queue { route: route.to_owned(), to }
    }

    fn messages(numbers: std::ops::RangeInclusive<u64>) -> Vec<Parcel> {
        let parcel = |n: u64| Parcel {
            topic: format!("dev/sensor/t{}", n % 2),
            properties: Properties::new(),
            payload: n.to_string().into(),
        };
        numbers.map(parcel).collect()
    }

    fn sent(outbox: &mut Outbox, window: usize) -> Vec<(String, Option<u16>, bool)> {
        std::iter::from_fn(|| outbox.next(window, |_| Some(1)))
            .map(|out| (String::from_utf8(out.parcel.payload.to_vec()).unwrap(), out.packet_id, out.dup))
            .collect()
    }

    #[test]
    fn acknowledgements_form_a_prefix_before_they_are_told() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 5, messages(5..=7));
        assert_eq!(sent(&mut outbox, 10).len(), 3);
        assert!(outbox.acknowledge(2));
        assert!(outbox.take_progress().is_empty());
        assert!(outbox.acknowledge(1));
        assert_eq!(outbox.take_progress(), [(queue("a"), 6)]);
        assert!(!outbox.acknowledge(1));
        assert!(outbox.acknowledge(3));
        assert_eq!(outbox.take_progress(), [(queue("a"), 7)]);
    }

    #[test]
    fn what_is_handed_over_again_is_sent_once_and_told_again() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(1..=3));
        outbox.take(queue("a"), 1, messages(1..=5));
        assert_eq!(sent(&mut outbox, 10).len(), 5);
        for id in 1..=5 {
            outbox.acknowledge(id);
        }
        assert_eq!(outbox.take_progress(), [(queue("a"), 5)]);
        outbox.take(queue("a"), 3, messages(3..=5));
        assert_eq!(sent(&mut outbox, 10), []);
        assert_eq!(outbox.take_progress(), [(queue("a"), 5)]);
    }

    #[test]
    fn a_window_sent_late_never_acknowledges_what_came_before_it() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(1..=2));
        sent(&mut outbox, 10);
        outbox.restart();
        outbox.take(queue("a"), 3, messages(3..=3));
        let again = sent(&mut outbox, 10);
        assert_eq!(again.iter().map(|sent| sent.0.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
        outbox.acknowledge(again[2].1.unwrap());
        assert!(outbox.take_progress().is_empty());
    }

    #[test]
    fn a_resumed_session_gets_its_identifiers_again() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(1..=3));
        assert_eq!(sent(&mut outbox, 2).len(), 2);
        outbox.resume();
        let expected =
            [("1", Some(1), true), ("2", Some(2), true)].map(|(text, id, dup)| (text.to_owned(), id, dup));
        assert_eq!(sent(&mut outbox, 2), expected);
        outbox.acknowledge(2);
        assert_eq!(sent(&mut outbox, 2), [("3".to_owned(), Some(3), false)]);
    }

    #[test]
    fn a_message_without_a_subscription_holds_its_own_queue_only() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(1..=2));
        outbox.take(queue("b"), 2, messages(2..=2));
        let only_even = |topic: &str| topic.ends_with('0').then_some(0);
        let out = outbox.next(10, only_even).unwrap();
        assert_eq!((&out.parcel.payload[..], out.packet_id), (&b"2"[..], None));
        assert!(outbox.next(10, only_even).is_none());
        assert_eq!(outbox.take_progress(), [(queue("b"), 2)]);
        assert_eq!(sent(&mut outbox, 10).len(), 2);
    }

    #[test]
    fn queues_take_turns() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(11..=12));
        outbox.take(queue("b"), 1, messages(21..=22));
        let order: Vec<_> = sent(&mut outbox, 10).into_iter().map(|sent| sent.0).collect();
        assert_eq!(order, ["11", "21", "12", "22"]);
    }

    #[test]
    fn a_forgotten_queue_counts_anew() {
        let mut outbox = Outbox::default();
        outbox.take(queue("a"), 1, messages(1..=2));
        sent(&mut outbox, 10);
        outbox.forget(&queue("a"));
        assert!(!outbox.acknowledge(1));
        outbox.take(queue("a"), 1, messages(1..=1));
        assert_eq!(sent(&mut outbox, 10).len(), 1);
        outbox.acknowledge(3);
        assert_eq!(outbox.take_progress(), [(queue("a"), 1)]);
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// The delivery hands over so many new messages, or goes back to what it knows as acknowledged.
        Append(u64),
        GoBack,
        Send,
        /// The client acknowledges one of what it got.
        Acknowledge(prop::sample::Index),
        Resume,
        Restart,
        /// The delivery hears how far it is.
        Tell,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (1u64..4).prop_map(Op::Append),
            Just(Op::GoBack),
            Just(Op::Send),
            Just(Op::Send),
            any::<prop::sample::Index>().prop_map(Op::Acknowledge),
            any::<prop::sample::Index>().prop_map(Op::Acknowledge),
            Just(Op::Resume),
            Just(Op::Restart),
            Just(Op::Tell),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_told_as_acknowledged_that_the_client_did_not_acknowledge(
            ops in prop::collection::vec(op(), 1..80),
        ) {
            let mut outbox = Outbox::default();
            let (mut appended, mut known) = (0, 0);
            let mut got: Vec<(u16, u64)> = Vec::new();
            let mut acknowledged = BTreeSet::new();
            for op in ops.into_iter().chain([Op::GoBack, Op::Restart]) {
                match op {
                    Op::Append(count) => {
                        outbox.take(queue("a"), appended + 1, messages(appended + 1..=appended + count));
                        appended += count;
                    }
                    Op::GoBack if appended > known => {
                        outbox.take(queue("a"), known + 1, messages(known + 1..=appended));
                    }
                    Op::GoBack => {}
                    Op::Send => {
                        if let Some(out) = outbox.next(3, |_| Some(1)) {
                            let number = std::str::from_utf8(&out.parcel.payload).unwrap().parse().unwrap();
                            let id = out.packet_id.unwrap();
                            got.retain(|(other, _)| *other != id);
                            got.push((id, number));
                        }
                    }
                    Op::Acknowledge(index) if !got.is_empty() => {
                        let (id, number) = got.remove(index.index(got.len()));
                        prop_assert!(outbox.acknowledge(id));
                        acknowledged.insert(number);
                    }
                    Op::Acknowledge(_) => {}
                    Op::Resume => outbox.resume(),
                    Op::Restart => {
                        outbox.restart();
                        got.clear();
                    }
                    Op::Tell => {
                        known = outbox.take_progress().first().map_or(known, |(_, upto)| *upto);
                        prop_assert!((1..=known).all(|number| acknowledged.contains(&number)));
                    }
                }
            }
            while let Some(out) = outbox.next(3, |_| Some(1)) {
                outbox.acknowledge(out.packet_id.unwrap());
            }
            let told = outbox.take_progress().first().map_or(known, |(_, upto)| *upto);
            prop_assert_eq!(told, appended);
        }
    }
}
