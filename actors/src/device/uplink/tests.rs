use wayside_config::identity::DeviceId;

use super::{
    AGAIN_MS, CLOCK_MS, Effect, Event, HELLO_MS, MAX_ANSWERS, RECONNECT, STEADY_MS, UNFIT_MS, Uplink,
};
use crate::{
    frame::{Answer, Ask, Hello, PROTOCOL, Question, ToCloud, ToDevice},
    machine::{Machine, Step},
    message::Confirm,
    report::Report,
    testing::{assert_replays, at, done},
};

fn hello() -> Hello {
    let (name, version) = ("ewr".into(), "0.1.0".into());
    Hello { protocol: PROTOCOL, name, version, labels: vec![], token: Some("t".into()), run: 1, grant: None }
}

fn fresh() -> Uplink {
    Uplink::new(hello(), 3)
}

fn lost() -> Event {
    Event::Lost { reason: "timed out".into() }
}

fn online() -> Uplink {
    let mut uplink = fresh();
    for event in [Event::Start, Event::Connected, Event::Frame(ToDevice::Welcome)] {
        at(&mut uplink, 0, event);
    }
    uplink
}

fn clock(asked_ms: u64) -> Effect {
    Effect::Send(ToCloud::Clock { asked_ms })
}

#[test]
fn the_cloud_is_asked_for_the_time_when_a_connection_stands_and_now_and_then() {
    let mut uplink = online();
    assert_eq!(done(&mut uplink, 9_000, Event::Woken), []);
    let steps = at(&mut uplink, STEADY_MS, Event::Woken);
    assert!(steps.contains(&Step::Do(clock(STEADY_MS))), "{steps:?}");
    assert_eq!(alarm(&steps), Some(STEADY_MS + CLOCK_MS));
    let answer = |asked_ms| Event::Frame(ToDevice::Clock { asked_ms, cloud_ms: 77 });
    let expected = Effect::Clock { cloud_ms: 77, round_trip_ms: 30 };
    assert_eq!(done(&mut uplink, STEADY_MS + 30, answer(STEADY_MS)), [expected]);
    assert_eq!(done(&mut uplink, STEADY_MS + CLOCK_MS, Event::Woken), [clock(STEADY_MS + CLOCK_MS)]);
    at(&mut uplink, 700_000, lost());
    assert_eq!(done(&mut uplink, 700_001, answer(700_000)), [], "from a connection that is gone");
}

fn alarm(steps: &[Step<Effect>]) -> Option<u64> {
    steps.iter().find_map(|step| match step {
        Step::WakeAt(at) => Some(at.as_millis()),
        Step::Do(_) | Step::Persist(_) => None,
    })
}

#[test]
fn greets_and_is_up_when_welcome() {
    let mut uplink = fresh();
    assert_eq!(done(&mut uplink, 0, Event::Asked), [Effect::Down]);
    assert_eq!(done(&mut uplink, 0, Event::Start), [Effect::Connect]);
    assert_eq!(done(&mut uplink, 0, Event::Connected), [Effect::Send(ToCloud::Hello(hello()))]);
    assert_eq!(done(&mut uplink, 0, Event::Frame(ToDevice::Welcome)), [Effect::Up, Effect::FullWanted]);
    assert_eq!(done(&mut uplink, 0, Event::Asked), [Effect::Up]);
}

#[test]
fn what_found_no_room_is_said_again_after_a_pause_and_a_report_in_full() {
    let mut uplink = online();
    let full = || Box::new(Report { full: true, ..Report::default() });
    at(&mut uplink, 0, Event::Report(full()));
    let steps = at(&mut uplink, 10, Event::ReportUntold);
    assert_eq!(alarm(&steps), Some(10 + AGAIN_MS));
    // Deltas lead nowhere without what was lost.
    assert_eq!(done(&mut uplink, 20, Event::Report(Box::default())), []);
    let answer = |id| Answer { id, result: Ok("x".into()) };
    for id in 0..MAX_ANSWERS as u64 + 5 {
        assert_eq!(at(&mut uplink, 30, Event::AnswerUntold(answer(id))), []);
    }
    assert_eq!(done(&mut uplink, 40, Event::Woken), []);
    let said = done(&mut uplink, 10 + AGAIN_MS, Event::Woken);
    // None is forgotten, and of those that are too many it is only said that there was no room.
    let short =
        |id| Answer { id, result: Err("the device's uplink had no room for the answer: ask again".into()) };
    let kept = MAX_ANSWERS as u64;
    let answers = (0..kept).map(answer).chain((kept..kept + 5).map(short));
    let answers = answers.map(|answer| Effect::Send(ToCloud::Answer(answer)));
    assert_eq!(said, answers.chain([Effect::FullWanted]).collect::<Vec<_>>());
    let report = Effect::Send(ToCloud::Report(full()));
    assert_eq!(done(&mut uplink, 2000, Event::Report(full())), [report]);
    // What was asked on an earlier connection is answered on none.
    at(&mut uplink, 2000, Event::AnswerUntold(answer(1)));
    at(&mut uplink, 2000, lost());
    at(&mut uplink, 100_000, Event::Woken);
    at(&mut uplink, 100_000, Event::Connected);
    at(&mut uplink, 100_000, Event::Frame(ToDevice::Welcome));
    at(&mut uplink, 100_000, Event::Report(full()));
    at(&mut uplink, 100_000, Event::ReportUntold);
    assert_eq!(done(&mut uplink, 100_000 + AGAIN_MS, Event::Woken), [Effect::FullWanted]);
}

