//! What a service asks for beyond what every container has.

use super::*;
use crate::privilege::{Privilege, Right};

fn asked(lines: &str) -> Vec<(String, u32)> {
    service(lines).privileges.iter().map(|asked| (asked.right.to_string(), asked.line)).collect()
}

#[test]
fn what_is_asked_for_is_read_with_its_line() {
    let text = "    cap_add: [NET_ADMIN,
      cap_sys_time]
    devices:
      - /dev/ttyUSB0
      - /dev/a:/dev/b:r
    volumes: [\"/srv/data:/data\", \"/etc/id:/id:ro\"]
    network_mode: host
";
    assert_eq!(
        asked(text),
        [
            ("the capability NET_ADMIN".to_owned(), 5),
            ("the capability SYS_TIME".to_owned(), 6),
            ("the device /dev/ttyUSB0".to_owned(), 8),
            ("the device /dev/a".to_owned(), 9),
            ("the host's /srv/data, to write".to_owned(), 10),
            ("the host's /etc/id, to read".to_owned(), 10),
            ("the host's network".to_owned(), 11),
        ]
    );
    let spec = service("    devices: [/dev/a:/dev/b:r]\n");
    let right = Right::Device { host: "/dev/a".into(), container: "/dev/b".into(), permissions: "r".into() };
    assert_eq!(spec.privileges, [Privilege { right, line: 5 }]);
    assert_eq!(service("").privileges, []);
}

#[test]
fn what_could_mean_anything_is_refused() {
    for (lines, says) in [
        ("cap_add: [net-admin]", "`net-admin` is not a capability"),
        ("cap_add: [NET_ADMN]", "did you mean `NET_ADMIN`?"),
        ("devices: [ttyUSB0]", "`ttyUSB0` is not a device"),
        ("devices: [/dev/a:/dev/b:x]", "is not a device"),
        ("devices: [/dev/../a]", "is not a device"),
        ("volumes: [./data:/data]", "`./data:/data` is not a path of the host"),
        ("volumes: [/srv/../etc:/data]", "is not a path of the host"),
        ("volumes: [\"/srv:/data:shared\"]", "is not a path of the host"),
        ("network_mode: bridge", "the network mode `bridge` is not supported"),
        ("{network_mode: host, ports: [\"1:1\"]}", "has `ports` and the host's network"),
    ] {
        let errors = if lines.starts_with('{') {
            errors(&format!("name: grid\nservices:\n  sensor: {}\n", lines.replacen('{', "{image: x, ", 1)))
        } else {
            service_errors(&format!("    {lines}\n"))
        };
        assert!(errors.len() == 1 && errors[0].contains(says), "{lines}: {errors:?}");
    }
}
