//! Changes of this device that operators sign: of its twins, and of its secrets.

use wayside_config::{
    cosign::Document,
    document::TwinChange,
    identity::{DeviceId, FleetId},
    secret::SecretChange,
};

use super::{Trust, TrustError, lock, refusal::not_expired};
use crate::control::Now;

impl Trust {
    /// Checks who signed a change of a twin, and for whom: `name` is what this device is called.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn verify_twin(&self, sealed: &[u8], name: &str) -> Result<TwinChange, String> {
        self.verify_twin_at(sealed, name, self.now())
    }

    pub(super) fn verify_twin_at(&self, sealed: &[u8], name: &str, now: Now) -> Result<TwinChange, String> {
        let (change, _) = self.open_change::<TwinChange>(sealed, |change| change.device, now)?;
        match &change.name {
            Some(meant) if meant != name => {
                Err(format!("the change is for {meant}, and this device is called {name}"))
            }
            Some(_) | None => Ok(change),
        }
    }

    /// Checks who signed a change of a secret, and for whom. Gives the fleet that its value is bound to.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn verify_secret(&self, sealed: &[u8]) -> Result<(SecretChange, FleetId), String> {
        self.verify_secret_at(sealed, self.now())
    }

    pub(super) fn verify_secret_at(
        &self,
        sealed: &[u8],
        now: Now,
    ) -> Result<(SecretChange, FleetId), String> {
        self.open_change(sealed, |change: &SecretChange| change.device, now)
    }

    /// Opens a change of this device that enough operators of today have signed.
    fn open_change<T: Document>(
        &self,
        sealed: &[u8],
        of: impl FnOnce(&T) -> DeviceId,
        now: Now,
    ) -> Result<(T, FleetId), String> {
        let known = lock(&self.known);
        let fleet = known.fleet.as_ref().ok_or("this device belongs to no fleet yet: approve it first")?;
        if self.is_out_by(known.revocation.as_ref().map(|revoked| &revoked.list)) {
            return Err(TrustError::Out(fleet.id()).to_string());
        }
        let time_ms = lock(&self.lived).time_ms(now);
        not_expired("the fleet's root", fleet.root().expires_ms, time_ms)
            .map_err(|error| error.to_string())?;
        let (_, change) = fleet.verify::<T>(sealed).map_err(|error| {
            format!(
                "the change: {error}; let it be signed by enough of those who may in the fleet of this device"
            )
        })?;
        let device = of(&change);
        if device != self.device {
            let (theirs, ours) = (device.short(), self.device.short());
            return Err(format!("the change is for device {theirs}, and this one is {ours}"));
        }
        Ok((change, fleet.id()))
    }
}
