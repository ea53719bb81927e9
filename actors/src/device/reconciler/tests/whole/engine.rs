//! An engine with images and containers that may be away, and fail.

use super::*;
use crate::device::reconciler::{Disk, NotPulled};

impl World {
    pub(super) fn engine_for_reconciler(&mut self, effect: Effect, fails: bool) {
        let problem = || String::from("no engine");
        let event = if let Effect::List = effect {
            if self.away {
                Event::EngineLost { problem: problem() }
            } else {
                Event::Observed { additions: "net".into(), containers: self.listed() }
            }
        } else if let Effect::Look { workload, images } = effect {
            let missing = images.iter().filter(|image| !self.images.contains(*image)).cloned().collect();
            let disk = Some(Disk { free_bytes: if fails { 0 } else { 1 << 30 }, total_bytes: 1 << 30 });
            let found = if self.away { Err(problem()) } else { Ok(Images { missing, disk }) };
            Event::Looked { workload, images, found }
        } else if let Effect::Pull { workload, images, max_bytes: _ } = effect {
            // Of several, the first may come and another one not.
            let come = if fails { images.len() / 2 } else { images.len() };
            for image in &images[..come] {
                self.images.insert(image.clone());
                self.got.insert(image.clone());
                self.told.push_back(Told::Reconciler(Event::Got { image: image.clone() }));
            }
            let result = if fails { Err(NotPulled::Failed(problem())) } else { Ok(()) };
            Event::Pulled { workload, images, result }
        } else if let Effect::Space = effect {
            let free_bytes = if fails { 0 } else { 1 << 30 };
            Event::Space { disk: Some(Disk { free_bytes, total_bytes: 1 << 30 }), wall_ms: self.now }
        } else if let Effect::RemoveImage { image } = effect {
            if fails {
                return;
            }
            self.assert_unneeded(&image);
            self.images.remove(&image);
            Event::ImageGone { image }
        } else if let Effect::AskTime = effect {
            Event::Time { wall_ms: self.now }
        } else {
            if let Effect::RemoveOrphan { container } = effect
                && !fails
            {
                self.containers.remove(&container);
            }
            return;
        };
        self.told.push_back(Told::Reconciler(event));
    }

    /// Neither what runs nor what it would go back to ever loses an image.
    fn assert_unneeded(&self, image: &str) {
        let versions = self.lives.values().flat_map(|life| life.committed.iter().chain(&life.trial));
        for version in versions {
            let needs = version.release.workload.modules.values().any(|spec| spec.image == image);
            assert!(!needs, "{image} is removed, and version {} needs it", version.release.version);
        }
    }

    fn listed(&self) -> Vec<Observed> {
        let one = |(id, container): (&String, &Container)| Observed {
            container: id.clone(),
            module: Some(container.module.clone()),
            spec_hash: container.spec_hash.clone(),
            running: container.running == Some(true),
            exit_code: (container.running == Some(false)).then_some(3),
            health: None,
        };
        self.containers.iter().map(one).collect()
    }

    pub(super) fn engine_for_module(&mut self, module: ModuleId, effect: one::Effect, fails: bool) {
        let failed = |container| one::Event::Failed { container, problem: "no".into() };
        let event = match effect {
            one::Effect::Create { .. } if fails => failed(None),
            one::Effect::Create { spec, spec_hash } => {
                // Of a version that is not wanted any more one may still be asked for: the engine gets its image again.
                let was_got = self.got.contains(&spec.image);
                assert!(was_got, "{} was not prepared", spec.image);
                // One name, one container: what an earlier daemon made goes.
                self.containers.retain(|_, container| container.module != module);
                self.made += 1;
                let (id, image) = (self.made.to_string(), spec.image);
                let container =
                    Container { module: module.clone(), image, spec_hash: spec_hash.clone(), running: None };
                self.containers.insert(id.clone(), container);
                one::Event::Created { container: id, spec_hash }
            }
            one::Effect::Start { container } | one::Effect::Remove { container } if fails => {
                failed(Some(container))
            }
            one::Effect::Start { container } => match self.containers.get_mut(&container) {
                None => failed(Some(container)),
                Some(there) => {
                    let number = there.image.strip_prefix("sensor:").and_then(|number| number.parse().ok());
                    let ends = number.is_some_and(is_bad);
                    there.running = Some(!ends);
                    let started = one::Event::Started { container: container.clone() };
                    self.told.push_back(Told::Module(module.clone(), started));
                    if !ends {
                        return;
                    }
                    one::Event::Exited { container, code: 3 }
                }
            },
            one::Effect::Stop { container, .. } => return self.end(&container),
            one::Effect::Remove { container } => {
                self.containers.remove(&container);
                one::Event::Removed { container }
            }
            one::Effect::Prepare { .. } | one::Effect::Report(..) | one::Effect::Gone => return,
        };
        self.told.push_back(Told::Module(module, event));
    }

    pub(super) fn end(&mut self, id: &str) {
        if let Some(container) = self.containers.get_mut(id)
            && container.running == Some(true)
        {
            container.running = Some(false);
            let exited = one::Event::Exited { container: id.to_owned(), code: 3 };
            self.told.push_back(Told::Module(container.module.clone(), exited));
        }
    }
}
