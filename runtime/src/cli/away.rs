//! Devices of the site that are away: what they have been told to run, as those that are here keep it, and who keeps what
//! is signed for them now.

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{cosign, document::Assignment, identity::DeviceId};

use super::{assign::Change, failure::Failure, operator::Operator, site::Site};
use crate::{
    control::{Answer, Ask, Away, Sealed, Versions},
    copies,
};

/// Assignments that go to a keeper at once, in bytes: a request has room for them in base64, with roots and a release.
const TOGETHER_BYTES: usize = 384 << 10;

/// A change, signed.
pub(super) struct Signed<'a> {
    pub(super) change: &'a Change,
    pub(super) assignment: Vec<u8>,
}

/// The devices of the site that are not among those that are here, each as the newest copy of those has it. Of whom there is no
/// copy is taken to run nothing yet: if that is wrong it refuses the assignment, whose version is the first.
pub(super) fn away(operator: &Operator, here: &[Versions]) -> Vec<Versions> {
    let is_here: BTreeSet<DeviceId> = here.iter().map(|versions| versions.device).collect();
    let mut away = BTreeMap::<DeviceId, Versions>::new();
    for told in here.iter().flat_map(|versions| &versions.away) {
        let Some(versions) = opened(operator, told) else { continue };
        let newer = away.get(&versions.device).is_none_or(|other| other.assignment < versions.assignment);
        if newer && !is_here.contains(&versions.device) {
            away.insert(versions.device, versions);
        }
    }
    away.into_values().collect()
}

/// What operators of the fleet have signed, whoever shows it.
fn opened(operator: &Operator, told: &Away) -> Option<Versions> {
    let grant = operator.granted(&told.grant.0)?;
    let (assignment, releases) = match &told.assignment {
        None => (0, Vec::new()),
        Some(sealed) => {
            let (_, opened) = operator.fleet.verify::<Assignment>(&sealed.0).ok()?;
            if opened.device != grant.device {
                return None;
            }
            (opened.version, opened.releases)
        }
    };
    Some(Versions {
        device: grant.device,
        name: grant.name,
        labels: grant.labels,
        assignment,
        releases,
        highest_assignment: assignment,
        highest: BTreeMap::new(),
        away: Vec::new(),
    })
}

/// Who keeps what is signed for a device: besides those whose turn it is, those that keep something for it already, for they may
/// have releases that it has not got yet.
fn keepers(device: DeviceId, here: &[Versions]) -> BTreeSet<DeviceId> {
    let keys = here.iter().map(|other| other.device).collect();
    let keeps = |other: &&Versions| other.away.iter().any(|told| is_for(told, device));
    let before = here.iter().filter(keeps).map(|other| other.device);
    copies::keepers(device, &keys).chain(before).collect()
}

fn is_for(told: &Away, device: DeviceId) -> bool {
    let assignment = told.assignment.as_ref();
    let peeked = assignment.map(|sealed| cosign::peek::<Assignment>(&sealed.0));
    matches!(peeked, Some(Ok(assignment)) if assignment.device == device)
}

