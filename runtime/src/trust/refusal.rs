//! Why desired state is not taken, in words that say what to do.

use std::io;

use wayside_config::{
    cosign::CosignError,
    fleet::FleetError,
    identity::{DeviceId, FleetId},
    limits::{MEMBERS, RULES},
    rule::GrantError,
};

/// Why desired state was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The roots do not hold, or are of another fleet.
    #[error("the fleet's roots: {0}; a device changes its fleet only when it is started with --fleet")]
    Fleet(#[from] FleetError),
    /// No root came, and none is known.
    #[error("no root of a fleet came with it, and this device knows none: let an operator apply it")]
    NoFleet,
    /// The list of what does not count any more does not hold.
    #[error("the list of what is revoked: {0}")]
    Revocation(CosignError),
    /// The assignment is not signed by the cloud or by enough operators, or was changed.
    #[error("the assignment: {0}")]
    Assignment(CosignError),
    /// A release is not signed by enough operators, or was changed.
    #[error("a release: {0}")]
    Release(CosignError),
    /// A grant is not signed by those who may admit, or was changed.
    #[error("the grant: {0}")]
    Grant(GrantError),
    /// A rule is not signed by enough of those who may admit, or was changed.
    #[error("the rule: {0}")]
    Rule(CosignError),
    /// A rule that another device is to apply.
    #[error("the rule is for device {} to apply, and this one is {}", .0.short(), .1.short())]
    OtherKeeper(DeviceId, DeviceId),
    /// There is no room for one more.
    #[error("this device applies {RULES} rules already: revoke one with `wayside revoke --rule ID`")]
    TooManyRules,
    /// Operators, or another rule, have given the device its place, and a rule takes that away from nobody.
    #[error(
        "the device was approved by operators or came in by another rule, and no rule changes that: let it be approved again"
    )]
    Approved,
    /// The rule under which this device was admitted counts no more.
    #[error("the rule that admitted this device is revoked: let it be approved")]
    Void,
    /// A newcomer that a rule would admit under the name of another one.
    #[error(
        "{0} may come in by a rule, but another device of the fleet has this name: give it another one, or approve it with --name"
    )]
    NameTaken(String),
    /// What a rule gives could not be signed.
    #[error("the grant could not be signed: {0}")]
    Sign(CosignError),
    /// A grant that another one has replaced.
    #[error("the grant has version {0}, and this device holds version {1} already: let it be approved again")]
    OlderGrant(u64, u64),
    /// Somebody admits others to a device of no fleet.
    #[error(
        "no grant for this device came with it, and it belongs to no fleet yet: let an operator approve it"
    )]
    NoGrant,
    /// There is no room for one more.
    #[error(
        "there are {MEMBERS} devices already, the most that a site may have: give them sites, or revoke those that are gone"
    )]
    TooManyMembers,
    /// For another device.
    #[error("the assignment is for device {}, and this one is {}", .0.short(), .1.short())]
    OtherDevice(DeviceId, DeviceId),
    /// For a device that this one keeps nothing for.
    #[error("device {} is no other device of this one's site: let it be approved, then apply again", .0.short())]
    NotOfTheSite(DeviceId),
    /// It names a release that did not come with it.
    #[error("the assignment names a release of `{0}` that did not come with it")]
    Missing(String),
    /// Whoever signed it took it back.
    #[error("the release of `{0}` is revoked: apply another one")]
    Revoked(String),
    /// This device is out of the fleet.
    #[error("this device is revoked from fleet {}", .0.short())]
    Out(FleetId),
    /// Nobody has signed it again in time.
    #[error(
        "{what} expired {} ago by the time of this device: apply a newer one, or set the clock right", days(*.for_ms)
    )]
    Expired {
        /// Which document.
        what: String,
        /// For how long it has.
        for_ms: u64,
    },
    /// A stranger's word that nothing hangs on.
    #[error("it names no release, and this device belongs to no fleet yet: apply a workload first")]
    Nothing,
    /// What is known of the fleet could not be kept.
    #[error("what came of the fleet could not be written: {0}")]
    Keep(#[from] io::Error),
}

/// Refuses `what` from the time on at which it expires.
pub(super) fn not_expired(what: &str, expires_ms: Option<u64>, time_ms: u64) -> Result<(), TrustError> {
    match expires_ms.and_then(|expires_ms| time_ms.checked_sub(expires_ms)) {
        Some(for_ms) => Err(TrustError::Expired { what: what.to_owned(), for_ms }),
        None => Ok(()),
    }
}

fn days(ms: u64) -> String {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    if ms < 48 * HOUR_MS { format!("{} h", ms / HOUR_MS) } else { format!("{} days", ms / (24 * HOUR_MS)) }
}
