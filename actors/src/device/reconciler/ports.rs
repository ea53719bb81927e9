//! Who has a port of the device that several workloads publish: the one of the highest priority. The others are left out as a
//! whole, before an engine would have to say so of one of their modules.

use std::{collections::BTreeMap, net::IpAddr};

use wayside_config::workload::{PortMapping, Workload};

/// A workload that may have ports, and whether it has them now.
pub(super) struct Claim<'a> {
    pub(super) workload: &'a Workload,
    pub(super) has_them: bool,
}

/// Those that do not get their ports, and why. Of the same priority, the one that has them keeps them; then the first by name.
pub(super) fn left_out(mut claims: Vec<Claim<'_>>) -> BTreeMap<String, String> {
    claims.sort_by(|a, b| {
        let rank = |claim: &Claim<'_>| (u8::MAX - claim.workload.priority, !claim.has_them);
        (rank(a), &a.workload.name).cmp(&(rank(b), &b.workload.name))
    });
    let (mut taken, mut left_out) = (Vec::new(), BTreeMap::new());
    for Claim { workload, .. } in claims {
        let conflict = ports(workload).find_map(|(module, port)| {
            let is_taken = |(_, _, other): &&(&Workload, &str, &PortMapping)| overlap(port, other);
            let &(winner, theirs, _) = taken.iter().find(is_taken)?;
            Some(describe((workload, module), port, (winner, theirs)))
        });
        match conflict {
            Some(why) => drop(left_out.insert(workload.name.clone(), why)),
            None => taken.extend(ports(workload).map(|(module, port)| (workload, module, port))),
        }
    }
    left_out
}

fn ports(workload: &Workload) -> impl Iterator<Item = (&str, &PortMapping)> {
    workload.modules.iter().flat_map(|(name, spec)| spec.ports.iter().map(move |port| (name.as_str(), port)))
}

/// Whether one listener leaves no room for the other.
fn overlap(one: &PortMapping, other: &PortMapping) -> bool {
    // However it is written.
    let address = |port: &PortMapping| {
        port.host_ip.as_ref().and_then(|ip| ip.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
    };
    let (ours, theirs) = (address(one), address(other));
    let is_any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    (one.host_port, one.udp) == (other.host_port, other.udp)
        && (is_any(ours) || is_any(theirs) || ours == theirs)
}

fn describe(ours: (&Workload, &str), port: &PortMapping, theirs: (&Workload, &str)) -> String {
    let protocol = if port.udp { "udp" } else { "tcp" };
    let ((ours, module), (theirs, other)) = (ours, theirs);
    format!(
        "{}/{module} publishes port {}/{protocol} of the device, which {}/{other} has (priority {}, and this workload {}): publish another port, or change a `priority` under `x-wayside`",
        ours.name, port.host_port, theirs.name, theirs.priority, ours.priority
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, host_port: u16, udp: bool) -> PortMapping {
        PortMapping { host_ip: host_ip.map(Into::into), host_port, container_port: 80, udp }
    }

    #[test]
    fn listeners_are_in_each_others_way_on_one_address_or_on_all() {
        let (all, one, two) =
            (port(None, 80, false), port(Some("10.0.0.1"), 80, false), port(Some("10.0.0.2"), 80, false));
        assert!(
            overlap(&all, &one) && overlap(&one, &port(Some("0.0.0.0"), 80, false)) && overlap(&one, &one)
        );
        for (a, b) in [("10.0.0.1", "::ffff:10.0.0.1"), ("10.0.0.1", "::ffff:0.0.0.0"), ("::1", "0:0::1")] {
            assert!(overlap(&port(Some(a), 80, false), &port(Some(b), 80, false)), "{a} {b}");
        }
        for (a, b) in [(&one, &two), (&all, &port(None, 80, true)), (&all, &port(None, 81, false))] {
            assert!(!overlap(a, b) && !overlap(b, a), "{a:?} {b:?}");
        }
    }
}
