mod away;

use bytes::Bytes;
use wayside_config::{
    identity::DeviceId,
    workload::{BatchRule, ModuleId},
};

use super::{Delivery, Effect, Event, REFUSED, SILENCE, Terms, WINDOW_MESSAGES};
use crate::{
    machine::{Machine, Step},
    message::{MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Message, property},
    queue::{Endpoint, Queue, StoreOp},
    testing::{assert_replays, at, done},
};

const EPOCH: u64 = 9;

fn queue(to: Endpoint) -> Queue {
    Queue::new("plant/up", to)
}

fn to_cloud() -> Delivery {
    Delivery::new(queue(Endpoint::Cloud), EPOCH, 1)
}

fn messages(count: usize) -> Vec<Message> {
    let message = Message {
        origin: DeviceId::from_bytes([1; 32]),
        source: "sensor".into(),
        topic: "data".into(),
        properties: Default::default(),
        payload: Bytes::from_static(b"12.5"),
        accepted_ms: 0,
    };
    vec![message; count]
}

fn appended(acked: u64, last: u64) -> Event {
    Event::Appended { acked, last, terms: Terms::USUAL }
}

fn loaded(from: u64, first_seq: u64, count: usize) -> Event {
    Event::Loaded { from, first_seq, messages: messages(count), wall_ms: 0 }
}

fn acked(upto: u64) -> Event {
    Event::Acked { epoch: Some(EPOCH), upto }
}

/// What is sent: `after`, the first number and how many.
fn sent(effects: &[Effect]) -> Vec<(u64, u64, usize)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { epoch, after, first_seq, messages } => {
            assert_eq!(*epoch, EPOCH);
            Some((*after, *first_seq, messages.len()))
        }
        Effect::Load { .. } | Effect::AskUp | Effect::Store(_) | Effect::Trimmed { .. } => None,
    });
    sent.collect()
}

/// What the store is asked for: the first number and how many.
fn asked(effects: &[Effect]) -> Option<(u64, usize)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Load { from, max_messages, .. } => Some((*from, *max_messages)),
        Effect::Send { .. } | Effect::AskUp | Effect::Store(_) | Effect::Trimmed { .. } => None,
    })
}

fn alarm(steps: &[Step<Effect>]) -> Option<u64> {
    steps.iter().find_map(|step| match step {
        Step::WakeAt(at) => Some(at.as_millis()),
        Step::Do(_) | Step::Persist(_) => None,
    })
}

/// Up, with messages 1 to 3 in flight since time 0; gives when it will go back.
fn in_flight(delivery: &mut Delivery) -> u64 {
    at(delivery, 0, appended(0, 3));
    at(delivery, 0, Event::Up);
    alarm(&at(delivery, 0, loaded(1, 1, 3))).unwrap()
}

#[test]
fn asks_whether_its_destination_is_there_and_sends_at_once_when_it_is() {
    let mut delivery = to_cloud();
    assert_eq!(at(&mut delivery, 0, appended(4, 5)), [Step::Do(Effect::AskUp)]);
    assert_eq!(asked(&done(&mut delivery, 0, Event::Up)), Some((5, MAX_BATCH_MESSAGES)));
    assert_eq!(sent(&done(&mut delivery, 0, loaded(5, 5, 1))), [(0, 5, 1)]);
    assert_eq!(asked(&done(&mut delivery, 0, appended(4, 6))), Some((6, MAX_BATCH_MESSAGES)));
    assert_eq!(sent(&done(&mut delivery, 0, loaded(6, 6, 1))), [(5, 6, 1)]);
}

#[test]
fn a_confirmation_trims_the_store_before_the_router_counts_the_room() {
    let mut delivery = to_cloud();
    in_flight(&mut delivery);
    let trim = StoreOp::Trim { queue: queue(Endpoint::Cloud), upto: 2 };
    let steps = at(&mut delivery, 10, acked(2));
    let expected = [Step::Persist(Effect::Store(trim)), Step::Do(Effect::Trimmed { upto: 2, expired: 0 })];
    assert_eq!(steps[..2], expected);
}

#[test]
fn the_window_bounds_what_is_in_flight_and_opens_while_it_is_confirmed_soon() {
    let mut delivery = to_cloud();
    at(&mut delivery, 0, appended(0, 1_000_000));
    let mut next = asked(&done(&mut delivery, 0, Event::Up));
    let (mut sent, mut confirmed, mut most) = (0, 0, 0);
    for _ in 0..10 {
        while let Some((from, count)) = next {
            sent += count as u64;
            next = asked(&done(&mut delivery, 0, loaded(from, from, count)));
        }
        most = usize::try_from(sent - confirmed).unwrap();
        assert!((MAX_BATCH_MESSAGES..=WINDOW_MESSAGES).contains(&most), "{most}");
        confirmed = sent;
        next = asked(&done(&mut delivery, 1, acked(confirmed)));
    }
    assert_eq!(most, WINDOW_MESSAGES);
}

