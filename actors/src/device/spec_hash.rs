//! What a container was made from, as a label can carry it.

use sha2::{Digest, Sha256};
use wayside_config::workload::ModuleSpec;

/// SHA-256, in hexadecimal, of a specification and of what the daemon adds to it. A container whose
/// label carries another one is replaced.
#[must_use]
pub fn spec_hash(spec: &ModuleSpec, additions: &str) -> String {
    let mut bytes = Vec::new();
    ciborium::into_writer(&(&spec.of_container(), additions), &mut bytes)
        .expect("a specification is writable to memory");
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wayside_config::{
        privilege::{Privilege, Right},
        workload::{Dependency, HealthCheck},
    };

    use super::*;

    #[test]
    fn changes_with_the_specification_and_with_the_additions() {
        let spec = ModuleSpec { image: "a".into(), ..ModuleSpec::default() };
        let other = ModuleSpec { image: "b".into(), ..ModuleSpec::default() };
        let hash = spec_hash(&spec, "port 1883");
        assert_eq!(hash.len(), 64);
        assert_eq!(hash, spec_hash(&spec, "port 1883"));
        assert_ne!(hash, spec_hash(&other, "port 1883"));
        assert_ne!(hash, spec_hash(&spec, "port 1884"));
        let asks = |line| ModuleSpec {
            privileges: vec![Privilege { right: Right::HostNetwork, line }],
            ..spec.clone()
        };
        assert_ne!(hash, spec_hash(&asks(1), "port 1883"));
        assert_eq!(spec_hash(&asks(1), "port 1883"), spec_hash(&asks(2), "port 1883"));
        let depends_on = BTreeMap::from([("b".into(), Dependency::default())]);
        assert_eq!(hash, spec_hash(&ModuleSpec { depends_on, ..spec.clone() }, "port 1883"));
        let checked = ModuleSpec { healthcheck: Some(HealthCheck::default()), ..spec };
        assert_ne!(hash, spec_hash(&checked, "port 1883"));
    }
}
