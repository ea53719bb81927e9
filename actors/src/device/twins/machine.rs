//! What becomes of a change, and who hears of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use wayside_config::{
    document::TwinChange,
    limits::VERSION_MAX,
    patch::{Properties, patched},
    workload::ModuleId,
};

use super::{Effect, Event, Side, Twin, telling::Cloud};
use crate::{
    frame::ToCloud,
    machine::{Effects, Machine},
    time::Time,
};

/// The machine that owns all twins of the device.
#[derive(Clone, Debug)]
pub struct Twins {
    pub(super) twins: BTreeMap<ModuleId, Twin>,
    /// What the device runs, and what is desired of each at the beginning; `None` until somebody has said: then nobody
    /// is known to be absent.
    modules: Option<BTreeMap<ModuleId, Option<Properties>>>,
    seed: u64,
    /// Twins begun in this life of the machine.
    begun: u64,
    pub(super) cloud: Cloud,
    /// The last change that the cloud brought and that was taken: it may bring it again before it hears of that.
    taken: BTreeMap<ModuleId, [u8; 32]>,
    /// Why the last change that came through the cloud was not taken.
    refused: BTreeMap<ModuleId, String>,
}

impl Twins {
    /// The twins that are on the disk. `seed` is random: it makes the lives of twins that begin different.
    #[must_use]
    pub fn new(twins: BTreeMap<ModuleId, Twin>, seed: u64) -> Self {
        let (cloud, taken, refused) = (Cloud::default(), BTreeMap::new(), BTreeMap::new());
        Self { twins, modules: None, seed, begun: 0, cloud, taken, refused }
    }
}

