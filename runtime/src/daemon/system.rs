//! How the machine is: its disk, memory and load, and what runs on it.

use std::{fs, path::Path, rc::Rc, sync::Arc, thread, time::Duration};

use tokio::task::spawn_blocking;
use wayside_actors::{
    device::{health, wiring::Event},
    report::System,
};

use crate::{clock::wall_ms, engine::Engine, shell::Device};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Looks at the machine again and again.
pub(super) async fn watch(device: Rc<Device>, engine: Engine) {
    let ready = engine.ready();
    loop {
        let state = Arc::clone(&device.adapters().state);
        let looking = move || {
            state.keep_reserve();
            look(state.path())
        };
        if let Ok(system) = spawn_blocking(looking).await {
            let engine =
                ready.borrow().as_ref().map_or_else(|_| String::new(), |ready| ready.version.clone());
            let system = System { engine, ..system };
            device.adapters().view.runs_on(system.clone());
            device.send(Event::Health(health::Event::System { system, wall_ms: wall_ms() }), 0).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What cannot be known is 0.
fn look(state: &Path) -> System {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = file("/proc/meminfo");
    let uptime_ms = thousandths(&file("/proc/uptime"));
    System {
        disk_bytes: fs2::total_space(state).unwrap_or_default(),
        disk_free_bytes: fs2::available_space(state).unwrap_or_default(),
        memory_bytes: of_meminfo(&memory, "MemTotal:"),
        memory_free_bytes: of_meminfo(&memory, "MemAvailable:"),
        cores: thread::available_parallelism()
            .map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        load_millis: u32::try_from(thousandths(&file("/proc/loadavg"))).unwrap_or(u32::MAX),
        booted_ms: wall_ms().saturating_sub(uptime_ms),
        engine: String::new(),
        kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// Of a line such as `MemTotal:       24604236 kB`.
fn of_meminfo(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// The number that a text such as `0.42 0.30 1/512 77` begins with, times 1000.
fn thousandths(text: &str) -> u64 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
    whole.trim().parse::<u64>().unwrap_or_default() * 1000 + digits.parse::<u64>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(
            [thousandths("0.42 0.30 1/512 77\n"), thousandths("350735.47 1"), thousandths("")],
            [420, 350_735_470, 0]
        );
        assert_eq!(of_meminfo("MemTotal:       24 kB\nMemAvailable:   7 kB\n", "MemAvailable:"), 7 << 10);
        let system = look(Path::new("/"));
        assert!(system.disk_bytes >= system.disk_free_bytes && system.disk_bytes > 0);
        assert!(system.memory_bytes > system.memory_free_bytes && system.memory_free_bytes > 0);
        assert!(
            system.cores > 0
                && system.booted_ms > 0
                && system.booted_ms < wall_ms()
                && !system.kernel.is_empty()
        );
    }
}
