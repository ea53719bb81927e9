//! A device needs no configuration.

use anyhow::Result;
use wayside_tests::{device::Options, lab::Lab};

#[test]
fn a_first_start_makes_key_and_state_and_answers() -> Result<()> {
    let lab = Lab::open()?;
    let device = lab.device("alone", &Options::default())?;
    let status = device.wait_up()?;
    let key = device.key()?;
    assert!(key.len() >= 32, "no key in {status}");
    assert_eq!(status["name"], "alone");

    let folder = lab.folder()?;
    device.copy(&format!("{}:/var/lib/wayside", device.container()), &folder.to_string_lossy())?;
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder.join("wayside/device.key"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is for its owner only");

    device.signal("KILL")?;
    device.start_again()?;
    assert_eq!(device.wait_up()?["device"], key.as_str(), "the key lasts");
    Ok(())
}