#[test]
fn connects_again_doubling_until_it_is_welcome() {
    let mut uplink = fresh();
    at(&mut uplink, 0, Event::Start);
    let mut now = 0;
    for failures in 0..9 {
        let until = alarm(&at(&mut uplink, now, lost())).unwrap();
        let longest = RECONNECT.wait_ms(failures);
        assert!((longest * 3 / 4..=longest).contains(&(until - now)), "{} of {longest}", until - now);
        now = until;
        assert_eq!(done(&mut uplink, now, Event::Woken), [Effect::Connect]);
    }
    at(&mut uplink, now, Event::Connected);
    at(&mut uplink, now, Event::Frame(ToDevice::Welcome));
    let steps = at(&mut uplink, now, lost());
    assert_eq!(steps[0], Step::Do(Effect::Down));
    assert!(alarm(&steps).unwrap() - now <= RECONNECT.first_ms);
}

#[test]
fn connections_that_end_soon_are_made_less_and_less_often() {
    let (mut uplink, mut now) = (fresh(), 0);
    at(&mut uplink, now, Event::Start);
    let mut connection = |uplink: &mut Uplink, stands_ms| {
        at(uplink, now, Event::Connected);
        at(uplink, now, Event::Frame(ToDevice::Welcome));
        now += stands_ms;
        let until = alarm(&at(uplink, now, lost())).unwrap();
        let waits = until - now;
        now = until;
        at(uplink, now, Event::Woken);
        waits
    };
    for failures in 0..9 {
        let longest = RECONNECT.wait_ms(failures);
        let waits = connection(&mut uplink, STEADY_MS - 1);
        assert!((longest * 3 / 4..=longest).contains(&waits), "{waits} of {longest}");
    }
    assert!(connection(&mut uplink, STEADY_MS) <= RECONNECT.first_ms);
}

#[test]
fn who_cannot_read_the_other_says_so_once_and_tries_seldom() {
    let unreadable = [
        (Event::Unreadable { reason: "a frame of kind 99".into() }, "upgrade the device"),
        (Event::Frame(ToDevice::Refused { reason: "upgrade the cloud".into() }), "upgrade the cloud"),
    ];
    for (event, what) in unreadable {
        let mut uplink = online();
        let mut now = 100;
        let steps = at(&mut uplink, now, event.clone());
        assert!(
            matches!(&steps[..], [Step::Do(Effect::Problem(problem)), Step::Do(Effect::Down), Step::Do(Effect::Close), Step::WakeAt(_)]
                if problem.contains(what)),
            "{steps:?}"
        );
        for _ in 0..3 {
            now = alarm(&at(&mut uplink, now, event.clone())).unwrap_or(now);
            assert_eq!(at(&mut uplink, now, lost()), []);
            now += UNFIT_MS;
            assert_eq!(done(&mut uplink, now, Event::Woken), [Effect::Connect]);
            at(&mut uplink, now, Event::Connected);
            let welcomed = done(&mut uplink, now, Event::Frame(ToDevice::Welcome));
            assert_eq!(welcomed, [Effect::Up, Effect::FullWanted], "the problem stays");
            let steps = at(&mut uplink, now, event.clone());
            assert_eq!(
                steps[..2],
                [Step::Do(Effect::Down), Step::Do(Effect::Close)],
                "and is not said again"
            );
            assert!(alarm(&steps).unwrap() - now >= UNFIT_MS * 3 / 4);
        }
        now += UNFIT_MS;
        at(&mut uplink, now, Event::Woken);
        at(&mut uplink, now, Event::Connected);
        at(&mut uplink, now, Event::Frame(ToDevice::Welcome));
        assert_eq!(
            done(&mut uplink, now + STEADY_MS, Event::Woken),
            [Effect::Problem(String::new()), clock(now + STEADY_MS)],
            "until a connection stands"
        );
    }
}

