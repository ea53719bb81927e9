//! `wayside status`: how a device is.

use clap::Args;

use super::{
    cloud::encode,
    devices::devices_table,
    failure::Failure,
    output,
    place::{Place, PlaceArgs},
    view::{CloudDevice, DeviceView},
    wait::now_ms,
};

/// Show how a device is: its modules, queues, neighbours and problems
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside status                                       the device on this machine
  wayside status jfk                                   its neighbour jfk
  wayside status jfk --cloud http://127.0.0.1:8480     jfk, as it last reported to the cloud
  wayside status --json | jq .modules")]
pub(super) struct StatusArgs {
    /// A device's name or key [default: the one on this machine; with --cloud, all]
    device: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl StatusArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let view: DeviceView = match (self.place.find()?, &self.device) {
            (Place::Cloud(cloud), Some(name)) => {
                cloud.get::<CloudDevice>(&format!("devices/{}", encode(name)), &[])?.into()
            }
            (Place::Cloud(cloud), None) => {
                let devices: Vec<CloudDevice> = cloud.get("devices", &[])?;
                let devices: Vec<DeviceView> = devices.into_iter().map(Into::into).collect();
                return if self.json {
                    output::json(&devices)
                } else {
                    output::text(&devices_table(&devices, now_ms()))
                };
            }
            (Place::Site(mut site), name) => {
                let device = match (name, site.own(), site.devices()) {
                    (Some(name), _, _) => site.find(name)?,
                    (None, Some(own), _) | (None, None, [own]) => own.clone(),
                    (None, None, devices) => {
                        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
                        return Err(Failure::Usage(format!("which device? There are: {}", names.join(", "))));
                    }
                };
                site.status(device.device)?.into()
            }
        };
        if self.json { output::json(&view) } else { output::text(&view.describe(now_ms())) }
    }
}
