//! QoS 2 to a client.

use std::collections::BTreeMap;

use super::*;
use crate::mqtt::settings::MAX_SESSION_BYTES;

/// What is sent at QoS 2, and what is released.
fn packets(outbox: &mut Outbox) -> Vec<String> {
    let text = |outgoing| match outgoing {
        Outgoing::Release { packet_id } => format!("release {packet_id}"),
        Outgoing::Publish { .. } => {
            let (text, id, dup) = published(outgoing);
            format!("{text} as {}{}", id.unwrap(), if dup { " again" } else { "" })
        }
    };
    std::iter::from_fn(|| outbox.next(10, |_| Grant::Send(2))).map(text).collect()
}

fn lasting() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.last(true);
    outbox
}

/// The store takes what there is to keep.
fn keep(outbox: &mut Outbox) -> Vec<u8> {
    let kept = outbox.take_change().unwrap();
    outbox.kept();
    kept
}

#[test]
fn nothing_is_sent_before_its_identifier_is_kept_and_nothing_released_before_its_receipt_is() {
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, messages(1..=2));
    assert!(packets(&mut outbox).is_empty());
    keep(&mut outbox);
    assert_eq!(packets(&mut outbox), ["1 as 1", "2 as 2"]);
    assert_eq!(outbox.receive(1, false), Receipt::Noted);
    assert!(packets(&mut outbox).is_empty() && outbox.take_progress().is_empty());
    keep(&mut outbox);
    assert_eq!(packets(&mut outbox), ["release 1"]);
    assert_eq!(outbox.take_progress(), [(queue("a"), 1)]);
    assert!(!outbox.acknowledge(2) && !outbox.complete(2), "it has not said that it has it");
    assert!(outbox.complete(1) && !outbox.complete(1));
    assert_eq!(outbox.receive(1, false), Receipt::Unknown);
    assert_eq!(outbox.receive(2, true), Receipt::Noted);
    assert_eq!(outbox.take_progress(), [(queue("a"), 2)]);
}

#[test]
fn a_session_that_ends_with_its_connection_keeps_nothing() {
    let mut outbox = Outbox::default();
    outbox.take(queue("a"), 1, messages(1..=1));
    assert_eq!(packets(&mut outbox), ["1 as 1"]);
    outbox.receive(1, false);
    assert_eq!(packets(&mut outbox), ["release 1"]);
    assert!(outbox.complete(1) && outbox.take_change().is_none());
    assert_eq!(outbox.take_progress(), [(queue("a"), 1)]);
}

#[test]
fn a_restarted_device_goes_on_where_each_message_was() {
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, messages(1..=4));
    packets(&mut outbox);
    keep(&mut outbox);
    assert_eq!(packets(&mut outbox).len(), 4);
    // 2 is complete, 3 is received, 1 and 4 are on their way.
    outbox.receive(2, false);
    keep(&mut outbox);
    packets(&mut outbox);
    outbox.complete(2);
    outbox.receive(3, false);
    let kept = keep(&mut outbox);

    let mut outbox = Outbox::restored(Some(&kept));
    outbox.last(true);
    outbox.resume();
    assert_eq!(packets(&mut outbox), ["release 3"]);
    // The queue comes in two parts, and has trimmed nothing.
    outbox.take(queue("a"), 1, messages(1..=2));
    assert_eq!(packets(&mut outbox), ["1 as 1 again"]);
    outbox.take(queue("a"), 3, messages(3..=5));
    assert_eq!(packets(&mut outbox), ["4 as 4 again"]);
    keep(&mut outbox);
    assert_eq!(packets(&mut outbox), ["5 as 2"]);
    outbox.receive(1, false);
    keep(&mut outbox);
    assert_eq!(outbox.take_progress(), [(queue("a"), 3)]);
}

