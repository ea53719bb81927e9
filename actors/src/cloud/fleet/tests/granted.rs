//! What operators granted comes before what devices say of themselves.

use super::*;

#[test]
fn what_was_granted_counts_and_not_what_a_device_says_of_itself() {
    let mut fleet = Fleet::new(Time::from_millis(0), [], []);
    greet(&mut fleet, 1, true);
    apply(&mut fleet, release("a", 1, &["d1"], false));
    let granted = |version, rule: Option<u8>, name: &str| {
        let by = id(200);
        Some(Box::new(Granted {
            version,
            under: rule.map(|rule| (wayside_config::document::DocumentId([rule; 32]), by)),
            name: name.into(),
            labels: BTreeMap::from([("plant".into(), name.into())]),
        }))
    };
    let mut says = |name: &str, granted, is_void| {
        let hello = Hello { name: name.into(), token: None, ..hello_of(1) };
        let event = Event::Greeted { device: id(1), hello, token_ok: false, granted, is_void, wall_ms: 5 };
        let steps = feed(&mut fleet, 0, event);
        let saved = steps.iter().any(|step| matches!(step, Step::Persist(Effect::SaveDevice(..))));
        let record = fleet.device(&id(1)).unwrap();
        let runs = record.assigned.as_ref().is_some_and(|assigned| !assigned.releases.is_empty());
        (record.name.clone(), record.labels.get("plant").cloned().unwrap_or_default(), runs, saved)
    };
    let is = |name: &str, runs, saved| (name.to_owned(), name.to_owned(), runs, saved);
    // Before it has shown a grant it is what it says.
    assert_eq!(says("d9", None, false), ("d9".into(), String::new(), false, true));
    assert_eq!(says("d1", None, false), ("d1".into(), String::new(), true, true));
    assert_eq!(says("d1", granted(3, Some(1), "d2"), false), is("d2", false, true));
    // From then on not, whether it shows none, an older one, or one by another rule.
    assert_eq!(says("d1", None, false), is("d2", false, false));
    assert_eq!(says("d1", granted(2, Some(1), "d1"), false), is("d2", false, false));
    assert_eq!(says("d1", granted(9, Some(2), "d1"), false), is("d2", false, false));
    // Where its rule is revoked, what it says counts no more than before; what another rule gives does.
    assert_eq!(says("d1", None, true), is("d2", false, false));
    assert_eq!(says("d1", granted(9, Some(2), "d3"), true), is("d3", false, true));
    // The word of operators comes before, and is kept with the device.
    assert_eq!(says("d9", granted(1, None, "d1"), false), is("d1", true, true));
    assert_eq!(says("d9", granted(9, Some(2), "d9"), false), is("d1", true, false));
    let kept = fleet.device(&id(1)).unwrap().clone();
    let mut again = Fleet::new(Time::from_millis(0), [(id(1), kept)], []);
    greet(&mut again, 1, false);
    assert_eq!(again.device(&id(1)).unwrap().name, "d1");
}

#[test]
fn a_grant_that_counts_lets_a_device_in_without_the_join_token() {
    let mut fleet = Fleet::new(Time::from_millis(0), [], []);
    let mut admitted = |granted: Option<Granted>| {
        let hello = hello_of(1);
        let (granted, is_void) = (granted.map(Box::new), false);
        let event = Event::Greeted { device: id(1), hello, token_ok: false, granted, is_void, wall_ms: 5 };
        let steps = feed(&mut fleet, 0, event);
        steps.iter().any(|step| matches!(step, Step::Do(Effect::Admit(_, Ok(())))))
    };
    assert!(!admitted(None));
    let (under, labels) = (None, BTreeMap::new());
    assert!(admitted(Some(Granted { version: 1, under, name: "ewr".into(), labels })));
    assert!(admitted(None), "it is known now");
}
