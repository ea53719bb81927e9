//! `wayside rotate`: the next root of a fleet, with other keys or thresholds.

use clap::Args;
use wayside_config::{
    cosign,
    document::Revocation,
    fleet::{Fleet, Roles},
    identity::PublicKey,
    limits::VERSION_MAX,
    quorum::Quorum,
};

use super::{
    failure::Failure,
    fleet::{Role, describe, expiry, say_who_signs_next},
    fleet_file::FleetFile,
    operator::KeyFile,
    output,
    wait::now_ms,
};

/// Make the next root of your fleet: other keys, other thresholds
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside rotate --add KEY                                 a further operator for everything
  wayside rotate --remove KEY                              a stolen key does not count any more
  wayside rotate --role release --threshold 2              two have to sign what may run
  wayside rotate --expires 365                             the same keys for another year

The root is signed by enough of those who might sign before and of those who may from then on: others add their signatures
with `wayside sign`. Devices take it with what is applied next.")]
pub(super) struct RotateArgs {
    /// Which role; may be given again [default: all]
    #[arg(long = "role", value_enum)]
    roles: Vec<Role>,
    /// A key that counts from now on; may be given again
    #[arg(long = "add", value_name = "KEY")]
    added: Vec<PublicKey>,
    /// A key that does not count any more; may be given again
    #[arg(long = "remove", value_name = "KEY")]
    removed: Vec<PublicKey>,
    /// How many have to sign [default: as before]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    /// After so many days devices take nothing new before the next root
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires: Option<u32>,
    #[command(flatten)]
    key: KeyFile,
}

impl RotateArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (operator, path) = (self.key.operator()?, self.key.fleet_path()?);
        let fleet = &operator.fleet;
        let roles = self.changed(&fleet.root().roles)?;
        let issued_ms = now_ms();
        let next = fleet.next(roles, issued_ms, expiry(issued_ms, self.expires));
        let failed = |error: cosign::CosignError| Failure::Failed(error.to_string());
        let sealed = cosign::seal(&fleet.id(), &next, &*operator.signer).map_err(failed)?;
        let mut roots: Vec<_> = fleet.roots().iter().cloned().map(Into::into).collect();
        roots.push(sealed.into());
        // Who may revoke may be others now: what is revoked is signed anew, so that new devices take it.
        let revocation = match operator.says {
            // Also of a list that still lacks signatures nothing is left out.
            Some(before) => {
                let version = before.version.saturating_add(1).min(VERSION_MAX);
                let list = Revocation { version, issued_ms, ..before };
                let sealed = cosign::seal(&fleet.id(), &list, &*operator.signer);
                Some(sealed.map_err(failed)?.into())
            }
            None => None,
        };
        let file = FleetFile { roots, revocation, in_force: operator.revocation.map(Into::into) };
        file.write(&path)?;
        match Fleet::open(&file.roots) {
            Ok(fleet) => {
                say_who_signs_next(&path, 1);
                output::text(&describe(&fleet).join("\n"))
            }
            Err(error) => {
                say_who_signs_next(&path, 2);
                output::text(&error.to_string())
            }
        }
    }

    fn changed(&self, before: &Roles) -> Result<Roles, Failure> {
        let mut roles = before.clone();
        let chosen = if self.roles.is_empty() { &Role::ALL[..] } else { &self.roles };
        for role in chosen {
            let quorum = role.of(&mut roles);
            let mut keys: Vec<PublicKey> =
                quorum.keys().iter().filter(|key| !self.removed.contains(key)).copied().collect();
            keys.extend(&self.added);
            keys.sort_unstable();
            keys.dedup();
            let threshold = self.threshold.unwrap_or(quorum.threshold());
            *quorum = Quorum::new(keys, threshold).map_err(|error| {
                Failure::Usage(format!("the role {}: {error}", format!("{role:?}").to_lowercase()))
            })?;
        }
        if roles == *before && self.expires.is_none() {
            return Err(Failure::Usage(
                "nothing would change: say --add, --remove, --threshold or --expires".into(),
            ));
        }
        Ok(roles)
    }
}
