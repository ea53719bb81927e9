//! The kernel's files on one container, of both versions of control groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = "/sys/fs/cgroup";

/// Where the files of a container are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cgroup {
    /// Of version 2: one folder.
    Unified(PathBuf),
    /// Of version 1: a folder for each resource.
    Split {
        /// With `cpuacct.usage`.
        cpu: PathBuf,
        /// With `memory.usage_in_bytes`.
        memory: PathBuf,
    },
}

/// What a container has used, and uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// CPU time since it began, in microseconds.
    pub(super) cpu_us: u64,
    /// Memory, without what the kernel could take back at once.
    pub(super) memory_bytes: u64,
}

impl Cgroup {
    /// Those of the container whose first process is `pid`; `None` where they cannot be seen. In a container a number
    /// is another process, and of no group that is named like this one.
    pub(super) fn of(pid: i64, container: &str) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        Self::located(Path::new(ROOT), &groups, container).filter(|cgroup| cgroup.read().is_some())
    }

    fn located(root: &Path, groups: &str, container: &str) -> Option<Self> {
        let folder = |controller: &str| {
            let path = groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let is_it = parts.next()?.split(',').any(|name| name == controller);
                parts.next().filter(|_| is_it)
            })?;
            // What a container makes within its own group belongs to it.
            let end = path.find(container)?;
            let end = path[end..].find('/').map_or(path.len(), |slash| end + slash);
            let path = path[..end].trim_start_matches('/');
            (!path.contains("..")).then(|| root.join(controller).join(path))
        };
        match (folder("cpuacct"), folder("memory")) {
            (Some(cpu), Some(memory)) => Some(Self::Split { cpu, memory }),
            (None, _) | (_, None) => folder("").map(Self::Unified),
        }
    }

    /// What the container uses now; `None` when it is gone.
    pub(super) fn read(&self) -> Option<Sample> {
        match self {
            Self::Unified(folder) => Some(Sample {
                cpu_us: field(&text(folder, "cpu.stat")?, "usage_usec")?,
                memory_bytes: number(folder, "memory.current")?
                    .saturating_sub(inactive(folder, "inactive_file")),
            }),
            Self::Split { cpu, memory } => Some(Sample {
                cpu_us: number(cpu, "cpuacct.usage")? / 1000,
                memory_bytes: number(memory, "memory.usage_in_bytes")?
                    .saturating_sub(inactive(memory, "total_inactive_file")),
            }),
        }
    }
}

fn text(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file)?.trim().parse().ok()
}

/// Files in memory that nobody has used for a while.
fn inactive(folder: &Path, name: &str) -> u64 {
    text(folder, "memory.stat").and_then(|stat| field(&stat, name)).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_both_versions_are_found_and_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let sample = Some(Sample { cpu_us: 700, memory_bytes: 60 });
        write("system.slice/docker-c1.scope/cpu.stat", "usage_usec 700\nuser_usec 400\n");
        write("system.slice/docker-c1.scope/memory.current", "100\n");
        write("system.slice/docker-c1.scope/memory.stat", "anon 50\ninactive_file 40\n");
        let found = Cgroup::located(root.path(), "0::/system.slice/docker-c1.scope/init\n", "c1").unwrap();
        assert_eq!(found.read(), sample);
        write("cpuacct/docker/c1/cpuacct.usage", "700999\n");
        write("memory/docker/c1/memory.usage_in_bytes", "100\n");
        write("memory/docker/c1/memory.stat", "inactive_file 1\ntotal_inactive_file 40\n");
        let groups = "3:cpu,cpuacct:/docker/c1\n2:memory:/docker/c1\n0::/docker/c1\n";
        let found = Cgroup::located(root.path(), groups, "c1").unwrap();
        assert_eq!(found.read(), sample);
        fs::remove_dir_all(root.path().join("cpuacct")).unwrap();
        assert_eq!(found.read(), None);
    }

    #[test]
    fn a_process_of_another_container_is_not_taken_for_this_one() {
        for groups in ["0::/docker/c2\n", "0::/../c1\n", "", "0::/\n", "nonsense"] {
            assert_eq!(Cgroup::located(Path::new("/"), groups, "c1"), None, "{groups}");
        }
    }
}
