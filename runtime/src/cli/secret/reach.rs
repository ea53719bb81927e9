//! The devices that may be told a secret: those alone that show a grant of the operator's fleet for the key that it is encrypted to.
//! Whoever carries it, a cloud above all, can name no other key.

use std::{collections::BTreeMap, time::Duration};

use wayside_config::{document::Grant, identity::DeviceId};

use crate::{
    cli::{
        cloud::Cloud,
        failure::Failure,
        operator::{KeyFile, Operator},
        output,
        place::{Place, PlaceArgs},
        relay::Relayed,
        site::Site,
        view::{CloudDevice, DeviceView},
    },
    control::{Answer, Ask, Present},
};

/// How long a device may take to answer by way of a cloud.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device by its grant.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) device: DeviceId,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// The way to devices.
pub(super) enum Reached<'a> {
    Site(Box<Site>),
    Cloud(Cloud, &'a KeyFile),
}

impl<'a> Reached<'a> {
    pub(super) fn find(place: &'a PlaceArgs) -> Result<Self, Failure> {
        Ok(match place.find()? {
            Place::Cloud(cloud) => Self::Cloud(cloud, &place.key),
            Place::Site(site) => Self::Site(site),
        })
    }

    pub(super) fn operator(&mut self, place: &PlaceArgs) -> Result<Operator, Failure> {
        match self {
            Self::Site(site) => site.operator(),
            Self::Cloud(..) => place.key.operator(),
        }
    }

    /// The devices that are there and belong to the fleet.
    pub(super) fn members(&self, operator: &Operator) -> Result<Vec<Member>, Failure> {
        match self {
            Self::Site(site) => {
                let granted = site.devices().iter().filter_map(|device| site.grant_of(&device.device));
                Ok(granted.map(Member::of).collect())
            }
            Self::Cloud(cloud, key) => {
                let known: Vec<CloudDevice> = cloud.get("devices", &[])?;
                let is_there = |view: &DeviceView| view.presence == "online";
                let mut members = Vec::new();
                for view in known.into_iter().map(DeviceView::from).filter(is_there) {
                    match Relayed::find(cloud, key, &view.device.to_string())?.ask(&Ask::Lobby, PATIENCE) {
                        Ok(Answer::Lobby(lobby)) => members.extend(proven(operator, view.device, &lobby.own)),
                        Ok(_other) => {}
                        Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                            output::note(&format!("warning: {} is left out: {reason}", view.name));
                        }
                        Err(other) => return Err(other),
                    }
                }
                Ok(members)
            }
        }
    }

    pub(super) fn ask(&mut self, member: &Member, ask: &Ask) -> Result<Answer, Failure> {
        match self {
            Self::Site(site) => site.ask(member.device, ask),
            Self::Cloud(cloud, key) => {
                Relayed::find(cloud, key, &member.device.to_string())?.ask(ask, PATIENCE)
            }
        }
    }
}

impl Member {
    fn of(grant: &Grant) -> Self {
        Self { device: grant.device, name: grant.name.clone(), labels: grant.labels.clone() }
    }
}

/// The device that was asked, if it shows a grant for the key that it was asked by.
fn proven(operator: &Operator, asked: DeviceId, own: &Present) -> Option<Member> {
    let grant = operator.grant_of(own).filter(|_| own.device == asked)?;
    Some(Member::of(&grant))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wayside_config::cosign;

    use super::*;
    use crate::control::Sealed;

    #[test]
    fn a_cloud_that_names_another_key_is_told_no_secret() {
        let key =
            |seed: u8| DeviceId::from_bytes(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes());
        let (ewr, forged) = (key(2), key(3));
        let own = SigningKey::from_bytes(&[1; 32]);
        let operator = Operator::alone(own.clone());
        let grant = Grant {
            device: ewr,
            version: 1,
            issued_ms: 1,
            expires_ms: None,
            name: "ewr".into(),
            labels: BTreeMap::new(),
            site: None,
            under: None,
        };
        let seal = |signer: &SigningKey| {
            let sealed = cosign::seal(&operator.fleet.id(), &grant, signer);
            Some(Sealed(sealed.unwrap()))
        };
        let shown = |device: DeviceId, grant: Option<Sealed>| Present {
            device,
            name: "ewr".into(),
            labels: BTreeMap::new(),
            fleet: Some(operator.fleet.id()),
            root: 1,
            revocation: 0,
            grant,
            door: None,
            mesh: Vec::new(),
            is_cloned: false,
        };
        assert_eq!(proven(&operator, ewr, &shown(ewr, seal(&own))).unwrap().name, "ewr");
        let cloud = SigningKey::from_bytes(&[9; 32]);
        for (asked, own) in [
            (forged, shown(forged, None)),
            (forged, shown(forged, seal(&own))),
            (forged, shown(ewr, seal(&own))),
            (ewr, shown(ewr, seal(&cloud))),
        ] {
            assert!(proven(&operator, asked, &own).is_none());
        }
    }
}
