//! Whole files: what is read, and what people are told.

mod depends;
mod health;
mod leaves;
mod privileges;
mod routes;
mod secrets;
mod spec;
mod templates;
mod twins;
mod update;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostic::Severity,
    limits::DEPTH,
    workload::{Destination, PortMapping, Restart, Route, Target, VolumeMount, WhenFull},
};

const GRID: &str = "\
name: grid
services:
  sensor:
    image: registry.example/sensor:1
";

fn errors(text: &str) -> Vec<String> {
    parse("compose.yaml", text)
        .unwrap_err()
        .findings()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| format!("{}:{} {} | {}", finding.line, finding.column, finding.message, finding.help))
        .collect()
}

fn service(lines: &str) -> ModuleSpec {
    let (workload, _) = parse("compose.yaml", &format!("{GRID}{lines}")).unwrap_or_else(|r| panic!("{r}"));
    workload.modules["sensor"].clone()
}

fn service_errors(lines: &str) -> Vec<String> {
    errors(&format!("{GRID}{lines}"))
}

#[test]
fn a_file_without_a_name_has_that_of_its_folder() {
    let text = "services: {a: {image: b}}\n";
    let name =
        |folder: &str| parse_in_folder(folder, "compose.yaml", text).map(|(workload, _)| workload.name);
    assert_eq!(name("weather").unwrap(), "weather");
    assert!(name("My Folder").unwrap_err().to_string().contains("has no `name`"));
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
name: grid
x-common: &common
  restart: always
  environment: { MODE: fast }
services:
  sensor:
    <<: *common
    image: sensor:1
    command: replay --rate "1 s"
    entrypoint: ["/bin/sensor"]
    environment: [STATION=EWR, PRICE=5$$]
    working_dir: /data
    user: "1000:1000"
    restart: on-failure:3
    labels: { site: north }
    stop_grace_period: 1m30s
    stop_signal: SIGINT
    init: true
    read_only: true
    tmpfs: /run
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 50
    volumes: ["rows:/rows:ro"]
    ports: ["127.0.0.1:8080:80", "53:53/udp"]
  detector:
    <<: [*common]
    image: detector:1
volumes:
  rows:
x-wayside:
  target: { devices: [ewr], labels: { plant: p7 } }
  routes:
    observations: { from: sensor/observations, to: cloud }
    neighbours: { from: "sensor/#", to: site/detector, buffer: 64MiB, when_full: drop-oldest }
    local: { from: sensor/+/x, to: detector }
"#;
    let (workload, warnings) = parse("compose.yaml", text).unwrap_or_else(|report| panic!("{report}"));
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(workload.name, "grid");
    assert_eq!(workload.target.devices, ["ewr"]);
    assert_eq!(workload.target.labels["plant"], "p7");
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        workload.modules["sensor"],
        ModuleSpec {
            image: "sensor:1".into(),
            command: Some(strings(&["replay", "--rate", "1 s"])),
            entrypoint: Some(strings(&["/bin/sensor"])),
            environment: BTreeMap::from([("STATION".into(), "EWR".into()), ("PRICE".into(), "5$".into())]),
            templates: BTreeMap::new(),
            user: Some("1000:1000".into()),
            working_dir: Some("/data".into()),
            restart: Restart::OnFailure { max_retries: Some(3) },
            labels: BTreeMap::from([("site".into(), "north".into())]),
            stop_grace_ms: 90_000,
            stop_signal: Some("SIGINT".into()),
            init: true,
            read_only: Some(true),
            tmpfs: strings(&["/run"]),
            memory_bytes: Some(64 << 20),
            cpu_millis: Some(500),
            pids: Some(50),
            volumes: vec![VolumeMount { volume: "rows".into(), path: "/rows".into(), read_only: true }],
            ports: vec![
                PortMapping {
                    host_ip: Some("127.0.0.1".into()),
                    host_port: 8080,
                    container_port: 80,
                    udp: false
                },
                PortMapping { host_ip: None, host_port: 53, container_port: 53, udp: true },
            ],
            secrets: Vec::new(),
            privileges: Vec::new(),
            healthcheck: None,
            depends_on: BTreeMap::new(),
        }
    );
    assert_eq!(workload.modules["detector"].restart, Restart::Always);
    assert_eq!(workload.modules["detector"].environment["MODE"], "fast");
    let route = |name: &str, filter: &str, to| Route::new(name, "sensor", filter, to);
    assert_eq!(
        workload.routes,
        [
            route("observations", "observations", Destination::Cloud),
            Route {
                buffer_bytes: 64 << 20,
                when_full: WhenFull::DropOldest,
                ..route("neighbours", "#", Destination::Site("detector".into()))
            },
            route("local", "+/x", Destination::Module("detector".into())),
        ]
    );
}

