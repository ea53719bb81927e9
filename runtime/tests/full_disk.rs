//! State on a disk that is really full: a small one in memory, which only this test's own process sees.

use std::{
    env,
    error::Error,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use wayside_runtime::state::{Found, StateFolder};

/// Names the folder with the small disk to the process that is to run there.
const DISK: &str = "WAYSIDE_TEST_DISK";

/// Room for the reserve, and for the plenty without which there is none.
const DISK_BYTES: &str = "160m";

#[test]
fn what_has_to_be_written_on_a_full_disk_takes_of_the_reserve() {
    if let Some(disk) = env::var_os(DISK) {
        return on(disk.as_ref()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let own = env::current_exe().unwrap();
    let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"${DISK}\" && exec \"$@\"");
    // In a mount namespace of its own; whoever is not root gets a user namespace besides.
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", &mount, "sh"]).arg(own);
    command.args(["--exact", "what_has_to_be_written_on_a_full_disk_takes_of_the_reserve", "--nocapture"]);
    let child =
        command.env(DISK, folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn on(disk: &Path) -> Result<(), Box<dyn Error>> {
    let state = StateFolder::open(&disk.join("state"))?;
    let value = "x".repeat(50_000);
    state.write("desired", 1, &"before")?;
    state.keep_reserve();
    let reserve = disk.join("state/reserve");
    let whole = fs::metadata(&reserve)?.len();

    let mut filling = fs::File::create(disk.join("filling"))?;
    while filling.write_all(&[1; 4096]).is_ok() {}
    let full = fs::write(disk.join("other"), &value).expect_err("the disk is full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    state.write("desired", 1, &value)?;
    assert_eq!(state.read("desired", 1), Found::Whole(value.clone()));
    let left = fs::metadata(&reserve)?.len();
    assert!(left < whole && left > 0, "{left} of {whole}");
    // It is not made whole at the cost of others.
    state.keep_reserve();
    assert_eq!(fs::metadata(&reserve)?.len(), left);

    // It has an end, and what was written last stays.
    let refused = (0..1000).find_map(|n| state.write(&format!("file-{n}"), 1, &value).err());
    let refused = refused.ok_or("the reserve has no end")?;
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(fs::metadata(&reserve)?.len(), 0);
    assert_eq!(state.read("desired", 1), Found::Whole(value));

    drop(filling);
    fs::remove_file(disk.join("filling"))?;
    state.keep_reserve();
    assert_eq!(fs::metadata(&reserve)?.len(), whole);
    Ok(())
}
