//! The settings that Zenoh gets, and why.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{SystemTime, UNIX_EPOCH},
};

use wayside_actors::device::membership::Role;

use super::addresses::all_addresses;

/// What a device's session is opened with.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    /// The name of the circle whose links it takes.
    pub(super) circle: &'a str,
    pub(super) role: Role,
    pub(super) listen: &'a [SocketAddrV4],
    pub(super) connect: &'a [SocketAddr],
    pub(super) scouting: Option<SocketAddrV4>,
}

impl Opening<'_> {
    pub(super) fn config(&self) -> zenoh::Result<zenoh::Config> {
        let endpoints = |addresses: Vec<String>| format!("[{}]", addresses.join(","));
        let of = |address: String| format!("\"tls/{address}\"");
        let mode = match self.role {
            Role::Peer => "peer",
            Role::Router => "router",
            Role::Client => "client",
        };
        // A client listens nowhere and takes whichever router it finds: with endpoints it would look for no other.
        let has_links = self.role != Role::Client;
        let listen = if has_links { self.listen } else { &[] };
        let listen = endpoints(listen.iter().map(|address| of(address.to_string())).collect());
        let connect = if has_links { self.connect } else { &[] };
        let connect = endpoints(connect.iter().map(|address| of(address.to_string())).collect());
        let interfaces: Vec<Ipv4Addr> = self.listen.iter().map(|address| *address.ip()).collect();
        let id = session_id()?;
        zenoh::Config::from_json5(&format!(
            r#"{{
                mode: "{mode}",
                id: "{id}",
                listen: {{ endpoints: {listen} }},
                connect: {{ endpoints: {connect}, retry: {{ period_init_ms: 250, period_max_ms: 4000 }} }},
                // Everything is declared at once; nothing here needs to know who is there first.
                open: {{ return_conditions: {{ connect_scouted: false }} }},
                scouting: {{
                    multicast: {scouting},
                    timeout: {ROUTER_WITHIN_MS},
                    gossip: {{ autoconnect: {AUTOCONNECT}, autoconnect_strategy: {STRATEGY} }},
                }},
                transport: {{
                    unicast: {{ open_timeout: 3000, accept_timeout: 3000, accept_pending: 1000, max_sessions: 4000 }},
                    link: {{
                        {LINKS}, tls: {{ root_ca_certificate: "{circle}" }},
                        // Milliseconds until a silent neighbour is gone; a killed one is noticed at once.
                        tx: {{ lease: 6000, queue: {{
                            // Microseconds. Long enough for a burst of batches to drain on a LAN, short enough
                            // that one stuck neighbour does not hold up the others.
                            congestion_control: {{ drop: {{ wait_before_drop: 100000, max_wait_before_drop_fragments: 500000 }} }},
                        }} }},
                        rx: {{ max_message_size: {MAX_MESSAGE_BYTES} }},
                    }},
                }},
            }}"#,
            circle = self.circle,
            scouting = scouting(self.scouting, &interfaces),
        ))
    }
}

/// No links but those of a circle, whatever else Zenoh was built with and whoever offers it.
const LINKS: &str = r#"protocols: ["tls"]"#;

/// Who dials whom that it finds. Peers dial everyone; routers each other; clients one router.
const AUTOCONNECT: &str = r#"{ router: ["router"], peer: ["router", "peer"], client: ["router"] }"#;

/// One of two dials, the one that started later: see [`session_id`].
const STRATEGY: &str = r#"{
    router: { to_router: "greater-zid", to_peer: "always" },
    peer: { to_router: "always", to_peer: "greater-zid" },
}"#;

/// How long a client looks for a router before it says that there is none, in milliseconds.
const ROUTER_WITHIN_MS: u64 = 1_500;

/// The largest message that is put together from fragments: above every limit of [`crate::wire`].
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How long a light session looks for a device, and tries to link with those that it knows, in milliseconds.
const DEVICE_WITHIN_MS: u64 = 3_000;

/// How long a light session tries one address where something listens, in milliseconds: a small machine that is busy takes a
/// while to shake hands.
const ADDRESS_WITHIN_MS: u64 = 2_500;

/// A light session that finds one device and reaches the others through it.
pub(crate) fn client_config(
    circle: &str,
    group: SocketAddrV4,
    connect: &[SocketAddr],
) -> zenoh::Result<zenoh::Config> {
    let connect: Vec<String> = connect.iter().map(|address| format!("\"tls/{address}\"")).collect();
    zenoh::Config::from_json5(&format!(
        r#"{{
            mode: "client",
            connect: {{ endpoints: [{}], timeout_ms: {DEVICE_WITHIN_MS} }},
            scouting: {{ timeout: {DEVICE_WITHIN_MS}, multicast: {{ address: "{group}", interface: "{}", listen: false }} }},
            transport: {{
                unicast: {{ open_timeout: {ADDRESS_WITHIN_MS} }},
                link: {{ {LINKS}, tls: {{ root_ca_certificate: "{circle}" }}, rx: {{ max_message_size: {MAX_MESSAGE_BYTES} }} }},
            }},
        }}"#,
        connect.join(","),
        comma_separated(&all_addresses()),
    ))
}

fn scouting(group: Option<SocketAddrV4>, interfaces: &[Ipv4Addr]) -> String {
    let Some(group) = group else {
        return "{ enabled: false }".into();
    };
    format!(
        r#"{{
            enabled: true,
            address: "{group}",
            // Given by address: Zenoh reads the list of interfaces once in a process's life.
            interface: "{}",
            autoconnect: {AUTOCONNECT},
            autoconnect_strategy: {STRATEGY},
        }}"#,
        comma_separated(interfaces)
    )
}

fn comma_separated(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",")
}

/// An identifier that is greater than those of all sessions opened before it, as Zenoh compares them.
///
/// With `greater-zid` the greater of two peers dials. A peer scouts as it starts, and then only every
/// eight seconds: so the newcomer must be the one that dials, or joining takes seconds. Where clocks
/// disagree it does take that long, no longer.
fn session_id() -> zenoh::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Zenoh compares byte by byte from the least significant.
    bytes[..6].copy_from_slice(&(since_epoch.as_millis() as u64).to_be_bytes()[2..]);
    // No leading zero: Zenoh refuses it.
    bytes[15] |= 0x80;
    Ok(format!("{:x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_accepted() {
        let peer = Opening {
            circle: "c1",
            role: Role::Peer,
            listen: &["127.0.0.1:0".parse().unwrap()],
            connect: &["127.0.0.1:7447".parse().unwrap()],
            scouting: Some(super::super::SCOUTING),
        };
        for role in [Role::Peer, Role::Router, Role::Client] {
            Opening { role, ..peer }.config().unwrap();
            Opening { role, scouting: None, ..peer }.config().unwrap();
        }
        client_config("c1", super::super::SCOUTING, &[]).unwrap();
    }

    #[test]
    fn later_sessions_have_greater_identifiers() {
        let first: zenoh::config::ZenohId = session_id().unwrap().parse().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
        let second: zenoh::config::ZenohId = session_id().unwrap().parse().unwrap();
        assert!(second > first);
    }
}