#[test]
fn silence_makes_it_go_back_less_and_less_often() {
    let mut delivery = to_cloud();
    let mut due = in_flight(&mut delivery);
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..5 {
        waits.push(due - now);
        now = due;
        let probe = asked(&done(&mut delivery, now, Event::Woken)).unwrap();
        assert!(probe.1 < MAX_BATCH_MESSAGES, "a small batch first");
        let steps = at(&mut delivery, now, loaded(1, 1, 3));
        due = alarm(&steps).unwrap();
    }
    for (failures, wait) in waits.into_iter().enumerate() {
        let longest = SILENCE.wait_ms(u32::try_from(failures).unwrap());
        assert!(wait <= longest && wait >= longest * 3 / 4, "{wait} of {longest}");
    }
    // Heard again: full batches.
    assert_eq!(asked(&done(&mut delivery, now, appended(0, 9))), None);
    assert_eq!(asked(&done(&mut delivery, now, acked(3))), Some((4, MAX_BATCH_MESSAGES)));
}

#[test]
fn a_refusal_makes_it_go_back_soon_but_only_once() {
    let mut delivery = to_cloud();
    in_flight(&mut delivery);
    let due = alarm(&at(&mut delivery, 100, acked(0))).unwrap();
    assert_eq!(due, 100 + REFUSED.first_ms);
    // The same word again, for each batch of the window, brings nothing forward.
    assert_eq!(at(&mut delivery, 101, acked(0)), []);
    assert!(asked(&done(&mut delivery, due, Event::Woken)).is_some());
    at(&mut delivery, due, loaded(1, 1, 3));
    let again = alarm(&at(&mut delivery, due, acked(0))).unwrap();
    assert_eq!(again - due, 2 * REFUSED.first_ms);
    // The refusal of what was sent before it went back is followed by the confirmation of what came since.
    assert_eq!(asked(&done(&mut delivery, due + 1, acked(3))), None);
    assert_eq!(at(&mut delivery, again, Event::Woken), []);
}

#[test]
fn a_module_is_not_sent_again_what_it_is_slow_to_acknowledge() {
    let module = ModuleId::new("plant", "detector");
    let mut delivery = Delivery::new(queue(Endpoint::Module(module)), EPOCH, 1);
    at(&mut delivery, 0, appended(0, 3));
    at(&mut delivery, 0, Event::Up);
    assert_eq!(alarm(&at(&mut delivery, 0, loaded(1, 1, 3))), None);
    assert_eq!(at(&mut delivery, 1, Event::Acked { epoch: None, upto: 0 }), []);
    // Its session is new: from what it acknowledged.
    at(&mut delivery, 2, Event::Acked { epoch: None, upto: 1 });
    at(&mut delivery, 3, Event::Down);
    assert_eq!(asked(&done(&mut delivery, 4, Event::Up)), Some((2, MAX_BATCH_MESSAGES)));
}

#[test]
fn words_of_another_life_are_ignored() {
    let mut delivery = to_cloud();
    in_flight(&mut delivery);
    assert_eq!(at(&mut delivery, 1, Event::Acked { epoch: Some(EPOCH + 1), upto: 3 }), []);
    assert_eq!(at(&mut delivery, 1, acked(4)), []);
    assert_eq!(at(&mut delivery, 1, loaded(7, 7, 1)), []);
}

#[test]
fn an_answer_from_before_it_went_back_is_not_taken_for_a_loss() {
    let mut delivery = to_cloud();
    let due = in_flight(&mut delivery);
    assert_eq!(asked(&done(&mut delivery, 1, appended(0, 5))), Some((4, MAX_BATCH_MESSAGES)));
    assert_eq!(done(&mut delivery, due, Event::Woken), []);
    let effects = done(&mut delivery, due, loaded(4, 4, 2));
    assert_eq!((sent(&effects), asked(&effects).map(|(from, _)| from)), (vec![], Some(1)));
}

