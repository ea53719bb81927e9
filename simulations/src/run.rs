//! A run from beginning to end: the busy time, then rest until all has arrived, then the laws.

use std::{collections::BTreeMap, io, time::Instant};

use wayside_actors::time::Time;
use wayside_config::workload::{ModuleId, ModuleSpec};

use crate::{outcome::Outcome, scenario::Scenario, trace::Trace, workload, world::World};

/// How long a world may take to come to rest after the busy time, in virtual milliseconds.
const REST_MS: u64 = 15 * 60_000;
/// How often that is looked at.
const LOOK_MS: u64 = 1000;
/// How long it is watched then for what comes a second time.
const AFTERMATH_MS: u64 = 60_000;

pub(crate) fn run(scenario: Scenario, trace: Trace) -> io::Result<Outcome> {
    // The only clock of a real world in here: for the line that says how long it took.
    let began = Instant::now();
    let busy_ms = scenario.busy_ms;
    let mut world = World::new(scenario, trace);
    world.run_until(Time::from_millis(busy_ms));
    let mut end_ms = busy_ms;
    while end_ms < busy_ms + REST_MS && !misses(&world).is_empty() {
        end_ms += LOOK_MS;
        world.run_until(Time::from_millis(end_ms));
    }
    world.run_until(Time::from_millis(end_ms + AFTERMATH_MS));
    world.nature.trace.finish()?;
    let mut broken = std::mem::take(&mut world.nature.broken);
    broken.extend(misses(&world));
    let totals = world.nature.ledger.totals();
    if totals.doubled > 0 || totals.misordered > 0 || totals.delivered > totals.expected {
        broken.push(format!(
            "{} messages came twice, {} out of order, {} that were never accepted",
            totals.doubled,
            totals.misordered,
            totals.delivered.saturating_sub(totals.expected)
        ));
    }
    let world_ms = world.nature.now().as_millis();
    Ok(Outcome {
        devices: world.devices.len() as u32,
        seed: world.nature.scenario.seed,
        faults: world.nature.scenario.faults.len(),
        virtual_ms: world_ms,
        counts: world.nature.counts,
        totals,
        calls: (world.nature.calls.answered, world.nature.calls.failed),
        twins_changed: world.nature.twins.changed,
        trace_lines: world.nature.trace.lines(),
        fingerprint: world.nature.trace.fingerprint(),
        broken,
        took: began.elapsed(),
    })
}

/// What is not yet as it has to be in the end: all arrived, and desired is running.
fn misses(world: &World) -> Vec<String> {
    let totals = world.nature.ledger.totals();
    let mut misses = Vec::new();
    if totals.lost() > 0 {
        misses.push(format!("{} messages have not arrived", totals.lost()));
    }
    let version = world.nature.scenario.applies_ms.len() as u64;
    if world.nature.settled != version {
        misses.push(format!("the cloud has settled version {} of {version}", world.nature.settled));
    }
    let release = workload::release(version, &world.nature.scenario);
    let wanted: BTreeMap<ModuleId, ModuleSpec> = release
        .workload
        .modules
        .into_iter()
        .map(|(module, spec)| (ModuleId::new(workload::NAME, module), spec))
        .collect();
    misses.extend(world.devices.iter().flat_map(|device| device.misses(&wanted)));
    let overdue = world.nature.calls.overdue(world.nature.now());
    if overdue > 0 {
        misses.push(format!("{overdue} calls were not settled in time"));
    }
    misses.extend(world.cloud.misses(world.devices.len() as u32));
    misses
}
