//! Devices that wait to be admitted: who they are, what is granted to them, and how that reaches them.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use wayside_config::{cosign, document::Grant, identity::DeviceId, limits::VERSION_MAX, workload::Target};

use super::{
    assign::matches,
    cloud::Cloud,
    failure::Failure,
    operator::{KeyFile, Operator},
    output::{self, table},
    relay::Relayed,
    site::Site,
    view::{CloudDevice, DeviceView},
    wait::now_ms,
};
use crate::control::{Answer, Ask, Present, Sealed};

/// How long a device may take to answer by way of a cloud.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a device says of itself until somebody admits it.
const WAITS: &str = "this device waits to be admitted";

/// Grants that are handed over at once, in bytes: in base64, with the longest chain and the longest list, within what a device's door takes.
const PIECE_BYTES: usize = 768 << 10;

/// What is granted beside what devices say of themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    /// A name in place of its own; for one device.
    pub(super) name: Option<String>,
    /// The site whose devices it may link with.
    pub(super) site: Option<String>,
    /// When it ends.
    pub(super) expires_ms: Option<u64>,
}

/// The grant of a device that says so of itself. `held` is what it was granted before.
pub(super) fn grant(device: &Present, terms: &Terms, held: Option<&Grant>, now_ms: u64) -> Grant {
    // Whoever granted it what is lost since: the clock has gone on.
    let version = (now_ms / 1000).max(held.map_or(0, |held| held.version.saturating_add(1)));
    Grant {
        device: device.device,
        version: version.clamp(1, VERSION_MAX),
        issued_ms: now_ms,
        expires_ms: terms.expires_ms,
        name: terms.name.clone().unwrap_or_else(|| device.name.clone()),
        labels: device.labels.clone(),
        site: terms.site.clone(),
        under: None,
    }
}

/// Whether a workload for this target runs on a device that says so of itself.
pub(super) fn is_meant(device: &Present, target: &Target, only: Option<&str>) -> bool {
    let is_named = only.is_none_or(|only| is_called(device, only));
    is_named && matches(target, &device.device, &device.name, &device.labels)
}

/// Whether this is the device's name, by its own words or by the grant that it shows; its key, or how its key begins.
pub(super) fn is_called(device: &Present, name: &str) -> bool {
    const FINGERPRINT: usize = 8;
    let shown = device.grant.as_ref().and_then(|sealed| cosign::peek::<Grant>(&sealed.0).ok());
    device.name == name
        || shown.is_some_and(|grant| grant.device == device.device && grant.name == name)
        || (name.len() >= FINGERPRINT && device.device.to_string().starts_with(name))
}

/// Shows them all, and asks. Where nobody can be asked only `yes` admits.
pub(super) fn confirm(devices: &[Present], yes: bool) -> Result<bool, Failure> {
    let row = |device: &Present| {
        let labels = device.labels.iter().map(|(label, value)| format!("{label}={value}"));
        let clone = if device.is_cloned { "two devices have this key" } else { "" };
        vec![
            device.name.clone(),
            device.device.to_string(),
            labels.collect::<Vec<_>>().join(","),
            device.door.map(|door| door.ip().to_string()).unwrap_or_default(),
            clone.into(),
        ]
    };
    output::note("these devices wait to be admitted to your fleet:");
    output::note(&table(&["NAME", "KEY", "LABELS", "AT", ""], &devices.iter().map(row).collect::<Vec<_>>()));
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!(
        "what they say of themselves is not proven but for the key, which `wayside status` on the device shows. Admit them? [y/N] "
    );
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The question that hands these grants and rules over, with all that the operator knows of the fleet.
pub(super) fn question(operator: &Operator, grants: &[Vec<u8>], rules: &[Vec<u8>]) -> Ask {
    Ask::Admit {
        roots: operator.fleet.roots().iter().cloned().map(Sealed).collect(),
        revocation: operator.revocation.clone().map(Sealed),
        grants: grants.iter().cloned().map(Sealed).collect(),
        rules: rules.iter().cloned().map(Sealed).collect(),
    }
}

/// Signs a grant for each of these.
pub(super) fn sign_all(
    operator: &Operator,
    devices: &[Present],
    terms: &Terms,
) -> Result<Vec<Vec<u8>>, Failure> {
    let now_ms = now_ms();
    let sign = |device: &Present| {
        let held = device.grant.as_ref().and_then(|grant| operator.granted(&grant.0));
        operator.sign(&grant(device, terms, held.as_ref(), now_ms))
    };
    devices.iter().map(sign).collect()
}

/// Grants in pieces that a device takes at once. Its own comes first, for without it there is no other to it.
fn pieces(own: &Vec<u8>, all: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut pieces = vec![vec![own.clone()]];
    let mut bytes = own.len();
    for grant in all.iter().filter(|grant| *grant != own) {
        bytes += grant.len();
        if bytes > PIECE_BYTES {
            bytes = grant.len();
            pieces.push(Vec::new());
        }
        if let Some(last) = pieces.last_mut() {
            last.push(grant.clone());
        }
    }
    pieces
}

/// Admits devices of a LAN that wait, with these grants; and hands them those of the others there, so that they link at once.
pub(super) fn admit(
    site: &mut Site,
    operator: &Operator,
    devices: &[Present],
    grants: &[Vec<u8>],
) -> Result<(), Failure> {
    for grant in grants {
        operator.check::<Grant>(grant)?;
    }
    let mut all = grants.to_vec();
    // One that a new grant replaces would be refused as an older one.
    let is_other = |member: &Present| devices.iter().all(|device| device.device != member.device);
    let members = site.members(operator).into_iter().filter(is_other);
    all.extend(members.filter_map(|device| Some(device.grant?.0)));
    let mut refused = Vec::new();
    let asks = |place: usize| {
        pieces(&grants[place], &all).iter().map(|grants| question(operator, grants, &[])).collect()
    };
    for (device, handed) in devices.iter().zip(site.hand_each(devices, asks)) {
        match handed {
            Ok(()) => {}
            Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                refused.push(format!("{}: {reason}", device.name));
            }
            Err(other @ (Failure::Usage(_) | Failure::File(_) | Failure::Told | Failure::Enough)) => {
                return Err(other);
            }
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::Failed(refused.join("\n  "))) }
}

