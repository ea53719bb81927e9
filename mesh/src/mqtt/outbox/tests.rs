//! What a client gets, and what its device is told, over broken connections and restarts.

mod exactly_once;

use proptest::prelude::*;
use wayside_actors::queue::Endpoint;

use super::*;

fn queue(route: &str) -> Queue {
    let to = Endpoint::Module("plant/detector".parse().unwrap());
    Queue::new(route, to)
}

fn messages(numbers: std::ops::RangeInclusive<u64>) -> Vec<Parcel> {
    let parcel = |n: u64| Parcel {
        topic: format!("dev/sensor/t{}", n % 2).into(),
        payload: n.to_string().into(),
        ..Parcel::default()
    };
    numbers.map(parcel).collect()
}

/// A publish: its text, packet identifier and whether it may be a duplicate.
fn published(outgoing: Outgoing) -> (String, Option<u16>, bool) {
    let Outgoing::Publish { parcel, packet_id, dup, .. } = outgoing else {
        panic!("not a publish: {outgoing:?}")
    };
    (String::from_utf8(parcel.payload.to_vec()).unwrap(), packet_id, dup)
}

fn sent(outbox: &mut Outbox, window: usize) -> Vec<(String, Option<u16>, bool)> {
    std::iter::from_fn(|| outbox.next(window, |_| Grant::Send(1))).map(published).collect()
}

#[test]
fn what_a_best_effort_route_does_not_deliver_is_counted() {
    let lost = Lost::default();
    let mut outbox = Outbox::default();
    outbox.count_lost_in(lost.clone());
    let counted = |of: &str| lost.take().remove(of).unwrap_or(0);
    for parcel in messages(1..=live::MESSAGES as u64 + 3) {
        outbox.take_live("w/r".into(), parcel);
    }
    assert_eq!(counted("w/r"), 3, "the oldest made room");
    // Nobody subscribes to one of the two topics any more.
    let only_even =
        |parcel: &Parcel| if parcel.topic.ends_with("t0") { Grant::Send(0) } else { Grant::Nothing };
    while outbox.next(1, only_even).is_some() {}
    assert_eq!(counted("w/r"), live::MESSAGES as u64 / 2);
    outbox.take_live("w/s".into(), Parcel::default());
    outbox.restart();
    assert_eq!(counted("w/s"), 1, "the session ended");
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
    let only_even = |parcel: &Parcel| match parcel.topic.ends_with('0') {
        true => Grant::Send(0),
        false => Grant::Nothing,
    };
    let (text, packet_id, _) = published(outbox.next(10, only_even).unwrap());
    assert_eq!((text.as_str(), packet_id), ("2", None));
    assert!(outbox.next(10, only_even).is_none());
    assert_eq!(outbox.take_progress(), [(queue("b"), 2)]);
    assert_eq!(sent(&mut outbox, 10).len(), 2);
}

#[test]
fn what_the_client_does_not_want_of_its_own_is_settled() {
    let mut outbox = Outbox::default();
    outbox.take(queue("a"), 1, messages(1..=3));
    let not_the_first = |parcel: &Parcel| match &parcel.payload[..] {
        b"1" => Grant::NotWanted,
        _ => Grant::Send(1),
    };
    assert_eq!(published(outbox.next(10, not_the_first).unwrap()).0, "2");
    assert_eq!(outbox.take_progress(), [(queue("a"), 1)]);
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
                    if let Some(out) = outbox.next(3, |_| Grant::Send(1)) {
                        let (text, id, _) = published(out);
                        let (number, id) = (text.parse().unwrap(), id.unwrap());
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
        while let Some(out) = outbox.next(3, |_| Grant::Send(1)) {
            outbox.acknowledge(published(out).1.unwrap());
        }
        let told = outbox.take_progress().first().map_or(known, |(_, upto)| *upto);
        prop_assert_eq!(told, appended);
    }
}