#[test]
fn a_backlog_at_qos_1_leaves_room_for_qos_2() {
    let of = |topic: &str, count| vec![Parcel { topic: topic.into(), ..Parcel::default() }; count];
    let grant = |parcel: &Parcel| Grant::Send(if parcel.topic == "exact" { 2 } else { 1 });
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, of("plain", 2000));
    while outbox.next(512, grant).is_some() {}
    outbox.take(queue("b"), 1, of("exact", 1));
    assert!(outbox.acknowledge(1) && outbox.next(512, grant).is_none());
    keep(&mut outbox);
    assert!(matches!(outbox.next(512, grant), Some(Outgoing::Publish { qos: 2, .. })));
}

#[test]
fn a_client_that_receives_out_of_turn_does_not_make_what_is_kept_larger_than_its_room() {
    let grant = |parcel: &Parcel| Grant::Send(if parcel.payload == b"1"[..] { 2 } else { 1 });
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, messages(1..=2000));
    for _ in 0..4000 {
        match outbox.next(512, grant).map(published) {
            Some((_, Some(1), _)) => {}
            Some((_, id, _)) => assert!(outbox.acknowledge(id.unwrap())),
            None if outbox.take_change().is_some() => outbox.kept(),
            None => break,
        }
    }
    outbox.receive(1, false);
    assert!(keep(&mut outbox).len() <= MAX_SESSION_BYTES);
    // The head has come: the rest may go on.
    assert!(outbox.next(512, grant).is_some());
}

/// Which the fuzzer found.
#[test]
fn a_queue_comes_to_qos_2_when_what_settled_in_it_before_its_turn_fits() {
    let grant = |parcel: &Parcel| Grant::Send(if parcel.payload == b"601"[..] { 2 } else { 1 });
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, messages(1..=601));
    for _ in 0..600 {
        let (_, id, _) = outbox.next(512, grant).map(published).unwrap();
        // All but the first one: what follows it cannot be told as acknowledged.
        if id != Some(1) {
            assert!(outbox.acknowledge(id.unwrap()));
        }
    }
    assert!(outbox.next(512, grant).is_none() && outbox.take_change().is_none());
    assert!(outbox.acknowledge(1) && outbox.next(512, grant).is_none());
    assert!(keep(&mut outbox).len() <= MAX_SESSION_BYTES);
    assert!(matches!(outbox.next(512, grant), Some(Outgoing::Publish { qos: 2, .. })));
}

/// Which the fuzzer led to.
#[test]
fn retained_messages_do_not_make_what_is_kept_larger_than_its_room() {
    let mut outbox = lasting();
    let mut got = 0;
    for n in 0..1000u32 {
        let topic = format!("retained/{n}").into();
        outbox.take_retained(Parcel { topic, payload: n.to_string().into(), ..Parcel::default() }, 2);
    }
    // A client that says nothing has as many as fit; one that does gets all.
    for says in [false, true] {
        for _ in 0..1000 {
            while let Some(outgoing) = outbox.next(512, |_| Grant::Send(2)) {
                let id = match outgoing {
                    Outgoing::Publish { packet_id, .. } => packet_id.unwrap(),
                    Outgoing::Release { packet_id } => {
                        assert!(outbox.complete(packet_id));
                        continue;
                    }
                };
                got += 1;
                if says {
                    outbox.receive(id, false);
                }
            }
            if let Some(kept) = outbox.take_change() {
                assert!(kept.len() <= MAX_SESSION_BYTES, "{} bytes", kept.len());
                outbox.kept();
            }
        }
        if !says {
            assert!(got > 0 && got < 512, "{got}");
            for id in 1..=got {
                outbox.receive(id, false);
            }
        }
    }
    assert_eq!(got, 1000);
}

#[test]
fn what_is_gone_from_the_queue_is_released() {
    let mut outbox = lasting();
    outbox.take(queue("a"), 1, messages(1..=1));
    outbox.take(queue("b"), 1, messages(1..=1));
    packets(&mut outbox);
    let kept = keep(&mut outbox);
    let mut outbox = Outbox::restored(Some(&kept));
    outbox.last(true);
    outbox.resume();
    outbox.take(queue("a"), 2, messages(2..=2));
    outbox.forget(&queue("b"));
    assert_eq!(packets(&mut outbox), ["release 1", "release 2"]);
}

