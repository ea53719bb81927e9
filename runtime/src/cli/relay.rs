//! An operator's signed request to a device, carried by a cloud: which can hold it back, and neither make, change
//! nor repeat one, nor answer in the device's place.

use std::time::Duration;

use wayside_config::identity::DeviceId;

use super::{
    cloud::{Cloud, encode},
    failure::Failure,
    operator::KeyFile,
    site::seal,
    view::CloudDevice,
};
use crate::control::{Answer, Ask, Reply, open_reply};

/// For the ways between operator, cloud and device.
const WAY: Duration = Duration::from_secs(5);

/// A device as a cloud knows it.
pub(super) struct Relayed<'a> {
    cloud: &'a Cloud,
    key_file: &'a KeyFile,
    /// The device's key. Where a name was given, it is the cloud that says whose this is.
    pub(super) device: DeviceId,
    /// The device's name, as the operator gave it; `None` when that was a key.
    pub(super) meant: Option<String>,
}

impl<'a> Relayed<'a> {
    /// The device that a cloud has under this name or key.
    pub(super) fn find(cloud: &'a Cloud, key_file: &'a KeyFile, name: &str) -> Result<Self, Failure> {
        let (device, meant) = match name.parse::<DeviceId>() {
            Ok(key) => (key, None),
            Err(_) => {
                let known: CloudDevice = cloud.get(&format!("devices/{}", encode(name)), &[])?;
                (known.key(), Some(name.to_owned()))
            }
        };
        Ok(Self { cloud, key_file, device, meant })
    }

    /// Asks the device, which may take `patience` to answer.
    pub(super) fn ask(&self, ask: &Ask, patience: Duration) -> Result<Answer, Failure> {
        let request = seal(&*self.key_file.load()?, self.device, ask)?;
        let wait_ms = (patience + WAY).as_millis().to_string();
        let path = format!("devices/{}/requests", self.device);
        let sealed = self.cloud.relay(&path, &[("wait_ms", &wait_ms)], &request, patience + 2 * WAY)?;
        match open_reply(&sealed, self.device, &request) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(reason)) => Err(Failure::Failed(reason)),
            Err(error) => Err(Failure::Failed(format!(
                "what the cloud brought is not the answer of device {}: {error}; ask on its own network with --lan",
                self.device.short()
            ))),
        }
    }
}
