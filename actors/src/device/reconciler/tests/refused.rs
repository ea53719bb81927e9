//! What a device takes from nobody, whoever signed it.

use wayside_config::{secret::SecretMount, workload::PortMapping};

use super::*;

#[test]
fn names_that_could_be_paths_are_refused_whoever_signed_them() {
    for bad in ["../../etc/passwd", "..", "", "a/b", "A", "a\0"] {
        let mut named = release("plant", 1, "sensor");
        named.workload.name = bad.into();
        assert!(!is_taken(&mut fresh(), event(document(1, &[named]), false), "no Compose file could give"));
        let mut module = release("plant", 1, "sensor");
        module.workload.modules.insert(bad.into(), spec("sensor"));
        assert!(!is_taken(&mut fresh(), event(document(1, &[module]), false), "no Compose file could give"));
        let mut twin = release("plant", 1, "sensor");
        twin.workload.twins.insert(bad.into(), "{}".to_owned().try_into().unwrap());
        assert!(!is_taken(&mut fresh(), event(document(1, &[twin]), false), "no Compose file could give"));
    }
    assert!(is_taken(&mut fresh(), plant(1), ""));
}

#[test]
fn what_could_be_another_question_to_the_engine_is_refused_whoever_signed_it() {
    for bad in ["../containers/json", "a/../../events", "a?x=y", "a#b", "a%2e", "/a", "a//b", "a b", "", ".."]
    {
        let mut release = release("plant", 1, "sensor");
        release.workload.modules.insert("sensor".into(), spec(bad));
        assert!(
            !is_taken(&mut fresh(), event(document(1, &[release]), false), "no Compose file could give"),
            "{bad}"
        );
    }
    let with = |change: fn(&mut ModuleSpec)| {
        let mut release = release("plant", 1, "sensor");
        release.workload.modules.values_mut().for_each(change);
        event(document(1, &[release]), false)
    };
    for flawed in [
        with(|spec| drop(spec.labels.insert("wayside.secrets".into(), "[]".into()))),
        with(|spec| {
            spec.ports.push(PortMapping {
                host_ip: Some("".into()),
                host_port: 80,
                container_port: 80,
                udp: false,
            })
        }),
        with(|spec| {
            let mount = |n| SecretMount {
                secret: "token".into(),
                file: format!("f{n}"),
                uid: None,
                gid: None,
                mode: 0o400,
            };
            spec.secrets = (0..101).map(mount).collect();
        }),
    ] {
        assert!(!is_taken(&mut fresh(), flawed, "no Compose file could give"));
    }
    let digest = format!("registry.plant_7:5000/a/b-c:1.2@sha256:{}", "7f".repeat(32));
    for good in ["sensor", "[2001:db8::1]:5000/Sensor:v1", &digest] {
        let mut release = release("plant", 1, "sensor");
        release.workload.modules.insert("sensor".into(), spec(good));
        assert!(is_taken(&mut fresh(), event(document(1, &[release]), false), ""), "{good}");
    }
}

#[test]
fn a_device_takes_no_more_workloads_than_it_may_have() {
    use wayside_config::limits::WORKLOADS;
    let of = |count: usize| {
        let releases: Vec<_> = (0..count).map(|n| release(&format!("w{n:03}"), 1, "sensor")).collect();
        event(document(1, &releases), false)
    };
    assert!(!is_taken(&mut fresh(), of(WORKLOADS + 1), "at most 100"));
    assert!(is_taken(&mut fresh(), of(WORKLOADS), ""));
}
