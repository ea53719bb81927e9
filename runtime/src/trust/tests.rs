use wayside_config::{document::TwinChange, identity::DeviceId};

use super::{
    attacks::device::{DEVICE, Operators, desired, key, public},
    *,
};

const CLOUD: u8 = 3;

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn trust(&self, pinned: Option<Pinned>, holds: Option<&Desired>) -> Trust {
        let state = Arc::new(StateFolder::open(self.0.path()).unwrap());
        Trust::load(public(DEVICE), Some(public(CLOUD)), pinned, holds, state).0
    }
}

fn verify(trust: &Trust, desired: &Desired) -> Result<Verified, TrustError> {
    trust.verify(desired.clone(), &Desired::default())
}

fn by_alone(seed: u8, assigner: u8, device: DeviceId) -> Desired {
    let operators = Operators::alone(seed);
    desired(&operators, device, 1, &[operators.release(1)], &[assigner])
}

#[test]
fn the_first_fleet_is_obeyed_from_then_on() {
    let fixture = Fixture::new();
    let trust = fixture.trust(None, None);
    assert_eq!((trust.askers(), trust.fleet()), (Askers::Anybody, None));
    verify(&trust, &by_alone(1, 1, public(DEVICE))).unwrap();
    let stranger = verify(&trust, &by_alone(2, 2, public(DEVICE)));
    assert!(matches!(stranger, Err(TrustError::Fleet(FleetError::Other { .. }))));
    drop(trust);
    let trust = fixture.trust(None, None);
    assert_eq!(trust.askers(), Askers::Keys(vec![public(1)]));
    assert_eq!(trust.fleet(), Some((Fleet::id_of_one(public(1)), 1)));
}

#[test]
fn who_signed_nothing_that_runs_is_not_obeyed() {
    let fixture = Fixture::new();
    let trust = fixture.trust(None, None);
    let operators = Operators::alone(1);
    let empty = |assigner| desired(&operators, public(DEVICE), 1, &[], &[assigner]);
    verify(&trust, &empty(CLOUD)).unwrap();
    assert!(matches!(verify(&trust, &empty(1)), Err(TrustError::Nothing)));
    assert_eq!(trust.fleet(), None);
}

#[test]
fn the_cloud_assigns_but_does_not_release() {
    let fixture = Fixture::new();
    let trust = fixture.trust(Some(Pinned::Operator(public(1))), None);
    let here = public(DEVICE);
    assert_eq!(verify(&trust, &by_alone(1, CLOUD, here)).unwrap().by, Assigner::Cloud);
    assert_eq!(verify(&trust, &by_alone(1, 1, here)).unwrap().by, Assigner::Operator);
    assert!(matches!(verify(&trust, &by_alone(1, 1, public(8))), Err(TrustError::OtherDevice(..))));
    let operators = Operators::alone(1);
    let forged = desired(&operators, here, 1, &[operators.release_by(1, &[CLOUD])], &[CLOUD]);
    assert!(matches!(verify(&trust, &forged), Err(TrustError::Release(CosignError::Threshold { .. }))));
}

#[test]
fn a_pinned_fleet_is_the_only_one_and_replaces_another() {
    let fixture = Fixture::new();
    let (ours, other) = (by_alone(1, 1, public(DEVICE)), by_alone(2, 2, public(DEVICE)));
    let trust = fixture.trust(Some(Pinned::Fleet(Fleet::id_of_one(public(1)))), None);
    assert_eq!(trust.askers(), Askers::Strangers);
    assert!(matches!(verify(&trust, &other), Err(TrustError::Fleet(FleetError::Other { .. }))));
    verify(&trust, &ours).unwrap();
    assert_eq!(trust.askers(), Askers::Keys(vec![public(1)]));
    drop(trust);
    let trust = fixture.trust(Some(Pinned::Operator(public(2))), Some(&ours));
    assert_eq!(trust.askers(), Askers::Keys(vec![public(2)]));
    assert!(matches!(verify(&trust, &ours), Err(TrustError::Fleet(FleetError::Other { .. }))));
    verify(&trust, &other).unwrap();
}

#[test]
fn a_cloud_that_has_no_roots_to_tell_is_understood_by_who_knows_them() {
    let fixture = Fixture::new();
    let trust = fixture.trust(None, None);
    let mut rootless = by_alone(1, CLOUD, public(DEVICE));
    let roots = std::mem::take(&mut rootless.roots);
    assert!(matches!(verify(&trust, &rootless), Err(TrustError::NoFleet)));
    verify(&trust, &Desired { roots: roots.clone(), ..rootless.clone() }).unwrap();
    // What is kept has them all the same: it is opened without anything else.
    let verified = verify(&trust, &rootless).unwrap();
    assert_eq!(verified.sealed.roots, roots);
    assert_eq!(reopen(verified.sealed.clone()).unwrap().releases, verified.releases);
}

#[test]
fn a_release_that_did_not_come_is_missed() {
    let fixture = Fixture::new();
    let mut incomplete = by_alone(1, 1, public(DEVICE));
    incomplete.releases.clear();
    let refused = verify(&fixture.trust(None, None), &incomplete);
    assert!(matches!(refused, Err(TrustError::Missing(workload)) if workload == "w"));
}

#[test]
fn a_change_of_a_twin_is_signed_by_who_assigns() {
    let fixture = Fixture::new();
    let trust = fixture.trust(None, None);
    let operators = Operators::alone(1);
    let change = |device, name: Option<&str>, seed| {
        let change = TwinChange {
            device,
            name: name.map(Into::into),
            module: "w/m".parse().unwrap(),
            life: 1,
            version: 1,
            patch: "{}".into(),
        };
        cosign::seal(&operators.fleet.id(), &change, &key(seed)).unwrap()
    };
    let here = public(DEVICE);
    assert!(trust.verify_twin(&change(here, None, 1), "ewr").unwrap_err().contains("no fleet"));
    verify(&trust, &by_alone(1, 1, here)).unwrap();
    assert!(trust.verify_twin(&change(here, Some("ewr"), 1), "ewr").is_ok());
    assert!(trust.verify_twin(&change(here, Some("jfk"), 1), "ewr").unwrap_err().contains("for jfk"));
    assert!(trust.verify_twin(&change(public(8), None, 1), "ewr").unwrap_err().contains("for device"));
    assert!(trust.verify_twin(&change(here, None, CLOUD), "ewr").unwrap_err().contains("may in the fleet"));
}

#[test]
fn damage_does_not_open_the_door() {
    let fixture = Fixture::new();
    let trust = fixture.trust(None, None);
    let holds = verify(&trust, &by_alone(1, CLOUD, public(DEVICE))).unwrap().sealed;
    drop(trust);
    std::fs::write(fixture.0.path().join("fleet"), "x").unwrap();
    assert_eq!(fixture.trust(None, Some(&holds)).askers(), Askers::Keys(vec![public(1)]));
    assert_eq!(fixture.trust(None, None).askers(), Askers::Keys(vec![public(1)]));
}

#[test]
fn a_state_of_the_time_before_fleets_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let state = StateFolder::open(fixture.0.path()).unwrap();
    assert_eq!(check_age(&state), Ok(()));
    let older = fixture.0.path().join("operators");
    std::fs::write(&older, "x").unwrap();
    assert!(check_age(&state).unwrap_err().contains("without fleets"));
    assert!(older.exists());
}
