//! `wayside rule`: devices that admit others in place of the operators.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use wayside_config::{
    document::DocumentId,
    identity::PublicKey,
    limits::MEMBERS,
    rule::{Rule, Signed},
    settings::is_device_name,
};

use super::{
    admit::{is_called, question},
    approve::label,
    failure::Failure,
    fleet::expiry,
    fleet_file::replace,
    operator::Operator,
    output::{self, duration, table},
    place::{Place, PlaceArgs},
    sign::read,
    site::Site,
    wait::now_ms,
};
use crate::{
    control::{Answer, Ask, Present},
    trust::RuleView,
};

/// Let a device admit others by a rule that you sign, and see who came in
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside rule add --when plant=p7 --uses 40       whoever on this LAN says plant=p7 is admitted, forty of them
  wayside rule add --signed p7.rule                hand over what enough operators have signed
  wayside rule list                                rules and join tokens of this device, and who came in by them
  wayside revoke --rule ID                         end one: who came in by it is out as well

A rule is applied by one device, the one on this machine or `--at`, which must be on for others to come in. What newcomers
say of themselves is not proven but for their keys: where strangers reach the LAN, use join tokens (`wayside token`).")]
pub(super) struct RuleArgs {
    #[command(subcommand)]
    command: RuleCommand,
}

#[derive(Debug, Subcommand)]
enum RuleCommand {
    Add(AddArgs),
    List(ListArgs),
}

/// Make a standing rule
#[derive(Debug, Args)]
struct AddArgs {
    /// A label that a device has to say of itself; may be given again
    #[arg(long = "when", value_name = "NAME=VALUE", value_parser = label)]
    when: Vec<(String, String)>,
    /// How many devices it admits [default: any number]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MEMBERS as u64))]
    uses: Option<u64>,
    /// Hand over the rule in this file, as `--out` wrote it
    #[arg(long = "signed", value_name = "FILE", conflicts_with_all = ["when", "uses", "out", "labels", "site", "expires"])]
    signed: Option<PathBuf>,
    #[command(flatten)]
    gives: Gives,
}

/// What a rule gives, and where it is applied.
#[derive(Debug, Args)]
pub(super) struct Gives {
    /// A label that devices are given; may be given again. Of what they say of themselves nothing else counts but the name
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// They may link with the devices of this site alone
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Nobody is admitted after so many days; who was stays
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    expires: u32,
    /// The device that admits [default: the one on this machine]
    #[arg(long, value_name = "DEVICE")]
    at: Option<String>,
    /// Sign the rule, write it to this file, and hand it to nobody: for others to sign as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) place: PlaceArgs,
}

/// List the rules and join tokens that a device applies
#[derive(Debug, Args)]
struct ListArgs {
    /// The device [default: the one on this machine]
    #[arg(long, value_name = "DEVICE")]
    at: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl RuleArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            RuleCommand::Add(args) => args.run(),
            RuleCommand::List(args) => args.run(),
        }
    }
}

impl AddArgs {
    fn run(self) -> Result<(), Failure> {
        let Some(file) = &self.signed else {
            let when = self.when.into_iter().collect();
            let id = self.gives.make(None, self.uses, when)?;
            return output::text(&format!("rule {id}"));
        };
        let mut site = site(&self.gives.place)?;
        let operator = site.operator()?;
        let sealed = read(file)?;
        let signed = Signed::open(&operator.fleet, &sealed).map_err(|error| {
            Failure::Failed(format!("{}: {error}; let others `wayside sign` it", file.display()))
        })?;
        let keeper = site.members(&operator).into_iter().find(|device| device.device == signed.rule.by);
        let keeper = keeper.ok_or_else(|| {
            Failure::Failed(format!("device {}, which is to apply it, is not here", signed.rule.by))
        })?;
        hand(&mut site, &operator, &keeper, &sealed)?;
        output::text(&format!("rule {} is applied by {}", signed.id, keeper.name))
    }
}

