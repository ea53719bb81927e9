//! `wayside fleet`: which fleet this operator signs for, and how a fleet of several operators begins.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use wayside_config::{
    cbor, cosign,
    fleet::{Fleet, Roles, Root},
    hash::sha256,
    identity::{FleetId, PublicKey},
    quorum::Quorum,
};

use super::{
    failure::Failure, fleet_file::FleetFile, operator::KeyFile, output, place::PlaceArgs, push::tell,
    wait::now_ms,
};

/// Show the fleet that you sign for, and whose signatures count in it
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "Examples:
  wayside fleet
  wayside fleet init --key \"$(ssh anna wayside key)\" --key \"$(ssh ben wayside key)\" --threshold 2
  wayside up --fleet \"$(ssh office wayside fleet)\"      a device of that fleet
  wayside fleet push                                     after `wayside rotate`: tell the devices of this LAN

One operator needs none of this: the fleet is that of the key. For several, `fleet init` makes the first root: a file that
holds no secret, to be signed by enough of them (`wayside sign`) and copied to all."
)]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    command: Option<FleetCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyFile,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    Init(InitArgs),
    Push(PushArgs),
}

/// Tell a cloud, or the devices of this LAN, the newest roots and what is revoked
#[derive(Debug, Args)]
struct PushArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Begin a fleet of several operators
#[derive(Debug, Args)]
struct InitArgs {
    /// The key of another operator, as `wayside key` prints it; may be given again
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<PublicKey>,
    /// How many of them have to sign what may run, who may sign, and what is revoked; where it runs, one says
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u64,
    /// After so many days devices take nothing new before `wayside rotate` has made a newer root
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires: Option<u32>,
    #[command(flatten)]
    key: KeyFile,
}

/// A role, as it is chosen on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Who may make the next root.
    Root,
    /// Who says what may run.
    Release,
    /// Who says what runs where, asks devices and changes twins.
    Assign,
    /// Who revokes.
    Admit,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Root, Self::Release, Self::Assign, Self::Admit];

    pub(super) const fn of(self, roles: &mut Roles) -> &mut Quorum {
        match self {
            Self::Root => &mut roles.root,
            Self::Release => &mut roles.release,
            Self::Assign => &mut roles.assign,
            Self::Admit => &mut roles.admit,
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    fleet: FleetId,
    root: u64,
    expires_ms: Option<u64>,
    roles: &'a Roles,
}

impl FleetArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Some(FleetCommand::Init(init)) => return init.run(),
            Some(FleetCommand::Push(push)) => return output::text(&tell(&push.place)?),
            None => {}
        }
        // The roots are public: where there is a file of them, no key is asked.
        let has_file = self.key.fleet_path()?.exists();
        let fleet = if has_file { self.key.fleet()? } else { self.key.operator()?.fleet };
        let root = fleet.root();
        if self.json {
            let (expires_ms, roles) = (root.expires_ms, &root.roles);
            return output::json(&Shown { fleet: fleet.id(), root: root.version, expires_ms, roles });
        }
        // Alone on its line, for `--fleet "$(wayside fleet)"`; the rest is for a person.
        describe(&fleet).into_iter().for_each(|line| output::note(&line));
        output::text(&fleet.id().to_string())
    }
}

/// Root and roles, a line each.
pub(super) fn describe(fleet: &Fleet) -> Vec<String> {
    let Roles { root, release, assign, admit } = &fleet.root().roles;
    let role = |name: &str, quorum: &Quorum| {
        let keys: Vec<String> = quorum.keys().iter().map(PublicKey::short).collect();
        format!("  {name:<8}{} of {}", quorum.threshold(), keys.join(", "))
    };
    let named = [("root", root), ("release", release), ("assign", assign), ("admit", admit)];
    let first = format!("root {}", fleet.root().version);
    [first].into_iter().chain(named.map(|(name, quorum)| role(name, quorum))).collect()
}

impl InitArgs {
    fn run(&self) -> Result<(), Failure> {
        let path = self.key.fleet_path()?;
        if path.exists() {
            let text = format!(
                "there is {} already: move it away, or name another with --fleet-file",
                path.display()
            );
            return Err(Failure::Failed(text));
        }
        let signer = self.key.load()?;
        let mut keys = self.keys.clone();
        keys.push(signer.key());
        keys.sort_unstable();
        keys.dedup();
        let quorum = |threshold| {
            Quorum::new(keys.clone(), threshold).map_err(|error| Failure::Usage(error.to_string()))
        };
        let several = quorum(self.threshold)?;
        let roles =
            Roles { root: several.clone(), release: several.clone(), assign: quorum(1)?, admit: several };
        let issued_ms = now_ms();
        let expires_ms = expiry(issued_ms, self.expires);
        let root = Root { version: 1, issued_ms, expires_ms, previous: None, roles };
        let id = FleetId::from_bytes(sha256(&cbor::encode(&root)));
        let sealed =
            cosign::seal(&id, &root, &*signer).map_err(|error| Failure::Failed(error.to_string()))?;
        FleetFile { roots: vec![sealed.into()], revocation: None, in_force: None }.write(&path)?;
        say_who_signs_next(&path, root.roles.root.threshold());
        output::text(&id.to_string())
    }
}

/// When what is signed now is void.
pub(super) fn expiry(issued_ms: u64, days: Option<u32>) -> Option<u64> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    days.map(|days| issued_ms + u64::from(days) * DAY_MS)
}

/// After an operator has signed a root.
pub(super) fn say_who_signs_next(path: &std::path::Path, threshold: u64) {
    let path = path.display();
    output::note(&if threshold > 1 {
        format!(
            "wrote {path}: others add their signatures with `wayside sign`, and everybody gets a copy of it"
        )
    } else {
        format!("wrote {path}: every operator gets a copy of it")
    });
}
