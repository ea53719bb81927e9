//! Who this device is: a key made on first start, and what is derived from it.

use std::io;

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha512};
use wayside_config::{identity::DeviceId, workload::ModuleId};

use super::{Found, StateFolder};

const FILE: &str = "device.key";
const VERSION: u16 = 1;

/// The device's key.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    is_new: bool,
}

impl Identity {
    /// Reads the device's key, or makes one. The text is a problem to show, if there is one.
    ///
    /// # Errors
    /// When the key cannot be read, or another daemon wrote it, or a new one cannot be written: a device must not change its key with
    /// every start, nor for a disk that failed once.
    pub fn load(state: &StateFolder) -> io::Result<(Self, Option<String>)> {
        state.can_be_judged(FILE, VERSION)?;
        let problem = match state.read::<[u8; 32]>(FILE, VERSION) {
            Found::Whole(secret) => {
                return Ok((Self { key: SigningKey::from_bytes(&secret), is_new: false }, None));
            }
            Found::Nothing => None,
            Found::Damaged(problem) => Some(format!(
                "{problem}; this device has a new key now and is a new one to everybody: admit it again, and remove the old one"
            )),
        };
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        state.write(FILE, VERSION, &secret)?;
        Ok((Self { key: SigningKey::from_bytes(&secret), is_new: true }, problem))
    }

    /// The device's name to all others.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The key, for the uplink's handshake.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Whether the key was made just now: then nothing on this machine is this device's yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The MQTT password of a module's container: the same for as long as the device has its key, so that a
    /// container outlives the daemon that made it. `number` is the container's own.
    #[must_use]
    pub fn mqtt_password(&self, module: &ModuleId, number: &str) -> String {
        // The secret stands first, has a fixed length, and the digest is cut in half: no extension
        // of one password leads to another. No name of a module has a space.
        let mut digest = Sha512::new()
            .chain_update(b"wayside/v1/mqtt-password")
            .chain_update(self.key.as_bytes())
            .chain_update(module.to_string());
        if !number.is_empty() {
            digest = digest.chain_update(b" ").chain_update(number);
        }
        wayside_config::hash::hex(&digest.finalize()[..16])
    }
}

/// Without the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.device()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (first, problem) = Identity::load(&state).unwrap();
        assert_eq!(problem, None);
        assert_eq!(Identity::load(&state).unwrap().0.device(), first.device());
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_makes_a_new_device_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (first, _) = Identity::load(&state).unwrap();
        std::fs::write(folder.path().join(FILE), "x").unwrap();
        let (second, problem) = Identity::load(&state).unwrap();
        assert_ne!(first.device(), second.device());
        assert!(problem.unwrap().contains("new key"));
    }

    #[test]
    fn a_key_that_may_be_whole_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        // Of a newer daemon; and what the disk does not give.
        let newer = wayside_config::statefile::encode(FILE, VERSION + 1, &[0u8; 40].as_slice());
        std::fs::write(&path, &newer).unwrap();
        let refused = Identity::load(&state).unwrap_err().to_string();
        assert!(refused.contains("run the daemon that wrote it") && refused.contains(FILE), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), newer);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Identity::load(&state).is_err() && path.is_dir());
    }

    #[test]
    fn passwords_differ_by_container_and_not_by_start() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let (identity, _) = Identity::load(&state).unwrap();
        let (sensor, detector) = ("w/sensor".parse().unwrap(), "w/detector".parse().unwrap());
        assert_eq!(identity.mqtt_password(&sensor, "7"), identity.clone().mqtt_password(&sensor, "7"));
        assert_ne!(identity.mqtt_password(&sensor, "7"), identity.mqtt_password(&detector, "7"));
        assert_ne!(identity.mqtt_password(&sensor, "7"), identity.mqtt_password(&sensor, "8"));
        assert_ne!(identity.mqtt_password(&sensor, "7"), identity.mqtt_password(&sensor, ""));
        assert_eq!(identity.mqtt_password(&sensor, "7").len(), 32);
    }
}
