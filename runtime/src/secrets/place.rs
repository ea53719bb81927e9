//! Where secrets are in the clear: a folder in memory for each module, which its container sees as `/run/secrets`.

use std::{
    collections::BTreeSet,
    fs, io,
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use wayside_config::{identity::DeviceId, limits::SECRET_BYTES, secret::SecretMount, workload::ModuleId};
use zeroize::Zeroizing;

use super::sealing::Plain;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of Linux.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The folder of one device, made when it is first needed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    root: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path, device: &DeviceId) -> Self {
        Self { root: folder.join(device.short()) }
    }

    /// A module's own.
    pub(super) fn folder(&self, module: &ModuleId) -> PathBuf {
        // No name has a dot.
        self.root.join(format!("{}.{}", module.workload, module.module))
    }

    /// Makes the module's folder hold these files and no others. Each is replaced as a whole, so whoever has the folder open sees
    /// the old one or the new one.
    pub(super) fn put(&self, module: &ModuleId, files: &[(&SecretMount, Plain)]) -> Result<PathBuf, String> {
        self.make()?;
        let folder = self.folder(module);
        let failed = |error: io::Error| format!("secrets cannot be written to {}: {error}", folder.display());
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        // Who may read which is the files' own; nobody but the container gets as far as this.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        for (mount, plain) in files {
            write(&folder, mount, plain).map_err(|error| {
                format!("the secret {} cannot be written to {}: {error}", mount.secret, folder.display())
            })?;
        }
        let names: BTreeSet<&str> = files.iter().map(|(mount, _)| mount.file.as_str()).collect();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_none_or(|name| !names.contains(name)) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(folder)
    }

    /// Removes the folders of all modules but these.
    pub(super) fn keep_only(&self, modules: &BTreeSet<&ModuleId>) {
        let kept: BTreeSet<PathBuf> = modules.iter().map(|module| self.folder(module)).collect();
        // Without a folder there is nothing to remove.
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if !kept.contains(&entry.path())
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                let path = entry.path();
                tracing::warn!(path = %path.display(), %error, "the secrets of a module that is gone were not removed");
            }
        }
    }

    /// Removes all files, also of modules that nobody has named yet. Their folders stay, for containers have them.
    pub(super) fn clear(&self) {
        let folders = fs::read_dir(&self.root).into_iter().flatten().flatten();
        for file in folders.flat_map(|folder| fs::read_dir(folder.path())).flatten().flatten() {
            if let Err(error) = fs::remove_file(file.path()) {
                tracing::error!(path = %file.path().display(), %error, "a secret was not removed");
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let root = self.root.display();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(|error| {
            format!("no folder for secrets can be made at {root}: {error}; name one that is in memory with `secrets` in wayside.toml")
        })?;
        let failed = |error: &dyn std::fmt::Display| format!("what {root} is on is not known: {error}");
        let found = rustix::fs::statfs(&self.root).map_err(|error| failed(&error))?;
        let kind = u64::try_from(found.f_type).map_err(|error| failed(&error))?;
        if IN_MEMORY.contains(&kind) {
            return Ok(());
        }
        Err(format!(
            "{root} is on a disk, where secrets do not go: mount a tmpfs there, or name another folder with `secrets` in wayside.toml; a daemon in a container is run with `--volume /run/wayside:/run/wayside`"
        ))
    }
}

fn write(folder: &Path, mount: &SecretMount, plain: &Plain) -> io::Result<()> {
    let path = folder.join(&mount.file);
    if is_written(&path, mount, plain).unwrap_or(false) {
        return Ok(());
    }
    // No secret's name begins with a dot.
    let new = folder.join(format!(".{}.new", mount.file));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(plain)?;
    if mount.uid.is_some() || mount.gid.is_some() {
        fchown(&file, mount.uid, mount.gid)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mount.mode))?;
    fs::rename(&new, &path)
}

fn is_written(path: &Path, mount: &SecretMount, plain: &Plain) -> io::Result<bool> {
    let file = fs::File::open(path)?;
    let found = file.metadata()?;
    let is_alike = found.mode() & 0o7777 == mount.mode
        && mount.uid.is_none_or(|uid| uid == found.uid())
        && mount.gid.is_none_or(|gid| gid == found.gid());
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 1));
    file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(is_alike && *bytes == **plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(secret: &str, mode: u32) -> SecretMount {
        SecretMount { secret: secret.into(), file: secret.into(), uid: None, gid: None, mode }
    }

    fn plain(text: &str) -> Plain {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    /// On this machine's memory.
    fn place() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let place = Place::new(folder.path(), &DeviceId::from_bytes([1; 32]));
        (folder, place)
    }

    #[test]
    fn a_module_has_its_files_and_a_new_value_takes_the_place_of_the_old_one() {
        let (_held, place) = place();
        let module = "grid/sensor".parse().unwrap();
        let (token, key) = (mount("token", 0o444), mount("key", 0o400));
        let folder = place.put(&module, &[(&token, plain("one")), (&key, plain("k"))]).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let (of_folder, of_key) = (inode(&folder), inode(&folder.join("key")));
        assert_eq!(fs::metadata(folder.join("key")).unwrap().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(folder.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let mut open = fs::File::open(folder.join("token")).unwrap();
        place.put(&module, &[(&token, plain("two")), (&key, plain("k"))]).unwrap();
        // Who had it open has the old one whole.
        let mut old = String::new();
        open.read_to_string(&mut old).unwrap();
        assert_eq!(
            (old.as_str(), fs::read_to_string(folder.join("token")).unwrap().as_str()),
            ("one", "two")
        );
        assert_eq!((inode(&folder), inode(&folder.join("key"))), (of_folder, of_key));
        place.put(&module, &[(&key, plain("k"))]).unwrap();
        assert!(!folder.join("token").exists() && folder.join("key").exists());
        place.keep_only(&BTreeSet::new());
        assert!(!folder.exists());
    }

    #[test]
    fn secrets_go_to_no_disk() {
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let place = Place::new(folder.path(), &DeviceId::from_bytes([1; 32]));
        let refused = place.put(&"grid/sensor".parse().unwrap(), &[(&mount("token", 0o444), plain("x"))]);
        assert!(refused.unwrap_err().contains("is on a disk, where secrets do not go"));
        assert!(fs::read_dir(&place.root).unwrap().next().is_none());
    }
}
