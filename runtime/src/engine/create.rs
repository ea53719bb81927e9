//! What a container is made from: the release's specification and what the daemon adds.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesUlimits,
};
use serde::Serialize;
use wayside_config::{
    privilege::Right,
    workload::{ModuleId, ModuleSpec},
};

use super::{Broker, Ready, Settings, health, names};

/// Processes a module may have when it does not say.
const PIDS: u32 = 512;

/// Logs that the engine keeps of a container: three files of this size.
const LOG_FILE: &str = "10m";
const LOG_FILES: &str = "3";

/// Part of [`additions`]; raised when containers are made in another way from the same things.
const FORMAT: u32 = 2;

/// What the daemon adds to every container, as text: a container that was made with other additions
/// is made again.
pub(super) fn additions(settings: &Settings, ready: &Ready) -> String {
    #[derive(Serialize)]
    struct Additions<'a> {
        format: u32,
        network: &'a str,
        gateway: Option<String>,
        mqtt_port: u16,
        device_name: &'a str,
    }
    let gateway = match ready.broker {
        Broker::Gateway(address) => Some(address.to_string()),
        // Found by name: the daemon's address may change with each start of its container.
        Broker::Container(_) => None,
    };
    let additions = Additions {
        format: FORMAT,
        network: &ready.network,
        gateway,
        mqtt_port: settings.mqtt_port,
        device_name: &settings.name,
    };
    serde_json::to_string(&additions).expect("plain fields")
}

/// The engine's form of a module.
pub(super) fn body(
    settings: &Settings,
    ready: &Ready,
    module: &ModuleId,
    spec: &ModuleSpec,
    spec_hash: &str,
    credentials: &str,
    secrets: Option<&str>,
) -> ContainerCreateBody {
    let device = settings.identity.device();
    let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
    labels.insert(names::DEVICE.into(), device.to_string());
    labels.insert(names::MODULE.into(), module.to_string());
    labels.insert(names::SPEC.into(), spec_hash.into());
    labels.insert(names::CREDENTIALS.into(), credentials.into());
    // Also where there are none: or else what the image says there would count.
    let mounts = serde_json::to_string(&spec.secrets).expect("plain fields");
    labels.insert(names::SECRETS.into(), mounts);
    // As in Compose: other modules of the workload find it by its service name.
    let endpoint = EndpointSettings { aliases: Some(vec![module.module.to_string()]), ..Default::default() };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        env: Some(environment(settings, module, spec, credentials)),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        labels: Some(labels),
        stop_signal: spec.stop_signal.clone(),
        healthcheck: spec.healthcheck.as_ref().map(health::config),
        stop_timeout: i64::try_from(spec.grace_ms().div_ceil(1000)).ok(),
        exposed_ports: Some(spec.ports.iter().map(port_name).collect()),
        host_config: Some(host_config(settings, ready, module, spec, secrets)),
        networking_config: (!on_host(spec)).then(|| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(ready.network.clone(), endpoint)])),
        }),
        ..Default::default()
    }
}

