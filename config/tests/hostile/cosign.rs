//! A document of a fleet, and a chain of roots, of any bytes: nobody here has signed them, so none is ever opened.

use wayside_config::{
    cosign::{Kind, claimed_signers, inspect, peek},
    document::{Assignment, Grant, Release, Revocation, TwinChange},
    fleet::{Fleet, Root},
    identity::{FleetId, PublicKey},
    rule::{Joining, Rule, Signed, proves},
    secret::SecretChange,
};

const FLEET: FleetId = FleetId::from_bytes([3; 32]);

pub(crate) fn read(bytes: &[u8]) {
    for kind in Kind::ALL {
        let signers = claimed_signers(kind, bytes);
        assert!(signers.is_err() || signers.is_ok_and(|signers| !signers.is_empty()));
        assert!(inspect::<Root>(&FLEET, bytes).is_err());
    }
    let _ = peek::<Release>(bytes);
    let _ = peek::<Assignment>(bytes);
    let _ = peek::<Grant>(bytes);
    let _ = peek::<Revocation>(bytes);
    let _ = peek::<Rule>(bytes);
    let _ = peek::<TwinChange>(bytes);
    let _ = peek::<Joining>(bytes);
    let _ = peek::<SecretChange>(bytes);
    assert!(Signed::inspect(&FLEET, bytes).is_err());
    assert!(!proves(&FLEET, PublicKey::from_bytes([2; 32]), PublicKey::from_bytes([9; 32]), bytes));
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert!(Fleet::open(&[bytes]).is_err());
    assert!(Fleet::open(&[first, second]).is_err());
}