#[test]
fn a_refusal_is_a_problem_until_a_welcome_and_is_not_hurried() {
    let mut uplink = fresh();
    at(&mut uplink, 0, Event::Start);
    at(&mut uplink, 0, Event::Connected);
    let refused = Event::Frame(ToDevice::Refused { reason: "the token is used up".into() });
    let steps = at(&mut uplink, 0, refused);
    assert!(matches!(&steps[..2], [Step::Do(Effect::Problem(problem)), Step::Do(Effect::Close)]
        if problem.ends_with("the token is used up")));
    let until = alarm(&steps).unwrap();
    assert!(until >= RECONNECT.cap_ms * 3 / 4);
    assert_eq!(at(&mut uplink, 1, lost()), []);
    at(&mut uplink, until, Event::Woken);
    at(&mut uplink, until, Event::Connected);
    let effects = done(&mut uplink, until, Event::Frame(ToDevice::Welcome));
    assert_eq!(effects[0], Effect::Problem(String::new()));
}

#[test]
fn a_cloud_that_does_not_answer_is_left() {
    let mut uplink = fresh();
    at(&mut uplink, 0, Event::Start);
    assert_eq!(alarm(&at(&mut uplink, 0, Event::Connected)), Some(HELLO_MS));
    assert_eq!(done(&mut uplink, HELLO_MS, Event::Woken), [Effect::Close]);
    assert_eq!(at(&mut uplink, HELLO_MS, Event::Frame(ToDevice::Welcome)), []);
}

#[test]
fn a_connection_begins_with_a_full_report() {
    let mut uplink = online();
    let report = |full| Report { full, ..Report::default() };
    assert_eq!(done(&mut uplink, 0, Event::Report(report(false).into())), []);
    for full in [true, false] {
        let sent = Effect::Send(ToCloud::Report(report(full).into()));
        assert_eq!(done(&mut uplink, 0, Event::Report(report(full).into())), [sent]);
    }
}

#[test]
fn passes_on_what_the_cloud_says_and_answers() {
    let mut uplink = online();
    let confirm = Confirm { route: "plant/up".into(), epoch: 1, upto: 2 };
    let frame = Event::Frame(ToDevice::Confirm(confirm.clone()));
    assert_eq!(done(&mut uplink, 0, frame), [Effect::Confirm(confirm)]);
    let question = Question::Logs { module: "sensor".into(), tail: 1, since_ms: 0 };
    let ask = Ask { id: 4, question };
    assert_eq!(done(&mut uplink, 0, Event::Frame(ToDevice::Ask(ask.clone()))), [Effect::Ask(ask)]);
    let answer = Answer { id: 4, result: Ok("line".into()) };
    let sent = Effect::Send(ToCloud::Answer(answer.clone()));
    assert_eq!(done(&mut uplink, 0, Event::Answer(answer)), [sent]);
}

#[test]
fn stops_when_told() {
    let mut uplink = online();
    assert_eq!(done(&mut uplink, 0, Event::Stop), [Effect::Down, Effect::Close]);
    assert_eq!(at(&mut uplink, 0, lost()), []);
    assert_eq!(done(&mut uplink, 0, Event::Connected), [Effect::Close]);
}

#[test]
fn devices_spread_their_attempts() {
    let wait = |seed| {
        let mut uplink = Uplink::new(hello(), seed);
        at(&mut uplink, 0, Event::Start);
        alarm(&at(&mut uplink, 0, lost())).unwrap()
    };
    let waits: std::collections::BTreeSet<_> = (0..100).map(wait).collect();
    assert!(waits.len() > 50);
}

#[test]
fn a_recorded_run_replays() {
    let log = vec![
        (0, Event::Start),
        (1, Event::Connected),
        (2, Event::Frame(ToDevice::Welcome)),
        (
            3,
            Event::Report(Box::new(Report {
                full: true,
                peers: Some(vec![DeviceId::from_bytes([1; 32])]),
                ..Report::default()
            })),
        ),
        (4, lost()),
        (2000, Uplink::woken()),
        (2001, Event::HealthRestarted),
        (2002, Event::Stop),
    ];
    assert_replays(fresh, &log);
}
