#![allow(clippy::wildcard_enum_match_arm, reason = "tests pick the steps that they look at")]

use proptest::prelude::*;
use wayside_config::identity::PublicKey;

use super::*;
use crate::machine::Step;

const DEVICE: DeviceId = PublicKey::from_bytes([7; 32]);

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn message(seq: u64) -> Message {
    Message {
        origin: DEVICE,
        source: "sensor".into(),
        topic: "observations".into(),
        properties: Default::default(),
        payload: seq.to_string().into(),
        accepted_ms: seq,
    }
}

fn batch(epoch: u64, after: u64, seqs: std::ops::RangeInclusive<u64>) -> Batch {
    let first_seq = *seqs.start();
    Batch { route: "weather/up".into(), epoch, after, first_seq, messages: seqs.map(message).collect() }
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        name: "ewr".into(),
        version: "0.1.0".into(),
        labels: Vec::new(),
        token: Some("t".into()),
        run: 1,
        grant: None,
    }
}

fn feed(session: &mut Session, ms: u64, event: Event) -> Vec<Step<Effect>> {
    let mut out = Effects::new();
    session.handle(at(ms), event, &mut out);
    out.take()
}

fn frame(frame: ToCloud) -> Event {
    Event::Frame { frame: Box::new(frame), wall_ms: 1 }
}

fn welcomed(windows: BTreeMap<String, Window>) -> Session {
    let mut session = Session::new(DEVICE);
    feed(&mut session, 0, Event::Opened { windows });
    feed(&mut session, 1, frame(ToCloud::Hello(hello())));
    feed(&mut session, 2, Event::Admitted(Ok(())));
    session
}

fn close_reason(steps: &[Step<Effect>]) -> Option<&str> {
    steps.iter().find_map(|step| match step {
        Step::Do(Effect::Close { reason, .. }) => Some(reason.as_str()),
        _ => None,
    })
}

/// The numbers stored and the number confirmed.
fn stored(steps: &[Step<Effect>]) -> (Vec<u64>, Option<u64>) {
    let (mut seqs, mut upto) = (Vec::new(), None);
    for step in steps {
        match step {
            Step::Persist(Effect::Store { messages, .. }) => {
                seqs.extend(messages.iter().map(|(seq, _)| *seq))
            }
            Step::Do(Effect::Send(_, ToDevice::Confirm(confirm))) => upto = Some(confirm.upto),
            _ => {}
        }
    }
    (seqs, upto)
}

#[test]
fn greets_then_welcomes() {
    let mut session = Session::new(DEVICE);
    assert_eq!(
        feed(&mut session, 5, Event::Opened { windows: BTreeMap::new() }),
        [Step::WakeAt(at(5 + HELLO_MS))]
    );
    assert_eq!(
        feed(&mut session, 6, frame(ToCloud::Hello(hello()))),
        [Step::Do(Effect::Greet { device: DEVICE, hello: hello(), wall_ms: 1 })]
    );
    assert_eq!(
        feed(&mut session, 7, Event::Admitted(Ok(()))),
        [Step::Do(Effect::Send(DEVICE, ToDevice::Welcome))]
    );
    assert!(feed(&mut session, 5 + HELLO_MS, Event::Woken).is_empty());
    assert_eq!(feed(&mut session, 9, Event::Closed), [Step::Do(Effect::Gone(DEVICE))]);
}

#[test]
fn a_device_that_says_nothing_or_speaks_another_protocol_is_closed() {
    let mut session = Session::new(DEVICE);
    feed(&mut session, 0, Event::Opened { windows: BTreeMap::new() });
    assert!(close_reason(&feed(&mut session, HELLO_MS, Event::Woken)).is_some());

    let mut session = Session::new(DEVICE);
    feed(&mut session, 0, Event::Opened { windows: BTreeMap::new() });
    let steps = feed(&mut session, 1, frame(ToCloud::Hello(Hello { protocol: PROTOCOL + 1, ..hello() })));
    assert!(
        matches!(&steps[0], Step::Do(Effect::Send(_, ToDevice::Refused { reason })) if reason.contains("upgrade the cloud first"))
    );
    assert!(close_reason(&steps).is_some());
    assert!(feed(&mut session, 2, frame(ToCloud::Batch(batch(1, 0, 1..=1)))).is_empty());
}