#[test]
fn what_the_store_lost_is_passed_over() {
    let mut delivery = to_cloud();
    at(&mut delivery, 0, appended(0, 20));
    at(&mut delivery, 0, Event::Up);
    assert_eq!(sent(&done(&mut delivery, 0, loaded(1, 5, 2))), [(0, 5, 2)]);
    // The tail is lost too: it is settled with what comes before it.
    at(&mut delivery, 0, loaded(7, 21, 0));
    assert_eq!(done(&mut delivery, 1, acked(6)), [Effect::Trimmed { upto: 20, expired: 0 }]);

    let mut delivery = to_cloud();
    at(&mut delivery, 0, appended(0, 2));
    at(&mut delivery, 0, Event::Up);
    assert_eq!(done(&mut delivery, 0, loaded(1, 3, 0)), [Effect::Trimmed { upto: 2, expired: 0 }]);
}

#[test]
fn a_store_that_has_nothing_to_give_is_asked_again_later() {
    let mut delivery = to_cloud();
    at(&mut delivery, 0, appended(0, 2));
    at(&mut delivery, 0, Event::Up);
    let steps = at(&mut delivery, 0, loaded(1, 1, 0));
    assert_eq!(steps.len(), 1);
    let due = alarm(&steps).unwrap();
    assert_eq!(asked(&done(&mut delivery, due, Event::Woken)), Some((1, MAX_BATCH_MESSAGES)));
}

#[test]
fn dropped_messages_are_skipped() {
    let mut delivery = to_cloud();
    in_flight(&mut delivery);
    assert_eq!(asked(&done(&mut delivery, 0, appended(0, 9))), Some((4, MAX_BATCH_MESSAGES)));
    at(&mut delivery, 0, Event::Skipped { upto: 6 });
    // The answer holds some that were dropped meanwhile.
    assert_eq!(sent(&done(&mut delivery, 0, loaded(4, 4, 6))), [(0, 7, 3)]);
}

#[test]
fn a_recorded_run_replays() {
    let log = vec![
        (0, appended(0, 3)),
        (0, Event::Up),
        (1, loaded(1, 1, 3)),
        (2, acked(1)),
        (6000, Event::Woken),
        (6001, loaded(2, 2, 2)),
        (6002, Event::Skipped { upto: 2 }),
        (6003, Event::Down),
        (9000, Delivery::woken()),
    ];
    assert_replays(to_cloud, &log);
}

fn with_terms(terms: Terms, acked: u64, last: u64) -> Event {
    Event::Appended { acked, last, terms }
}

/// Messages accepted at these wall clock times, read at `wall_ms`.
fn aged(from: u64, accepted_ms: &[u64], wall_ms: u64) -> Event {
    let messages = messages(1).into_iter().cycle().zip(accepted_ms);
    let messages = messages.map(|(message, accepted_ms)| Message { accepted_ms: *accepted_ms, ..message });
    Event::Loaded { from, first_seq: from, messages: messages.collect(), wall_ms }
}

#[test]
fn what_has_waited_too_long_is_left_out_and_counted() {
    let terms = Terms { ttl_ms: Some(100), ..Terms::USUAL };
    let mut delivery = to_cloud();
    at(&mut delivery, 0, with_terms(terms, 0, 5));
    at(&mut delivery, 0, Event::Up);
    // 1 and 2 are over, 3 is not, 4 is again (a clock was set), 5 is not.
    let effects = done(&mut delivery, 0, aged(1, &[0, 900, 920, 10, 950], 1000));
    assert_eq!(sent(&effects), [(0, 3, 1)]);
    let effects = done(&mut delivery, 0, aged(4, &[10, 950], 1000));
    assert_eq!(sent(&effects), [(3, 5, 1)]);
    let effects = done(&mut delivery, 0, acked(5));
    assert!(effects.contains(&Effect::Trimmed { upto: 5, expired: 3 }), "{effects:?}");
}

#[test]
fn a_message_that_says_so_expires_before_its_route_says() {
    let expiring = |terms| {
        let mut delivery = to_cloud();
        at(&mut delivery, 0, with_terms(terms, 0, 3));
        at(&mut delivery, 0, Event::Up);
        let Event::Loaded { from, first_seq, mut messages, wall_ms } = aged(1, &[0, 0, 0], 2_000) else {
            unreachable!()
        };
        for (message, seconds) in messages.iter_mut().zip(["2", "9", "x"]) {
            message.properties.insert(property::EXPIRY.into(), seconds.into());
        }
        sent(&done(&mut delivery, 0, Event::Loaded { from, first_seq, messages, wall_ms }))
    };
    assert_eq!(expiring(Terms::USUAL), [(0, 2, 2)]);
    assert_eq!(expiring(Terms { ttl_ms: Some(1_000), ..Terms::USUAL }), []);
    assert_eq!(expiring(Terms { has_come: true, ..Terms::USUAL }), [(0, 1, 3)], "by whose clock?");
}