/// Before a workload is applied on a LAN: admits the devices that wait and that it is for. The device on this machine is
/// admitted without a question, for who reaches its socket commands it anyway.
pub(super) fn admit_targets(
    site: &mut Site,
    operator: &Operator,
    target: &Target,
    only: Option<&str>,
    yes: bool,
) -> Result<(), Failure> {
    let waiting = site.waiting(operator).into_iter().filter(|device| is_meant(device, target, only));
    let (own, others): (Vec<_>, Vec<_>) = waiting.partition(|device| device.door.is_none());
    let mut admitted = own;
    if !others.is_empty() {
        if confirm(&others, yes)? {
            admitted.extend(others);
        } else {
            output::note("they are left out: admit them with `wayside approve`, or say --yes");
        }
    }
    if admitted.is_empty() {
        return Ok(());
    }
    let grants = sign_all(operator, &admitted, &Terms::default())?;
    match admit(site, operator, &admitted, &grants) {
        Ok(()) => {}
        // Others have to sign as well: what is here already is applied to.
        Err(Failure::Failed(reason)) => {
            output::note(&format!("warning: nobody is admitted: {reason}"));
            return Ok(());
        }
        Err(other) => return Err(other),
    }
    let names: Vec<&str> = admitted.iter().map(|device| &*device.name).collect();
    output::note(&format!("admitted to your fleet: {}", names.join(", ")));
    let keys: Vec<DeviceId> = admitted.iter().map(|device| device.device).collect();
    site.await_members(operator, &keys)
}

/// The devices of a cloud that wait and are there, as they say of themselves.
pub(super) fn waiting_at(
    cloud: &Cloud,
    key_file: &KeyFile,
    operator: &Operator,
) -> Result<Vec<Present>, Failure> {
    let known: Vec<CloudDevice> = cloud.get("devices", &[])?;
    // One that holds nothing may not have said yet how it is.
    let waits = |view: &DeviceView| {
        let says_so = view.problems.iter().any(|problem| problem.contains(WAITS));
        view.presence == "online" && (says_so || view.held == 0)
    };
    let mut waiting = Vec::new();
    for view in known.into_iter().map(DeviceView::from).filter(waits) {
        match own_words(cloud, key_file, &view.device.to_string()) {
            Ok(words) => waiting.extend(words),
            Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                output::note(&format!("warning: {} is left out: {reason}", view.name));
            }
            Err(other) => return Err(other),
        }
    }
    let is_waiting = |device: &Present| operator.awaits(device);
    Ok(waiting.into_iter().filter(is_waiting).collect())
}

/// What the device that a cloud has under this name or key says of itself; `None` when it says that it is another one.
pub(super) fn own_words(cloud: &Cloud, key_file: &KeyFile, name: &str) -> Result<Option<Present>, Failure> {
    let device = Relayed::find(cloud, key_file, name)?;
    let Answer::Lobby(lobby) = device.ask(&Ask::Lobby, PATIENCE)? else { return Ok(None) };
    Ok(Some(*lobby.own).filter(|own| own.device == device.device))
}

/// Admits devices by way of a cloud.
pub(super) fn admit_at(
    cloud: &Cloud,
    key_file: &KeyFile,
    operator: &Operator,
    devices: &[Present],
    grants: &[Vec<u8>],
) -> Result<(), Failure> {
    for grant in grants {
        operator.check::<Grant>(grant)?;
    }
    let ask = question(operator, grants, &[]);
    for device in devices {
        Relayed::find(cloud, key_file, &device.device.to_string())?.ask(&ask, PATIENCE)?;
    }
    Ok(())
}