impl Machine for Twins {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Modules(modules) => self.set_modules(modules, out),
            Event::Wanted { module } => {
                if self.begin(&module, out).is_ok() {
                    self.deliver(&module, out);
                }
            }
            Event::Reported { ticket, module, patch, wall_ms } => {
                self.reported(ticket, module, &patch, wall_ms, out);
            }
            Event::Look { question, module } => {
                let result = self.begin(&module, out).map(|()| Box::new(self.twins[&module].clone()));
                out.push(Effect::Shown { question, result });
            }
            Event::Change { question, change, sha256 } => self.changed(question, &change, sha256, out),
            Event::Unverified { sha256, reason } => self.unverified(sha256, reason, out),
            // Said again whenever somebody asks.
            Event::CloudUp if self.cloud.is_up => {}
            Event::CloudUp => self.cloud = Cloud::up(self.twins.keys().cloned()),
            Event::CloudDown => self.cloud = Cloud::default(),
            Event::HealthRestarted => self.tell_problems(out),
            Event::Untold(frames) => self.untold(now, frames),
            Event::Woken => {}
        }
        self.tell_cloud(now, out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Twins {
    fn set_modules(&mut self, modules: Vec<(ModuleId, Option<Properties>)>, out: &mut Effects<Effect>) {
        let modules: BTreeMap<_, _> = modules.into_iter().collect();
        let gone: Vec<_> =
            self.twins.keys().filter(|module| !modules.contains_key(module)).cloned().collect();
        for module in gone {
            self.twins.remove(&module);
            out.persist(Effect::Drop(module));
            self.cloud.names = true;
        }
        let before = self.refused.len();
        self.refused.retain(|module, _| modules.contains_key(module));
        self.taken.retain(|module, _| modules.contains_key(module));
        if self.refused.len() != before {
            self.tell_problems(out);
        }
        // Not with the first look, which may come after another version of the workload.
        let beginning: Vec<_> = modules
            .iter()
            .filter(|(_, desired)| desired.is_some())
            .map(|(module, _)| module.clone())
            .collect();
        self.modules = Some(modules);
        for module in beginning {
            // All of them run here.
            let _ = self.begin(&module, out);
        }
    }

    /// Makes sure that the module has a twin.
    fn begin(&mut self, module: &ModuleId, out: &mut Effects<Effect>) -> Result<(), String> {
        if self.twins.contains_key(module) {
            return Ok(());
        }
        let modules = self.modules.as_ref().ok_or("the device does not know yet what it runs: try again")?;
        let desired = modules
            .get(module)
            .ok_or_else(|| format!("this device runs no {module}: see `wayside status`"))?;
        self.begun += 1;
        let life = mix(self.seed, self.begun);
        let twin = desired.clone().map_or_else(|| Twin::new(life), |desired| Twin::desiring(life, desired));
        out.persist(Effect::Save(module.clone(), Box::new(twin.clone())));
        self.twins.insert(module.clone(), twin);
        self.cloud.names = true;
        self.cloud.changed.insert(module.clone());
        Ok(())
    }

    fn reported(
        &mut self,
        ticket: u64,
        module: ModuleId,
        patch: &Bytes,
        wall_ms: u64,
        out: &mut Effects<Effect>,
    ) {
        let merged = self.begin(&module, out).and_then(|()| {
            let reported = &self.twins[&module].reported;
            after(reported, patch).map_err(|error| format!("reported properties were not taken: {error}"))
        });
        match merged {
            Ok(Some(side)) => self.keep(&module, out, |twin| twin.reported = side),
            Ok(None) => {}
            Err(reason) => return out.push(Effect::Refuse { ticket, reason }),
        }
        // Also what changes nothing: it is said again when the device died before the routes had it.
        let Side { version, properties } = &self.twins[&module].reported;
        let body = format!("{{\"version\":{version},\"reported\":{properties}}}").into();
        out.push(Effect::Publish { ticket, module, body, wall_ms });
    }

    fn changed(
        &mut self,
        question: Option<u64>,
        change: &TwinChange,
        sha256: [u8; 32],
        out: &mut Effects<Effect>,
    ) {
        let module = &change.module;
        // Without a question it came through the cloud, which may not know that it was taken.
        let is_known = self.twins.get(module).is_some_and(|twin| twin.changed_by == sha256)
            || (question.is_none() && self.taken.get(module) == Some(&sha256));
        let result = if is_known { Ok(()) } else { self.change(change, sha256, out) };
        if result.is_ok() && self.refused.remove(module).is_some() {
            self.tell_problems(out);
        }
        match (question, result) {
            (Some(question), result) => {
                let result = result.map(|()| Box::new(self.twins[module].clone()));
                out.push(Effect::Shown { question, result });
            }
            // The cloud hears how the twin is, drops what was taken, and brings what follows.
            (None, Ok(())) if is_known => drop(self.cloud.changed.insert(module.clone())),
            (None, Ok(())) => {
                self.taken.insert(module.clone(), sha256);
                self.tell_now(module, out);
            }
            (None, Err(reason)) => {
                self.tell_refused(module, sha256, reason.clone(), out);
                let is_of_here = self.modules.as_ref().is_some_and(|modules| modules.contains_key(module));
                if is_of_here && self.refused.get(module) != Some(&reason) {
                    self.refused.insert(module.clone(), reason);
                    self.tell_problems(out);
                }
            }
        }
    }

    /// Not what was taken before: by then it was verified, or it is the very same.
    fn unverified(&mut self, sha256: [u8; 32], reason: String, out: &mut Effects<Effect>) {
        let known = self.twins.iter().find(|(_, twin)| twin.changed_by == sha256).map(|(module, _)| module);
        let known = known
            .or_else(|| self.taken.iter().find(|(_, taken)| **taken == sha256).map(|(module, _)| module));
        match known {
            Some(module) => drop(self.cloud.changed.insert(module.clone())),
            None => out.push(Effect::Tell(vec![ToCloud::TwinRefused { sha256, reason }])),
        }
    }

    fn change(
        &mut self,
        change: &TwinChange,
        sha256: [u8; 32],
        out: &mut Effects<Effect>,
    ) -> Result<(), String> {
        let module = &change.module;
        self.begin(module, out)?;
        let twin = &self.twins[module];
        let again = "look at it and set it again";
        if change.life != twin.life {
            return Err(format!("the change is for an earlier twin of {module}: {again}"));
        }
        if change.version <= twin.desired.version {
            return Err(format!(
                "the desired properties of {module} are at version {} already, and the change is for version {}: {again}",
                twin.desired.version, change.version
            ));
        }
        if change.version != twin.desired.version + 1 || change.version > VERSION_MAX {
            return Err(format!(
                "the change is for version {} of the desired properties of {module}, which are at version {}: {again}",
                change.version, twin.desired.version
            ));
        }
        let properties = patched(&twin.desired.properties, change.patch.as_bytes())
            .map_err(|error| format!("the desired properties of {module} were not changed: {error}"))?;
        let side = Side { version: change.version, properties };
        self.keep(module, out, |twin| {
            twin.desired = side;
            twin.changed_by = sha256;
        });
        self.deliver(module, out);
        Ok(())
    }

    fn keep(&mut self, module: &ModuleId, out: &mut Effects<Effect>, change: impl FnOnce(&mut Twin)) {
        let Some(twin) = self.twins.get_mut(module) else { return };
        change(twin);
        out.persist(Effect::Save(module.clone(), Box::new(twin.clone())));
        self.cloud.changed.insert(module.clone());
    }

    fn deliver(&self, module: &ModuleId, out: &mut Effects<Effect>) {
        if let Some(twin) = self.twins.get(module) {
            let Side { version, properties } = &twin.desired;
            let body = format!("{{\"version\":{version},\"desired\":{properties}}}").into();
            out.push(Effect::Deliver { module: module.clone(), body });
        }
    }

    fn tell_problems(&self, out: &mut Effects<Effect>) {
        let line = |reason: &String| format!("a change through the cloud was not taken: {reason}");
        out.push(Effect::Problems(self.refused.values().map(line).collect()));
    }
}

/// One side after a patch; `None` where it changes nothing.
fn after(side: &Side, patch: &[u8]) -> Result<Option<Side>, wayside_config::patch::PatchError> {
    let properties = patched(&side.properties, patch)?;
    Ok((properties != side.properties).then(|| Side { version: side.version + 1, properties }))
}

/// A number for a life, whole for JSON.
const fn mix(seed: u64, count: u64) -> u64 {
    let mut z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & VERSION_MAX
}