#[test]
fn a_queue_of_which_all_is_over_is_emptied_without_sending() {
    let terms = Terms { ttl_ms: Some(100), ..Terms::USUAL };
    let mut delivery = to_cloud();
    at(&mut delivery, 0, with_terms(terms, 0, 2));
    at(&mut delivery, 0, Event::Up);
    let effects = done(&mut delivery, 0, aged(1, &[0, 50], 1000));
    assert_eq!(effects, [Effect::Trimmed { upto: 2, expired: 2 }]);
}

#[test]
fn a_batch_waits_until_it_is_full_or_has_waited_long_enough() {
    let batch = Some(BatchRule { messages: 3, within_ms: 500 });
    let terms = Terms { batch, ..Terms::USUAL };
    let mut delivery = to_cloud();
    at(&mut delivery, 0, Event::Up);
    let steps = at(&mut delivery, 0, with_terms(terms, 0, 1));
    at(&mut delivery, 0, Event::Up);
    assert_eq!(asked(&done(&mut delivery, 100, with_terms(terms, 0, 2))), None);
    assert_eq!(alarm(&steps).or(Some(500)), Some(500));
    assert_eq!(asked(&done(&mut delivery, 500, Event::Woken)).map(|(from, _)| from), Some(1));
    done(&mut delivery, 500, loaded(1, 1, 2));
    assert_eq!(asked(&done(&mut delivery, 600, with_terms(terms, 0, 4))), None);
    assert_eq!(asked(&done(&mut delivery, 700, with_terms(terms, 0, 5))).map(|(from, _)| from), Some(3));
}

#[test]
fn a_batch_that_gathers_asks_for_no_alarm_while_nothing_can_be_sent() {
    let batch = Some(BatchRule { messages: 3, within_ms: 500 });
    let mut delivery = to_cloud();
    at(&mut delivery, 0, with_terms(Terms { batch, ..Terms::USUAL }, 0, 1));
    at(&mut delivery, 0, Event::Up);
    at(&mut delivery, 1, Event::Down);
    assert_eq!(at(&mut delivery, 500, Event::Woken), []);
}

#[test]
fn a_batch_that_was_lost_goes_again_without_waiting_anew() {
    let batch = Some(BatchRule { messages: 3, within_ms: 500 });
    let mut delivery = to_cloud();
    at(&mut delivery, 0, with_terms(Terms { batch, ..Terms::USUAL }, 0, 2));
    at(&mut delivery, 0, Event::Up);
    assert_eq!(asked(&done(&mut delivery, 500, Event::Woken)).map(|(from, _)| from), Some(1));
    done(&mut delivery, 500, loaded(1, 1, 2));
    at(&mut delivery, 600, Event::Down);
    assert_eq!(asked(&done(&mut delivery, 700, Event::Up)).map(|(from, _)| from), Some(1));
}

#[test]
fn a_module_has_its_whole_window_from_the_start() {
    let module = ModuleId::new("plant", "detector");
    let mut delivery = Delivery::new(queue(Endpoint::Module(module)), EPOCH, 1);
    at(&mut delivery, 0, appended(0, 100_000));
    let effects = done(&mut delivery, 0, Event::Up);
    let Some(Effect::Load { max_bytes, .. }) =
        effects.iter().find(|effect| matches!(effect, Effect::Load { .. }))
    else {
        panic!("{effects:?}")
    };
    assert_eq!(*max_bytes, MAX_BATCH_BYTES);
}

#[test]
fn what_expired_is_counted_once_however_often_it_is_passed() {
    let terms = Terms { ttl_ms: Some(100), ..Terms::USUAL };
    let mut delivery = to_cloud();
    at(&mut delivery, 0, with_terms(terms, 0, 3));
    for _ in 0..2 {
        at(&mut delivery, 0, Event::Up);
        assert_eq!(sent(&done(&mut delivery, 0, aged(1, &[0, 50, 950], 1000))), [(0, 3, 1)]);
        at(&mut delivery, 0, Event::Down);
    }
    at(&mut delivery, 0, Event::Up);
    done(&mut delivery, 0, aged(1, &[0, 50, 950], 1000));
    let effects = done(&mut delivery, 0, acked(3));
    assert!(effects.contains(&Effect::Trimmed { upto: 3, expired: 2 }), "{effects:?}");
}