fn environment(settings: &Settings, module: &ModuleId, spec: &ModuleSpec, credentials: &str) -> Vec<String> {
    let mut environment = spec.environment.clone();
    let added = [
        ("WAYSIDE_MQTT_HOST", names::BROKER.to_owned()),
        ("WAYSIDE_MQTT_PORT", settings.mqtt_port.to_string()),
        ("WAYSIDE_MQTT_USERNAME", module.to_string()),
        ("WAYSIDE_MQTT_PASSWORD", settings.identity.mqtt_password(module, credentials)),
        ("WAYSIDE_DEVICE", settings.name.clone()),
        ("WAYSIDE_MODULE", module.module.to_string()),
    ];
    environment.extend(added.map(|(name, value)| (name.to_owned(), value)));
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn host_config(
    settings: &Settings,
    ready: &Ready,
    module: &ModuleId,
    spec: &ModuleSpec,
    secrets: Option<&str>,
) -> HostConfig {
    let mut port_bindings = HashMap::<String, Option<Vec<PortBinding>>>::new();
    for port in &spec.ports {
        let binding =
            PortBinding { host_ip: port.host_ip.clone(), host_port: Some(port.host_port.to_string()) };
        port_bindings.entry(port_name(port)).or_default().get_or_insert_default().push(binding);
    }
    let log = HashMap::from([("max-size".into(), LOG_FILE.into()), ("max-file".into(), LOG_FILES.into())]);
    HostConfig {
        network_mode: Some(if on_host(spec) { "host".into() } else { ready.network.clone() }),
        extra_hosts: match ready.broker {
            Broker::Gateway(address) => Some(vec![format!("{}:{address}", names::BROKER)]),
            // Outside the modules' network no name leads there.
            Broker::Container(address) if on_host(spec) => Some(vec![format!("{}:{address}", names::BROKER)]),
            Broker::Container(_) => None,
        },
        port_bindings: Some(port_bindings),
        init: Some(spec.init),
        readonly_rootfs: Some(spec.read_only.unwrap_or_default()),
        tmpfs: Some(spec.tmpfs.iter().map(|path| (path.clone(), String::new())).collect()),
        memory: memory(ready, spec),
        nano_cpus: spec.cpu_millis.and_then(|millis| i64::try_from(millis.saturating_mul(1_000_000)).ok()),
        pids_limit: Some(spec.pids_max().unwrap_or(PIDS).into()),
        mounts: Some(
            spec.volumes
                .iter()
                .map(|volume| mount(settings, module, volume))
                .chain(rights(spec).filter_map(host_path))
                .chain(secrets.map(secrets_mount))
                .collect(),
        ),
        // What a process that fails leaves behind must not have them.
        ulimits: secrets.map(|_| vec![no_core()]),
        devices: some(rights(spec).filter_map(device).collect()),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: some(rights(spec).filter_map(capability).collect()),
        security_opt: Some(vec!["no-new-privileges".into()]),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".into()), config: Some(log) }),
        ..Default::default()
    }
}

/// No more than the engine's machine can spare, so that what leaks ends before the daemon does.
fn memory(ready: &Ready, spec: &ModuleSpec) -> Option<i64> {
    let most_bytes = ready.module_memory.and_then(|bytes| u64::try_from(bytes).ok());
    spec.memory_max(most_bytes).and_then(|bytes| i64::try_from(bytes).ok())
}

/// What the release asks for and the device's policy allows.
fn rights(spec: &ModuleSpec) -> impl Iterator<Item = &Right> {
    spec.privileges.iter().map(|asked| &asked.right)
}

fn on_host(spec: &ModuleSpec) -> bool {
    rights(spec).any(|right| *right == Right::HostNetwork)
}

fn capability(right: &Right) -> Option<String> {
    if let Right::Capability(name) = right { Some(name.clone()) } else { None }
}

fn device(right: &Right) -> Option<DeviceMapping> {
    let Right::Device { host, container, permissions } = right else { return None };
    Some(DeviceMapping {
        path_on_host: Some(host.clone()),
        path_in_container: Some(container.clone()),
        cgroup_permissions: Some(permissions.clone()),
    })
}

fn host_path(right: &Right) -> Option<Mount> {
    let Right::HostPath { host, container, read_only } = right else { return None };
    Some(Mount {
        typ: Some(MountType::BIND),
        source: Some(host.clone()),
        target: Some(container.clone()),
        read_only: Some(*read_only),
        ..Default::default()
    })
}

/// As in Compose.
fn secrets_mount(folder: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(folder.to_owned()),
        target: Some("/run/secrets".into()),
        read_only: Some(true),
        ..Default::default()
    }
}

