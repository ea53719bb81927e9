//! The short syntax of published ports: `[IP:]HOST:CONTAINER[/tcp|/udp]`.

use std::net::IpAddr;

use super::yaml::{Node, Value};
use crate::{
    diagnostic::{Problems, quote},
    workload::PortMapping,
};

/// Reads `ports` of a service.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Vec<PortMapping> {
    let mut ports: Vec<PortMapping> = Vec::new();
    for item in node.list("ports", problems).unwrap_or_default() {
        if matches!(item.value, Value::Map(_)) {
            let help = "write `HOST:CONTAINER` or `IP:HOST:CONTAINER/udp`";
            problems.error(&item.span, "the long form of a port is not supported", help);
            continue;
        }
        let Some(text) = item.text("ports", problems) else { continue };
        match parse(&text) {
            Ok(port) => {
                if ports.iter().any(|other| is_same_listener(other, &port)) {
                    problems.error(&item.span, format!("port {} is published twice", port.host_port), "");
                }
                ports.push(port);
            }
            Err(help) => {
                problems.error(&item.span, format!("{} is not a published port", quote(&text)), help);
            }
        }
    }
    ports
}

fn is_same_listener(a: &PortMapping, b: &PortMapping) -> bool {
    (a.host_port, a.udp, &a.host_ip) == (b.host_port, b.udp, &b.host_ip)
}

fn parse(text: &str) -> Result<PortMapping, &'static str> {
    let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return Err("the protocol is `tcp` or `udp`"),
    };
    let Some((host, container)) = addresses.rsplit_once(':') else {
        return Err("say which port of the device it gets: `HOST:CONTAINER`");
    };
    let (host_ip, host_port) = match host.rsplit_once(':') {
        None => (None, host),
        Some((ip, port)) => {
            let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            let ip: IpAddr = ip.parse().map_err(|_| "the part before the ports must be an IP address")?;
            // `::ffff:10.0.0.1` is 10.0.0.1 to who listens.
            (Some(ip.to_canonical().to_string()), port)
        }
    };
    if host_port.contains('-') || container.contains('-') {
        return Err("ranges are not supported yet; write each port");
    }
    Ok(PortMapping { host_ip, host_port: number(host_port)?, container_port: number(container)?, udp })
}

fn number(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port > 0).ok_or("a port is a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: Option<&str>, host_port: u16, container_port: u16, udp: bool) -> PortMapping {
        PortMapping { host_ip: host_ip.map(Into::into), host_port, container_port, udp }
    }

    #[test]
    fn the_short_forms_are_read() {
        assert_eq!(parse("8080:80"), Ok(port(None, 8080, 80, false)));
        assert_eq!(parse("127.0.0.1:5353:53/udp"), Ok(port(Some("127.0.0.1"), 5353, 53, true)));
        assert_eq!(parse("[::1]:80:80/tcp"), Ok(port(Some("::1"), 80, 80, false)));
        assert_eq!(parse("[::ffff:10.0.0.1]:80:80"), Ok(port(Some("10.0.0.1"), 80, 80, false)));
        for text in ["80", "8000-8010:80-90", "a:80", "0:80", "80:65536", "80:80/sctp", "host:80:80", "", ":"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
