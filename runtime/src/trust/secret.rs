//! Who may set secrets of this device.

use wayside_config::{cosign::Kind, identity::FleetId, secret::SecretChange};

use super::{Trust, TrustError, lock};

impl Trust {
    /// Checks who signed a change of a secret, and for whom. Gives the fleet that its value is bound to.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn verify_secret(&self, sealed: &[u8]) -> Result<(SecretChange, FleetId), String> {
        let known = lock(&self.known);
        let fleet = known.fleet.as_ref().ok_or("this device belongs to no fleet yet: approve it first")?;
        if self.is_out_by(known.revocation.as_ref().map(|revoked| &revoked.list)) {
            return Err(TrustError::Out(fleet.id()).to_string());
        }
        let opened = fleet.verify::<SecretChange>(Kind::Secret, sealed);
        let (_, change) = opened.map_err(|error| {
            format!(
                "the secret: {error}; let it be signed by enough of those who may in the fleet of this device"
            )
        })?;
        if change.device != self.device {
            let (theirs, ours) = (change.device.short(), self.device.short());
            return Err(format!("the secret is for device {theirs}, and this one is {ours}"));
        }
        Ok((change, fleet.id()))
    }
}
