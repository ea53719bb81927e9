//! What was said of devices that the cloud does not get on with: they come back, and nobody reads a log that repeats itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use wayside_config::identity::DeviceId;

/// Devices of which it is remembered what was said last.
const MAX_DEVICES: usize = 1024;

/// The last that was said of each.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<BTreeMap<DeviceId, String>>);

impl Said {
    /// The cloud got on with it for a while: what is said next is news.
    pub(super) fn forget(&self, device: DeviceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&device);
    }

    /// Notes what is said of a device; gives whether it is another thing than before.
    pub(super) fn is_new(&self, device: DeviceId, reason: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&device).is_some_and(|before| before == reason) {
            return false;
        }
        if said.len() >= MAX_DEVICES {
            said.pop_first();
        }
        said.insert(device, reason.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_until_there_is_another() {
        let said = Said::default();
        let device = |number: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_be_bytes());
            DeviceId::from_bytes(key)
        };
        assert!(said.is_new(device(1), "newer"));
        assert!(!said.is_new(device(1), "newer"));
        said.forget(device(1));
        assert!(said.is_new(device(1), "newer"));
        assert!(said.is_new(device(2), "newer") && said.is_new(device(1), "other"));
        (3..3000).for_each(|number| assert!(said.is_new(device(number), "newer")));
        assert!(said.0.lock().unwrap().len() <= MAX_DEVICES);
    }
}