/// 1 and not 0: Linux does not ask the limit of a core that goes to a program, except whether it is 1 (`core(5)`, `fs/coredump.c`). No file is so
/// short.
fn no_core() -> ResourcesUlimits {
    ResourcesUlimits { name: Some("core".into()), soft: Some(1), hard: Some(1) }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn port_name(port: &wayside_config::workload::PortMapping) -> String {
    format!("{}/{}", port.container_port, if port.udp { "udp" } else { "tcp" })
}

fn mount(settings: &Settings, module: &ModuleId, volume: &wayside_config::workload::VolumeMount) -> Mount {
    let device = settings.identity.device();
    let labels = HashMap::from([(names::DEVICE.to_owned(), device.to_string())]);
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(names::volume(&device, &module.workload, &volume.volume)),
        target: Some(volume.path.clone()),
        read_only: Some(volume.read_only),
        volume_options: Some(MountVolumeOptions { labels: Some(labels), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use wayside_config::{
        privilege::Privilege,
        secret::SecretMount,
        workload::{PortMapping, VolumeMount},
    };

    use super::*;
    use crate::{
        engine::link::tests::ready,
        secrets::Secrets,
        state::{Identity, StateFolder},
    };

    fn settings() -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        state.write("device.key", 1, &[7u8; 32]).unwrap();
        let identity = Identity::load(&state).unwrap().0;
        let secrets = Arc::new(Secrets::load(&identity, folder.path(), Arc::new(state)).0);
        let state = folder.path().to_owned();
        Settings {
            identity,
            name: "ewr".into(),
            mqtt_port: 1883,
            credentials: Default::default(),
            state,
            policy: Default::default(),
            secrets,
        }
    }

    fn spec() -> ModuleSpec {
        ModuleSpec {
            image: "sensor:1".into(),
            environment: [("RATE", "5"), ("WAYSIDE_DEVICE", "mine")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            stop_grace_ms: 1500,
            cpu_millis: Some(500),
            tmpfs: vec!["/tmp".into(), "/run".into()],
            volumes: vec![VolumeMount { volume: "data".into(), path: "/data".into(), read_only: false }],
            ports: vec![PortMapping { host_ip: None, host_port: 8080, container_port: 80, udp: false }],
            ..Default::default()
        }
    }

    fn gateway() -> Broker {
        Broker::Gateway(Ipv4Addr::new(172, 18, 0, 1))
    }

    #[test]
    fn a_container_has_few_rights_and_finds_its_daemon() {
        let (settings, module) = (settings(), "weather/sensor".parse().unwrap());
        let body = body(&settings, &ready(gateway()), &module, &spec(), "abc", "7e57", None);
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".into()]));
        assert_eq!((host.pids_limit, host.memory, host.privileged), (Some(512), Some(3 << 30), None));
        assert_eq!(host.nano_cpus, Some(500_000_000));
        assert_eq!(host.extra_hosts, Some(vec!["wayside:172.18.0.1".into()]));
        assert_eq!(host.tmpfs.unwrap()["/run"], "");
        assert_eq!(body.stop_timeout, Some(2));
        let device = settings.identity.device().short();
        assert_eq!(host.mounts.unwrap()[0].source, Some(format!("wayside-{device}-weather.data")));
        let environment = body.env.unwrap();
        // What the daemon says stands above what the file says.
        for entry in [
            "RATE=5",
            "WAYSIDE_DEVICE=ewr",
            "WAYSIDE_MQTT_HOST=wayside",
            "WAYSIDE_MQTT_USERNAME=weather/sensor",
        ] {
            assert!(environment.contains(&entry.to_owned()), "{entry}: {environment:?}");
        }
        let labels = body.labels.unwrap();
        assert_eq!(
            (labels["wayside.module"].as_str(), labels["wayside.spec"].as_str()),
            ("weather/sensor", "abc")
        );
        assert_eq!(labels["wayside.credentials"], "7e57");
        let password = settings.identity.mqtt_password(&module, "7e57");
        assert!(environment.contains(&format!("WAYSIDE_MQTT_PASSWORD={password}")));
    }

    #[test]
    fn what_is_asked_for_and_allowed_is_given_and_nothing_else() {
        let settings = settings();
        let asked = |right| Privilege { right, line: 1 };
        let path = Right::HostPath { host: "/srv".into(), container: "/data".into(), read_only: true };
        let tty =
            Right::Device { host: "/dev/a".into(), container: "/dev/b".into(), permissions: "r".into() };
        let privileges =
            [Right::Capability("NET_ADMIN".into()), Right::HostNetwork, path, tty].map(asked).into();
        let spec = ModuleSpec { privileges, ports: Vec::new(), ..spec() };
        let broker = Broker::Container(Ipv4Addr::new(172, 18, 0, 2));
        let body = body(&settings, &ready(broker), &"w/m".parse().unwrap(), &spec, "abc", "7e57", None);
        assert_eq!(body.networking_config, None);
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert_eq!(host.extra_hosts, Some(vec!["wayside:172.18.0.2".into()]));
        assert_eq!((host.cap_drop, host.cap_add), (Some(vec!["ALL".into()]), Some(vec!["NET_ADMIN".into()])));
        let device = &host.devices.unwrap()[0];
        assert_eq!(device.path_in_container.as_deref(), Some("/dev/b"));
        let bind = host.mounts.unwrap().pop().unwrap();
        assert_eq!(
            (bind.typ, bind.source.as_deref(), bind.read_only),
            (Some(MountType::BIND), Some("/srv"), Some(true))
        );
        assert_eq!(host.privileged, None);
    }

    #[test]
    fn secrets_are_a_folder_that_it_may_read_and_nothing_else_of_it_has_them() {
        let settings = settings();
        let secrets =
            vec![SecretMount { secret: "token".into(), file: "t".into(), uid: None, gid: None, mode: 0o400 }];
        let spec = ModuleSpec { secrets: secrets.clone(), read_only: Some(true), ..spec() };
        let folder = "/run/wayside/d/w.m";
        let body =
            body(&settings, &ready(gateway()), &"w/m".parse().unwrap(), &spec, "abc", "7e57", Some(folder));
        let host = body.host_config.unwrap();
        let mount = host.mounts.unwrap().pop().unwrap();
        assert_eq!((mount.source.as_deref(), mount.target.as_deref()), (Some(folder), Some("/run/secrets")));
        assert_eq!((mount.typ, mount.read_only), (Some(MountType::BIND), Some(true)));
        assert_eq!(host.ulimits, Some(vec![no_core()]));
        let kept: Vec<SecretMount> = serde_json::from_str(&body.labels.unwrap()[names::SECRETS]).unwrap();
        assert_eq!(kept, secrets);
    }

    #[test]
    fn additions_change_with_what_is_added() {
        let settings = settings();
        let on_host = additions(&settings, &ready(gateway()));
        let moved = additions(&settings, &ready(Broker::Gateway(Ipv4Addr::new(172, 19, 0, 1))));
        assert_ne!(on_host, moved);
        let in_container =
            |last| additions(&settings, &ready(Broker::Container(Ipv4Addr::new(172, 18, 0, last))));
        assert_eq!(in_container(2), in_container(3));
        assert_ne!(additions(&Settings { mqtt_port: 2883, ..settings.clone() }, &ready(gateway())), on_host);
    }
}