#[test]
fn all_findings_come_at_once_with_their_lines() {
    let text = "\
version: '3'
name: Grid
services:
  sensor:
    imge: sensor
    build: .
    privileged: true
    environment:
      STATION: ${STATION}
x-wayside:
  routes:
    all: { from: senser/#, to: cloud }
";
    insta::assert_snapshot!(parse("compose.yaml", text).unwrap_err(), @r"
    warning: `version` has no meaning any more
     --> compose.yaml:1:1
      |
    1 | version: '3'
      | ^^^^^^^
      |
      = help: remove it

    error: `Grid` is not a valid `name`
     --> compose.yaml:2:7
      |
    2 | name: Grid
      |       ^^^^
      |
      = help: write 1 to 63 of a-z, 0-9, `-` and `_`, beginning with a letter or digit

    error: unknown key `imge` in a service
     --> compose.yaml:5:5
      |
    5 |     imge: sensor
      |     ^^^^
      |
      = help: did you mean `image`?

    error: `build` is not supported
     --> compose.yaml:6:5
      |
    6 |     build: .
      |     ^^^^^
      |
      = help: build and push the image first, then name it with `image`

    error: `privileged` is not supported
     --> compose.yaml:7:5
      |
    7 |     privileged: true
      |     ^^^^^^^^^^
      |
      = help: remove it: modules run without privileges

    error: the variable `STATION` cannot be filled in: a device has no shell environment
     --> compose.yaml:9:16
      |
    9 |       STATION: ${STATION}
      |                ^^^^^^^^^^
      |
      = help: write the value itself, or `$$` for a literal `$`

    error: no service or leaf is named `senser`
      --> compose.yaml:12:18
       |
    12 |     all: { from: senser/#, to: cloud }
       |                  ^^^^^^^^
       |
       = help: did you mean `sensor`?
    ");
}

#[test]
fn defaults_are_those_of_compose_but_for_restart() {
    let spec = service("");
    assert_eq!((spec.stop_grace_ms, spec.restart), (10_000, Restart::UnlessStopped));
    let (workload, warnings) = parse("compose.yaml", GRID).unwrap();
    assert_eq!(workload.target, Target::default());
    assert_eq!(warnings.findings()[0].message, "no `x-wayside` block: every device runs this workload");
}

#[test]
fn every_key_of_compose_that_is_not_supported_is_refused_by_name() {
    for (key, help) in keys::SERVICE.refused {
        let errors = service_errors(&format!("    {key}: x\n"));
        assert_eq!(errors, [format!("5:5 `{key}` is not supported | {help}")]);
    }
    for (key, help) in keys::TOP.refused {
        assert_eq!(errors(&format!("{key}: x\n{GRID}")), [format!("1:1 `{key}` is not supported | {help}")]);
    }
    for (key, help) in keys::VOLUME.refused {
        assert_eq!(
            errors(&format!("{GRID}volumes:\n  a:\n    {key}: x\n")),
            [format!("7:5 `{key}` is not supported | {help}")]
        );
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_right() {
    for (lines, expected) in [
        ("    restart: sometimes\n", "5:14 `sometimes` is not a valid `restart`"),
        ("    restart: on-failure:0\n", "5:14 `on-failure:0` is not a valid `restart`"),
        ("    init: maybe\n", "5:11 `maybe` is not a valid `init`"),
        ("    mem_limit: 1k\n", "5:16 `1k` is not a valid `mem_limit`"),
        ("    cpus: -1\n", "5:11 `-1` is not a valid `cpus`"),
        ("    pids_limit: -1\n", "5:17 `-1` is not a valid `pids_limit`"),
        ("    stop_grace_period: 10\n", "5:24 `10` is not a valid `stop_grace_period`"),
        ("    stop_signal: sig int\n", "5:18 `sig int` is not a valid `stop_signal`"),
        ("    working_dir: data\n", "5:18 `data` is not a valid `working_dir`"),
        ("    user: a b\n", "5:11 `a b` is not a valid `user`"),
        ("    tmpfs: /run:size=1m\n", "5:12 `/run:size=1m` is not a valid `tmpfs`"),
        ("    command: []\n", "5:14 `command` is empty"),
        ("    command: a 'b\n", "5:14 `command` has a quote without its end"),
        ("    command: a && b\n", "5:14 `command` uses `&`, but no shell runs it"),
        ("    command: { a: b }\n", "5:14 `command` must be text, not a mapping"),
        ("    environment: text\n", "5:18 `environment` must be a mapping or a list, not text"),
        ("    environment: [A]\n", "5:19 `A` has no value, and a device has no shell to take it from"),
        ("    environment: { A: }\n", "5:20 `A` has no value, and a device has no shell to take it from"),
        ("    environment: [A=1, A=2]\n", "5:24 `A` comes twice"),
        (
            "    environment: { A: 1.0 }\n",
            "5:23 `1.0` is a number or a boolean to YAML and would be written differently",
        ),
        (
            "    environment: { A: $B }\n",
            "5:23 the variable `B` cannot be filled in: a device has no shell environment",
        ),
        ("    labels: { wayside.x: y }\n", "5:15 the label `wayside.x` cannot be set"),
        ("    volumes: [./a:/a]\n", "5:15 `./a:/a` is not a path of the host"),
        ("    volumes: [/a]\n", "5:15 `/a` is not a volume of a service"),
        ("    volumes: [b:/a]\n", "5:15 the volume `b` is not declared"),
        ("    volumes: [{type: bind}]\n", "5:15 the long form of a volume is not supported"),
        ("    ports: [80]\n", "5:13 `80` is not a published port"),
        ("    ports: [{target: 80}]\n", "5:13 the long form of a port is not supported"),
        ("    ports: ['1:1', '1:2']\n", "5:20 port 1 is published twice"),
        ("    image: again\n", "5:5 the key `image` comes twice"),
        ("  cloud:\n    image: a\n", "5:3 a service cannot be named `cloud`"),
        ("  Upper:\n    image: a\n", "5:3 `Upper` cannot name a service"),
        ("  other: {}\n", "5:3 the service `other` has no `image`"),
        ("    user: !!str a\n", "5:11 the YAML tag `tag:yaml.org,2002:!str` is not supported"),
        ("    ? [a]\n    : b\n", "5:7 a key must be text"),
        ("    <<: 1\n", "5:9 `<<` needs a mapping or a list of mappings"),
    ] {
        let errors = service_errors(lines);
        assert!(errors[0].starts_with(expected), "{lines}: {errors:?}");
    }
}

#[test]
fn wrong_blocks_are_refused_with_what_is_right() {
    for (block, expected) in [
        ("  target: some\n", "6:11 `some` is not a valid `target`"),
        ("  target: {}\n", "6:11 `target` is empty"),
        ("  target: { devices: [] }\n", "6:22 `devices` names no device"),
        ("  target: { devices: [a b] }\n", "6:23 `a b` is not a valid `device`"),
        ("  target: { sites: [a] }\n", "6:13 unknown key `sites` in `target`"),
        ("  rutes: {}\n", "6:3 unknown key `rutes` in `x-wayside` | did you mean `routes`?"),
    ] {
        let errors = service_errors(&format!("x-wayside:\n{block}"));
        assert!(errors[0].starts_with(expected), "{block}: {errors:?}");
    }
}

#[test]
fn what_is_not_a_workload_is_refused() {
    for (text, expected) in [
        ("", "1:1 the file is empty"),
        ("# nothing\n", "1:1 the file is empty"),
        ("[]", "1:1 `the file` must be a mapping, not a list"),
        ("name: a\n", "1:1 the workload has no `services`"),
        ("services: {a: {image: b}}\n", "1:1 the workload has no `name`"),
        ("name: a\nservices: {}\n", "2:1 `services` has 0 entries"),
        ("a: [\n", "2:1 not YAML"),
        ("a: b\n---\nc: d\n", "2:1 the file has more than one YAML document"),
        ("a: &a [*a]\n", "1:8 the alias refers to the value that it is part of"),
        ("name: a\nservices: {}\n", "2:1 `services` has 0 entries"),
    ] {
        let errors = errors(text);
        assert!(errors[0].starts_with(expected), "{text:?}: {errors:?}");
    }
    assert!(errors(&"a".repeat(COMPOSE_BYTES + 1))[0].contains("more than the limit"));
}

#[test]
fn a_small_file_cannot_unfold_into_a_large_one() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let item = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![item; 10].join(", "));
    }
    assert!(errors(&laughs)[0].contains("unfolds to more than"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 19), vec!["*a"; 100].join(", "));
    assert!(errors(&long)[0].contains("unfolds to more than"));
}

#[test]
fn deep_nesting_is_refused_however_it_is_made() {
    assert!(errors(&"[".repeat(DEPTH + 1))[0].contains("nested more than"));
    assert!(errors(&"[".repeat(100_000))[0].contains("recursion limit"));
    assert!(errors(&"- ".repeat(100_000))[0].contains("nested more than"));
    assert!(errors(&"{a: ".repeat(200))[0].contains("nested more than"));
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..100 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(errors(&chain)[0].contains("nested more than"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:\\-\\[\\]{}&*<\"'|>!#$ \n]{0,120}") {
        let _ = parse("f", &text).map_err(|report| report.render(true));
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        insert in "[a-z:\\-\\[\\]{}&*<\"'|>!#$ \n\u{e9}]{0,8}",
        cut in 0usize..8,
    ) {
        let mut text: Vec<char> = GRID.chars().collect();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        let _ = parse("f", &text).map_err(|report| report.render(false));
    }
}
