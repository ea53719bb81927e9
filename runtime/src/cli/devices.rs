//! `wayside devices`: who is there.

use clap::Args;
use wayside_config::identity::DeviceId;

use super::{
    failure::Failure,
    output::{self, duration, table},
    place::{Place, PlaceArgs},
    site::{Proven, Standing},
    view::{CloudDevice, DeviceView, Source},
    wait::now_ms,
};

/// List devices: those of a cloud, or those on this LAN, with those that wait to be admitted
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  wayside devices                                  the LAN, as the daemon on this machine sees it
  wayside devices --lan                            the LAN, from a machine without a daemon
  wayside devices --cloud http://127.0.0.1:8480    all devices of a cloud")]
pub(super) struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

impl DevicesArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self.place.find()? {
            Place::Cloud(cloud) => {
                let devices: Vec<CloudDevice> = cloud.get("devices", &[])?;
                let mut devices: Vec<DeviceView> = devices.into_iter().map(Into::into).collect();
                devices.sort_by(|a, b| (&a.name, a.device).cmp(&(&b.name, b.device)));
                if self.json {
                    output::json(&devices)
                } else {
                    output::text(&devices_table(&devices, now_ms()))
                }
            }
            Place::Site(mut site) => {
                let devices = site.prove()?;
                if self.json {
                    return output::json(&devices);
                }
                let own = site.own().map(|own| own.device);
                output::text(&site_table(&devices, own))
            }
        }
    }
}

/// Devices of a LAN, one a line.
fn site_table(devices: &[Proven], own: Option<DeviceId>) -> String {
    let row = |Proven { device, proven, standing }: &Proven| {
        let remark = match (proven, standing) {
            (true, Standing::Waits) if Some(device.device) == own => "this device; waits to be admitted",
            (true, Standing::Waits) => "waits to be admitted: `wayside approve`",
            (true, Standing::Elsewhere) => "belongs to another fleet",
            (true, Standing::Member) if Some(device.device) == own => "this device",
            (true, Standing::Member) => "",
            (false, _) => "did not prove its key: it is gone, or somebody else claims to be it",
        };
        vec![device.name.clone(), device.device.to_string(), remark.into()]
    };
    let rows: Vec<Vec<String>> = devices.iter().map(row).collect();
    table(&["NAME", "KEY", ""], &rows)
}

/// Devices of a cloud, one a line.
pub(super) fn devices_table(devices: &[DeviceView], now_ms: u64) -> String {
    let row = |device: &DeviceView| {
        let (seen, workloads) = match &device.source {
            Source::Cloud { last_seen_ms, workloads, .. } => {
                (format!("{} ago", duration(now_ms.saturating_sub(*last_seen_ms))), workloads.join(", "))
            }
            Source::Device { .. } => (String::new(), String::new()),
        };
        vec![
            device.name.clone(),
            device.device.short(),
            device.presence.clone(),
            seen,
            workloads,
            device.modules_in_short(),
            device.problems.join("; "),
        ]
    };
    let rows: Vec<Vec<String>> = devices.iter().map(row).collect();
    table(&["NAME", "KEY", "PRESENCE", "LAST WORD", "WORKLOADS", "MODULES", "PROBLEMS"], &rows)
}
