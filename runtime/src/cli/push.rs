//! Tells whoever is there what is new of the fleet: its roots, and what is revoked. They tell those that were away.

use super::{
    admit::question,
    apply::introduce,
    failure::Failure,
    operator::Operator,
    output,
    place::{Place, PlaceArgs},
    site::Site,
};

/// Tells the cloud, or the devices of this LAN. Says who heard it.
pub(super) fn tell(place: &PlaceArgs) -> Result<String, Failure> {
    match place.find() {
        Ok(Place::Cloud(cloud)) => {
            introduce(&cloud, &place.key.operator()?)?;
            Ok("the cloud knows it, and tells the devices".into())
        }
        Ok(Place::Site(mut site)) => {
            let operator = site.operator()?;
            tell_site(&mut site, &operator)
        }
        Err(Failure::Unreachable(_)) => {
            Ok("nobody is here to be told: `wayside fleet push` where devices are, or with --cloud URL"
                .into())
        }
        Err(other) => Err(other),
    }
}

fn tell_site(site: &mut Site, operator: &Operator) -> Result<String, Failure> {
    let mut heard = 0;
    let devices = site.of_fleet(operator);
    let told = site.hand_each(&devices, |_| vec![question(operator, &[], &[])]);
    for (device, told) in devices.iter().zip(told) {
        match told {
            Ok(()) => heard += 1,
            Err(Failure::Failed(reason) | Failure::Unreachable(reason)) => {
                output::note(&format!("warning: {} was not told: {reason}", device.name));
            }
            Err(other @ (Failure::Usage(_) | Failure::File(_) | Failure::Told | Failure::Enough)) => {
                return Err(other);
            }
        }
    }
    Ok(format!("{heard} of {} device(s) here know it, and tell the others", devices.len()))
}