impl Gives {
    /// Signs a rule and hands it to the device that is to apply it. Gives what names it.
    pub(super) fn make(
        self,
        token: Option<PublicKey>,
        uses: Option<u64>,
        when: BTreeMap<String, String>,
    ) -> Result<DocumentId, Failure> {
        if let Some(name) = self.site.as_ref().filter(|name| !is_device_name(name)) {
            return Err(Failure::Usage(format!("`{name}` is no name of a site")));
        }
        let mut there = site(&self.place)?;
        let operator = there.operator()?;
        let keeper = keeper(&there, &operator, self.at.as_deref())?;
        let issued_ms = now_ms();
        let rule = Rule {
            by: keeper.device,
            issued_ms,
            expires_ms: expiry(issued_ms, Some(self.expires)),
            token,
            uses,
            when,
            labels: self.labels.into_iter().collect(),
            site: self.site,
        };
        let sealed = operator.sign(&rule)?;
        let id = Signed::inspect(&operator.fleet.id(), &sealed)
            .map_err(|error| Failure::Usage(format!("this is too much for a rule: {error}")))?
            .id;
        match &self.out {
            Some(out) => {
                replace(out, &sealed)?;
                let out = out.display();
                output::note(&format!(
                    "{out} is for others to sign (`wayside sign`), and then for `wayside rule add --signed {out}`"
                ));
            }
            None => {
                operator.check::<Rule>(&sealed)?;
                hand(&mut there, &operator, &keeper, &sealed)?;
                output::note(&format!(
                    "{} admits by it for {} day(s), whenever it is on",
                    keeper.name, self.expires
                ));
            }
        }
        Ok(id)
    }

    /// The operator who signs.
    pub(super) fn operator(&self) -> Result<Operator, Failure> {
        self.place.key.operator()
    }
}

impl ListArgs {
    fn run(&self) -> Result<(), Failure> {
        let mut site = site(&self.place)?;
        let device = match (&self.at, site.own()) {
            (Some(name), _) => site.find(name)?,
            (None, Some(own)) => own.clone(),
            (None, None) => return Err(which()),
        };
        let Answer::Rules { rules } = site.ask(device.device, &Ask::Rules)? else {
            return Err(Failure::Failed(format!("{} gave another answer than was asked for", device.name)));
        };
        if self.json {
            return output::json(&rules);
        }
        let now_ms = now_ms();
        let rows: Vec<Vec<String>> = rules.iter().map(|rule| row(rule, now_ms)).collect();
        output::text(&table(&["RULE", "KIND", "USED", "ASKS FOR", "GIVES", "ENDS IN"], &rows))
    }
}

fn row(view: &RuleView, now_ms: u64) -> Vec<String> {
    let RuleView { id, rule, used } = view;
    let labels = |labels: &BTreeMap<String, String>| {
        labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",")
    };
    let most = rule.uses.map(|uses| format!(" of {uses}")).unwrap_or_default();
    let ends = rule.expires_ms.map_or_else(String::new, |end| duration(end.saturating_sub(now_ms)));
    let kind = if rule.token.is_some() { "token" } else { "standing" };
    let site = rule.site.as_ref().map(|site| format!(" site {site}")).unwrap_or_default();
    vec![
        id.to_string(),
        kind.into(),
        format!("{}{most}", used.len()),
        labels(&rule.when),
        format!("{}{site}", labels(&rule.labels)),
        ends,
    ]
}

/// The LAN: a rule is applied by a device.
fn site(place: &PlaceArgs) -> Result<Site, Failure> {
    match place.find()? {
        Place::Site(site) => Ok(*site),
        Place::Cloud(_) => Err(Failure::Usage(
            "rules are applied by devices, on their LAN: run this there, or with --lan and without a cloud"
                .into(),
        )),
    }
}

fn keeper(site: &Site, operator: &Operator, at: Option<&str>) -> Result<Present, Failure> {
    let members = site.members(operator);
    let own = site.own().map(|own| own.device);
    let is_meant = |device: &&Present| match at {
        Some(name) => is_called(device, name),
        None => Some(device.device) == own,
    };
    match members.iter().filter(is_meant).collect::<Vec<_>>().as_slice() {
        [device] => Ok((*device).clone()),
        [] if at.is_none() && own.is_none() => Err(which()),
        [] => Err(Failure::Failed(
            "the device that is to admit others belongs to your fleet and is here: see `wayside devices`, and `wayside approve` it first"
                .into(),
        )),
        several => Err(Failure::Failed(format!("{} devices are called so; name one by its key", several.len()))),
    }
}

fn which() -> Failure {
    Failure::Usage("say which device with --at: none is on this machine".into())
}

fn hand(site: &mut Site, operator: &Operator, keeper: &Present, sealed: &[u8]) -> Result<(), Failure> {
    site.hand(keeper, &question(operator, &[], &[sealed.to_vec()]))
}