#[test]
fn a_cloud_talks_to_devices_of_the_version_before() {
    for (protocol, is_spoken) in [(OLDEST_PROTOCOL - 1, false), (OLDEST_PROTOCOL, true), (PROTOCOL, true)] {
        let mut session = Session::new(DEVICE);
        feed(&mut session, 0, Event::Opened { windows: BTreeMap::new() });
        let steps = feed(&mut session, 1, frame(ToCloud::Hello(Hello { protocol, ..hello() })));
        assert_eq!(matches!(steps[0], Step::Do(Effect::Greet { .. })), is_spoken, "{steps:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_what_to_do() {
    let mut session = Session::new(DEVICE);
    feed(&mut session, 0, Event::Opened { windows: BTreeMap::new() });
    feed(&mut session, 1, frame(ToCloud::Hello(hello())));
    feed(&mut session, 1, Event::Admitted(Ok(())));
    let unreadable = || Event::Unreadable { reason: "a frame of unknown kind 99".into() };
    let steps = feed(&mut session, 2, unreadable());
    assert!(
        matches!(&steps[0], Step::Do(Effect::Send(_, ToDevice::Refused { reason }))
            if reason.contains("kind 99") && reason.contains("upgrade the cloud first")),
        "{steps:?}"
    );
    assert!(close_reason(&steps).is_some());
    assert!(feed(&mut session, 3, unreadable()).is_empty());
}

#[test]
fn frames_out_of_turn_and_bad_batches_close() {
    let opened = || {
        let mut session = Session::new(DEVICE);
        feed(&mut session, 0, Event::Opened { windows: BTreeMap::new() });
        session
    };
    assert!(close_reason(&feed(&mut opened(), 1, frame(ToCloud::Batch(batch(1, 0, 1..=1))))).is_some());
    assert!(close_reason(&feed(&mut opened(), 1, frame(ToCloud::Report(Box::default())))).is_some());
    let mut foreign = batch(1, 0, 1..=1);
    foreign.messages[0].origin = PublicKey::from_bytes([8; 32]);
    let nameless = Batch { route: "observations".into(), ..batch(1, 0, 1..=1) };
    let huge = Batch { first_seq: u64::MAX, ..batch(1, 0, 1..=2) };
    let empty = Batch { messages: Vec::new(), ..batch(1, 0, 1..=1) };
    let bad = [
        ToCloud::Hello(hello()),
        ToCloud::Batch(foreign),
        ToCloud::Batch(nameless),
        ToCloud::Batch(huge),
        ToCloud::Batch(empty),
        ToCloud::Batch(batch(1, 1, 1..=1)),
    ];
    for bad in bad {
        let steps = feed(&mut welcomed(BTreeMap::new()), 3, frame(bad.clone()));
        assert!(close_reason(&steps).is_some(), "{bad:?}");
        assert_eq!(stored(&steps), (vec![], None));
    }
}

#[test]
fn stores_before_it_confirms_and_only_what_is_new() {
    let window = Window { epoch: 1, upto: 3 };
    let mut session = welcomed(BTreeMap::from([("weather/up".into(), window)]));
    let steps = feed(&mut session, 3, frame(ToCloud::Batch(batch(1, 1, 2..=5))));
    let persisted = steps.iter().position(|step| matches!(step, Step::Persist(_)));
    let confirmed =
        steps.iter().position(|step| matches!(step, Step::Do(Effect::Send(_, ToDevice::Confirm(_)))));
    assert!(persisted < confirmed);
    assert_eq!(stored(&steps), (vec![4, 5], Some(5)));
    // Again: nothing new.
    assert_eq!(stored(&feed(&mut session, 4, frame(ToCloud::Batch(batch(1, 1, 2..=5))))), (vec![], Some(5)));
    // 6 is missing: nothing is stored.
    assert_eq!(stored(&feed(&mut session, 5, frame(ToCloud::Batch(batch(1, 6, 7..=8))))), (vec![], Some(5)));
    // 6 and 7 were dropped at the origin.
    assert_eq!(
        stored(&feed(&mut session, 6, frame(ToCloud::Batch(batch(1, 5, 8..=9))))),
        (vec![8, 9], Some(9))
    );
    // A new store of the device counts from 1 again.
    assert_eq!(stored(&feed(&mut session, 7, frame(ToCloud::Batch(batch(2, 0, 1..=1))))), (vec![1], Some(1)));
}

#[test]
fn the_fleet_hears_of_a_busy_device_now_and_then() {
    let mut session = welcomed(BTreeMap::new());
    let mut seen = 0;
    for n in 1..=100 {
        let steps = feed(&mut session, n * 100, frame(ToCloud::Batch(batch(1, n - 1, n..=n))));
        seen += steps.iter().filter(|step| matches!(step, Step::Do(Effect::Seen(..)))).count();
    }
    assert_eq!(seen, 2);
}

#[test]
fn every_question_is_answered_once() {
    let ask = |id| {
        Event::Ask(Ask {
            id,
            question: crate::frame::Question::Logs { module: "m".into(), tail: 1, since_ms: 0 },
        })
    };
    let answered = |steps: Vec<Step<Effect>>| {
        let answers = steps.into_iter().filter_map(|step| match step {
            Step::Do(Effect::Answered(_, answer)) => Some((answer.id, answer.result.is_ok())),
            _ => None,
        });
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answered(feed(&mut Session::new(DEVICE), 0, ask(1))), [(1, false)]);
    let mut session = welcomed(BTreeMap::new());
    feed(&mut session, 1, ask(1));
    feed(&mut session, 1, ask(2));
    let answer = || frame(ToCloud::Answer(Answer { id: 1, result: Ok("line".into()) }));
    assert_eq!(answered(feed(&mut session, 2, answer())), [(1, true)]);
    assert_eq!(answered(feed(&mut session, 3, answer())), []);
    assert_eq!(answered(feed(&mut session, 4, Event::Closed)), [(2, false)]);
}

/// What a device with a window does on a link that ends at any time.
#[derive(Clone, Debug)]
enum Doing {
    Send(u64),
    Reconnect,
    LoseCommit,
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        6 => (1u64..5).prop_map(Doing::Send),
        1 => Just(Doing::Reconnect),
        1 => Just(Doing::LoseCommit),
    ]
}

proptest! {
    /// However often the link ends and the device sends again, and whether or not the cloud dies
    /// before a commit, each number is stored once and in order.
    #[test]
    fn each_message_is_stored_once(doings in proptest::collection::vec(doing(), 1..60)) {
        let (mut windows, mut log) = (BTreeMap::new(), Vec::new());
        let mut session = welcomed(windows.clone());
        let (mut confirmed, mut sent) = (0, 0);
        for doing in doings {
            match doing {
                Doing::Send(count) => {
                    let steps = feed(&mut session, 3, frame(ToCloud::Batch(batch(1, sent, sent + 1..=sent + count))));
                    sent += count;
                    for step in steps {
                        match step {
                            Step::Persist(Effect::Store { messages, window, route, .. }) => {
                                log.extend(messages.iter().map(|(seq, _)| *seq));
                                windows.insert(route, window);
                            }
                            // Every second confirmation is lost on the way.
                            Step::Do(Effect::Send(_, ToDevice::Confirm(confirm))) if confirm.upto % 2 == 0 => {
                                confirmed = confirm.upto;
                            }
                            _ => {}
                        }
                    }
                }
                Doing::Reconnect => {
                    session = welcomed(windows.clone());
                    sent = confirmed;
                }
                Doing::LoseCommit => {
                    feed(&mut session, 3, frame(ToCloud::Batch(batch(1, sent, sent + 1..=sent + 1))));
                    session = welcomed(windows.clone());
                    sent = confirmed;
                }
            }
        }
        let expected: Vec<u64> = (1..=log.len() as u64).collect();
        prop_assert_eq!(log, expected);
    }
}

#[test]
fn who_asks_for_the_time_is_told_it() {
    let mut session = welcomed(BTreeMap::new());
    let steps =
        feed(&mut session, 5, Event::Frame { frame: Box::new(ToCloud::Clock { asked_ms: 9 }), wall_ms: 77 });
    let answer = Effect::Send(DEVICE, ToDevice::Clock { asked_ms: 9, cloud_ms: 77 });
    assert!(steps.contains(&Step::Do(answer)), "{steps:?}");
}
