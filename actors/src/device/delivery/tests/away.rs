//! What has a `ttl`, while its destination is away.

use super::*;

/// Away from the start, with messages up to `last` that may wait for five seconds.
fn away(last: u64) -> Delivery {
    let mut delivery = to_cloud();
    let terms = Terms { ttl_ms: Some(5_000), ..Terms::USUAL };
    let steps = at(&mut delivery, 0, Event::Appended { acked: 0, last, terms });
    assert_eq!(alarm(&steps), Some(5_000));
    assert_eq!(at(&mut delivery, 0, Event::Down), []);
    delivery
}

fn read(from: u64, messages: Vec<Message>, wall_ms: u64) -> Event {
    Event::Loaded { from, first_seq: from, messages, wall_ms }
}

#[test]
fn what_waited_too_long_goes_while_the_destination_is_away() {
    let mut delivery = away(3);
    assert_eq!(asked(&done(&mut delivery, 5_000, Event::Woken)), Some((1, MAX_BATCH_MESSAGES)));
    let mut three = messages(3);
    three[1].accepted_ms = 4_000;
    let steps = at(&mut delivery, 5_001, read(1, three.clone(), 5_001));
    let trim = StoreOp::Trim { queue: queue(Endpoint::Cloud), upto: 1 };
    assert_eq!(steps[0], Step::Persist(Effect::Store(trim)));
    assert_eq!(steps[1], Step::Do(Effect::Trimmed { upto: 1, expired: 1 }));
    // The second one's time is over at 9,000 by the wall clock.
    assert_eq!(alarm(&steps), Some(5_001 + 3_999));
    assert_eq!(asked(&done(&mut delivery, 9_000, Event::Woken)), Some((2, MAX_BATCH_MESSAGES)));
    let steps = done(&mut delivery, 9_001, read(2, three.split_off(1), 9_001));
    assert!(steps.contains(&Effect::Trimmed { upto: 3, expired: 2 }), "{steps:?}");
    assert_eq!(at(&mut delivery, 100_000, Event::Woken), []);
}

#[test]
fn a_whole_backlog_that_waited_too_long_goes_at_once() {
    let rest = 50;
    let last = (MAX_BATCH_MESSAGES + rest) as u64;
    let mut delivery = away(last);
    done(&mut delivery, 5_000, Event::Woken);
    let steps = done(&mut delivery, 5_001, read(1, messages(MAX_BATCH_MESSAGES), 6_000));
    let upto = MAX_BATCH_MESSAGES as u64;
    assert_eq!(asked(&steps), Some((upto + 1, MAX_BATCH_MESSAGES)));
    let steps = done(&mut delivery, 5_002, read(upto + 1, messages(rest), 6_000));
    assert!(steps.contains(&Effect::Trimmed { upto: last, expired: rest as u64 }), "{steps:?}");
}

#[test]
fn what_was_looked_at_while_the_destination_was_away_is_sent_when_it_is_back() {
    let mut delivery = away(3);
    done(&mut delivery, 5_000, Event::Woken);
    assert_eq!(at(&mut delivery, 5_001, Event::Up), []);
    let mut three = messages(3);
    three.iter_mut().for_each(|message| message.accepted_ms = 4_000);
    assert_eq!(sent(&done(&mut delivery, 5_002, read(1, three, 5_002))), [(0, 1, 3)]);
}

#[test]
fn large_messages_that_waited_too_long_go_one_after_the_other_without_a_pause() {
    let mut delivery = away(3);
    done(&mut delivery, 5_000, Event::Woken);
    // One fills what is read at once.
    for upto in 1..=2 {
        let steps = done(&mut delivery, 5_001, read(upto, messages(1), 6_000));
        assert!(steps.contains(&Effect::Trimmed { upto, expired: 1 }), "{steps:?}");
        assert_eq!(asked(&steps), Some((upto + 1, MAX_BATCH_MESSAGES)));
    }
}