/// As [`admit_targets`], by way of a cloud.
pub(super) fn admit_targets_at(
    cloud: &Cloud,
    key_file: &KeyFile,
    operator: &Operator,
    target: &Target,
    yes: bool,
) -> Result<(), Failure> {
    let mut waiting = waiting_at(cloud, key_file, operator)?;
    waiting.retain(|device| is_meant(device, target, None));
    if waiting.is_empty() {
        return Ok(());
    }
    if !confirm(&waiting, yes)? {
        output::note(
            "their modules reach no neighbour before they are admitted: `wayside approve`, or say --yes",
        );
        return Ok(());
    }
    let grants = sign_all(operator, &waiting, &Terms::default())?;
    match admit_at(cloud, key_file, operator, &waiting, &grants) {
        Err(Failure::Failed(reason)) => {
            output::note(&format!("warning: not all are admitted: {reason}"));
            Ok(())
        }
        admitted => admitted,
    }
}

/// Those of `devices` that are meant: by name or key, each once; by labels; or all.
pub(super) fn choose(
    devices: Vec<Present>,
    names: &[String],
    labels: &BTreeMap<String, String>,
    all: bool,
) -> Result<Vec<Present>, Failure> {
    for name in names {
        let found = devices.iter().filter(|device| is_called(device, name)).collect::<Vec<_>>();
        match found.as_slice() {
            [_] => {}
            [] => return Err(Failure::Failed(format!("no device {name} waits here"))),
            several => {
                let keys: Vec<String> = several.iter().map(|device| device.device.to_string()).collect();
                let keys = keys.join(", ");
                return Err(Failure::Failed(format!(
                    "several devices are called {name}; name one by its key: {keys}"
                )));
            }
        }
    }
    let has_labels = |device: &Present| {
        !labels.is_empty() && labels.iter().all(|(label, value)| device.labels.get(label) == Some(value))
    };
    let is_chosen =
        |device: &Present| all || has_labels(device) || names.iter().any(|name| is_called(device, name));
    Ok(devices.into_iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(seed: u8, name: &str, plant: &str) -> Present {
        Present {
            device: DeviceId::from_bytes([seed; 32]),
            name: name.into(),
            labels: BTreeMap::from([("plant".into(), plant.into())]),
            fleet: None,
            root: 0,
            revocation: 0,
            grant: None,
            door: None,
            mesh: Vec::new(),
            is_cloned: false,
        }
    }

    #[test]
    fn the_grants_of_a_large_site_are_handed_over_in_pieces_that_have_room() {
        use wayside_config::limits::{CHAIN_BYTES, GRANT_BYTES, MEMBERS, SEALED_BYTES};
        let all: Vec<_> = (0..MEMBERS)
            .map(|number| [number.to_be_bytes().to_vec(), vec![0; GRANT_BYTES - 8]].concat())
            .collect();
        let pieces = pieces(&all[700], &all);
        assert_eq!(pieces[0][0], all[700]);
        let mut handed: Vec<_> = pieces.iter().flatten().cloned().collect();
        handed.sort();
        assert_eq!(handed, all);
        for piece in pieces {
            let bytes: usize = piece.iter().map(Vec::len).sum();
            let with_all = (bytes + CHAIN_BYTES + SEALED_BYTES) * 4 / 3 + 8 * MEMBERS;
            assert!(with_all < wayside_mesh::lobby::DOOR_BYTES, "{with_all}");
        }
    }

    #[test]
    fn a_grant_says_what_the_device_says_and_is_newer_than_the_one_before() {
        let device = present(1, "ewr", "p7");
        let first = grant(&device, &Terms::default(), None, 5_000);
        assert_eq!((first.version, first.name.as_str(), first.issued_ms), (5, "ewr", 5_000));
        let terms = Terms { name: Some("jfk".into()), site: Some("hall".into()), expires_ms: Some(9) };
        let second = grant(&device, &terms, Some(&first), 5_000);
        assert_eq!((second.version, second.name.as_str()), (6, "jfk"));
        assert_eq!((second.site.as_deref(), second.expires_ms), (Some("hall"), Some(9)));
        assert_eq!(second.labels, device.labels);
    }

    #[test]
    fn a_name_that_two_claim_admits_neither() {
        let devices = || vec![present(1, "ewr", "p7"), present(2, "ewr", "p7"), present(3, "jfk", "p8")];
        let choose = |names: &[&str], labels: &[(&str, &str)], all| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let labels =
                labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
            let chosen = super::choose(devices(), &names, &labels, all)?;
            Ok::<_, Failure>(chosen.iter().map(|device| device.device.as_bytes()[0]).collect::<Vec<_>>())
        };
        assert!(
            matches!(choose(&["ewr"], &[], false), Err(Failure::Failed(text)) if text.contains("by its key"))
        );
        let key = DeviceId::from_bytes([2; 32]).to_string();
        assert_eq!(choose(&[&key], &[], false).unwrap(), [2]);
        assert_eq!(choose(&[&key[..8], "jfk"], &[], false).unwrap(), [2, 3]);
        assert!(choose(&["lga"], &[], false).is_err());
        assert_eq!(choose(&[], &[("plant", "p7")], false).unwrap(), [1, 2]);
        assert_eq!(choose(&[], &[], true).unwrap(), [1, 2, 3]);
        assert_eq!(choose(&[], &[], false).unwrap(), [0; 0]);
    }
}