/// Has devices that are here keep what is signed for others. Gives those for which nobody keeps it, and why.
pub(super) fn hand_copies(
    site: &mut Site,
    operator: &Operator,
    here: &[Versions],
    signed: &[Signed<'_>],
    releases: &[Vec<u8>],
) -> Result<BTreeMap<DeviceId, String>, Failure> {
    let mut of_keeper = BTreeMap::<DeviceId, Vec<&Signed<'_>>>::new();
    for one in signed {
        for keeper in keepers(one.change.assignment.device, here) {
            of_keeper.entry(keeper).or_default().push(one);
        }
    }
    let together: Vec<(DeviceId, &[&Signed<'_>])> = of_keeper
        .iter()
        .flat_map(|(keeper, copies)| chunks(copies).into_iter().map(|together| (*keeper, together)))
        .collect();
    let asks = together.iter().map(|(keeper, copies)| (*keeper, question(operator, copies, releases)));
    let answers = site.ask_each(asks);
    let (mut kept, mut refused) = (BTreeSet::new(), BTreeMap::new());
    for ((_, copies), answer) in together.into_iter().zip(answers) {
        let devices = copies.iter().map(|one| one.change.assignment.device);
        match answer {
            Ok(Answer::Kept { refused: not }) => {
                kept.extend(devices.filter(|device| !not.contains_key(device)));
                refused.extend(not);
            }
            Ok(_) => return Err(super::site::unexpected()),
            Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                refused.extend(devices.map(|device| (device, reason.clone())));
            }
            Err(other @ (Failure::Usage(_) | Failure::File(_) | Failure::Told | Failure::Enough)) => {
                return Err(other);
            }
        }
    }
    for one in signed {
        let device = one.change.assignment.device;
        if !kept.contains(&device) && !refused.contains_key(&device) {
            refused.insert(device, "no other device is here".into());
        }
    }
    refused.retain(|device, _| !kept.contains(device));
    Ok(refused)
}

fn question(operator: &Operator, together: &[&Signed<'_>], releases: &[Vec<u8>]) -> Ask {
    let sealed = |bytes: &Vec<u8>| Sealed(bytes.clone());
    let runs = together.iter().any(|one| one.change.runs);
    Ask::Keep {
        roots: operator.fleet.roots().iter().cloned().map(Sealed).collect(),
        revocation: operator.revocation.clone().map(Sealed),
        assignments: together.iter().map(|one| Sealed(one.assignment.clone())).collect(),
        releases: if runs { releases.iter().map(sealed).collect() } else { Vec::new() },
    }
}

/// As many as go at once, at least one.
fn chunks<'a, 'b>(copies: &'a [&'b Signed<'b>]) -> Vec<&'a [&'b Signed<'b>]> {
    let (mut chunks, mut rest) = (Vec::new(), copies);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|one| {
            bytes += one.assignment.len();
            bytes <= TOGETHER_BYTES
        });
        let (chunk, others) = rest.split_at(fits.count().max(1));
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::document::{Grant, ReleaseRef};

    use super::*;

    fn id(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 32])
    }

    fn versions(device: u8, away: Vec<Away>) -> Versions {
        Versions {
            device: id(device),
            name: format!("d{device}"),
            labels: BTreeMap::new(),
            assignment: 0,
            releases: Vec::new(),
            highest_assignment: 0,
            highest: BTreeMap::new(),
            away,
        }
    }

    fn copy(operator: &Operator, device: u8, version: u64) -> Away {
        let grant = Grant {
            device: id(device),
            name: format!("d{device}"),
            labels: BTreeMap::from([("plant".to_owned(), "p7".to_owned())]),
            version: 1,
            issued_ms: 1,
            expires_ms: None,
            site: None,
            under: None,
        };
        let release = ReleaseRef { workload: "w".into(), version, sha256: [7; 32], members: Vec::new() };
        let assignment = Assignment { device: id(device), version, releases: vec![release] };
        Away {
            grant: Sealed(operator.seal(&grant).unwrap()),
            assignment: Some(Sealed(operator.seal(&assignment).unwrap())),
        }
    }

    #[test]
    fn the_newest_copy_counts_and_only_of_who_is_not_here() {
        let operator = Operator::alone(SigningKey::from_bytes(&[5; 32]));
        let stranger = Operator::alone(SigningKey::from_bytes(&[6; 32]));
        let mixed = Away { assignment: copy(&operator, 7, 50).assignment, ..copy(&operator, 3, 1) };
        let never = Away { assignment: None, ..copy(&operator, 5, 1) };
        let here = [
            versions(1, vec![copy(&operator, 3, 4), copy(&operator, 2, 9), copy(&stranger, 4, 9), never]),
            versions(2, vec![copy(&operator, 3, 5), copy(&operator, 3, 3), mixed]),
        ];
        let away = away(&operator, &here);
        assert_eq!(away.len(), 2);
        assert_eq!((&*away[1].name, away[1].assignment, away[1].releases.len()), ("d5", 0, 0));
        assert_eq!((&*away[0].name, away[0].assignment, away[0].releases[0].version), ("d3", 5, 5));
        assert_eq!(away[0].labels["plant"], "p7");
    }

    #[test]
    fn those_who_kept_it_before_keep_it_on() {
        let operator = Operator::alone(SigningKey::from_bytes(&[5; 32]));
        let mut here: Vec<Versions> = (1..=12).map(|number| versions(number, Vec::new())).collect();
        here[11].away = vec![copy(&operator, 2, 1)];
        let numbers: Vec<u8> = keepers(id(2), &here).iter().map(|keeper| keeper.as_bytes()[0]).collect();
        assert_eq!(numbers, [3, 4, 5, 6, 7, 8, 9, 10, 12]);
    }

    #[test]
    fn what_is_too_much_for_one_request_goes_in_several() {
        let change = |device| Change {
            assignment: Assignment { device: id(device), version: 1, releases: Vec::new() },
            name: String::new(),
            runs: true,
        };
        let changes = [change(1), change(2), change(3), change(4)];
        let sizes = [TOGETHER_BYTES / 2, TOGETHER_BYTES / 2, TOGETHER_BYTES * 2, 1];
        let signed: Vec<_> = changes
            .iter()
            .zip(sizes)
            .map(|(change, size)| Signed { change, assignment: vec![0; size] })
            .collect();
        let all: Vec<_> = signed.iter().collect();
        let lengths: Vec<_> = chunks(&all).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }
}