#[derive(Clone, Debug)]
enum Op {
    Append(u64),
    /// The store has what it was told.
    Keep,
    /// The client gets the next packet, and answers it, or the answer is lost.
    Get(bool),
    /// The connection breaks.
    Reconnect,
    /// The device restarts. Of what its queue settled the last so many are not trimmed on the disk.
    Restart(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (1u64..4).prop_map(Op::Append),
        Just(Op::Keep),
        Just(Op::Keep),
        Just(Op::Get(true)),
        Just(Op::Get(true)),
        Just(Op::Get(true)),
        Just(Op::Get(false)),
        Just(Op::Reconnect),
        (0u64..4).prop_map(Op::Restart),
    ]
}

/// A device whose client holds to the standard.
struct World {
    outbox: Outbox,
    appended: u64,
    settled: u64,
    /// What the store was told and has not said to have.
    telling: Option<Vec<u8>>,
    disk: Option<Vec<u8>>,
    /// Identifiers that the client has and that are not released.
    open: BTreeSet<u16>,
    /// How often the client took each message.
    taken: BTreeMap<u64, u32>,
}

impl World {
    fn look(&mut self) {
        if self.telling.is_none() {
            self.telling = self.outbox.take_change();
        }
        for (_, upto) in self.outbox.take_progress() {
            self.settled = self.settled.max(upto);
        }
    }

    fn keep(&mut self) {
        if let Some(kept) = self.telling.take() {
            self.disk = Some(kept);
            self.outbox.kept();
        }
    }

    fn get(&mut self, answers: bool) -> bool {
        let Some(outgoing) = self.outbox.next(4, |_| Grant::Send(2)) else { return false };
        match outgoing {
            Outgoing::Publish { .. } => {
                let (text, id, _) = published(outgoing);
                let id = id.unwrap();
                if self.open.insert(id) {
                    *self.taken.entry(text.parse().unwrap()).or_default() += 1;
                }
                if answers {
                    self.outbox.receive(id, false);
                }
            }
            Outgoing::Release { packet_id } => {
                self.open.remove(&packet_id);
                if answers {
                    self.outbox.complete(packet_id);
                }
            }
        }
        true
    }

    fn deliver(&mut self, from: u64) {
        if from <= self.appended {
            self.outbox.take(queue("a"), from, messages(from..=self.appended));
        }
    }

    fn restart(&mut self, untrimmed: u64) {
        self.telling = None;
        self.outbox = Outbox::restored(self.disk.as_deref());
        self.outbox.last(true);
        self.outbox.resume();
        self.deliver(self.settled.saturating_sub(untrimmed) + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_client_takes_each_message_once_over_broken_connections_and_restarts(
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let (open, taken) = (BTreeSet::new(), BTreeMap::new());
        let mut world =
            World { outbox: lasting(), appended: 0, settled: 0, telling: None, disk: None, open, taken };
        for op in ops {
            match op {
                Op::Append(count) => {
                    let first = world.appended + 1;
                    world.appended += count;
                    world.deliver(first);
                }
                Op::Keep => world.keep(),
                Op::Get(answers) => drop(world.get(answers)),
                Op::Reconnect => world.outbox.resume(),
                Op::Restart(untrimmed) => world.restart(untrimmed),
            }
            world.look();
        }
        // At the end all goes well.
        world.outbox.resume();
        for _ in 0..1000 {
            world.look();
            world.keep();
            while world.get(true) {}
        }
        prop_assert_eq!(world.settled, world.appended);
        let once: BTreeMap<_, _> = (1..=world.appended).map(|number| (number, 1)).collect();
        prop_assert_eq!(world.taken, once);
        prop_assert!(world.open.is_empty(), "all is released");
    }
}
