//! What the reconciler's effects lead to.

use smallvec::smallvec;

use super::{Out, Outs, engine, mqtt, to_health, to_module, to_router, to_twins};
use crate::device::{
    health,
    io::{self, Io},
    module, reconciler, router, twins,
};

/// What follows from an effect of the reconciler.
#[must_use]
pub fn reconciler(effect: reconciler::Effect) -> Outs {
    use reconciler::Effect as E;
    smallvec![match effect {
        E::SaveFloors(floors) => Out::Io(Io::SaveFloors(floors)),
        E::Save(desired) => Out::Io(Io::SaveDesired(desired)),
        E::SaveLife(workload, life) => Out::Io(Io::SaveLife(workload, life)),
        E::DropLife(workload) => Out::Io(Io::DropLife(workload)),
        E::SaveLocks(locks) => Out::Io(Io::SaveLocks(locks)),
        E::LockTaken { ticket } => mqtt(io::Mqtt::Accept { tickets: vec![ticket] }),
        E::LockRefused { ticket, reason } => mqtt(io::Mqtt::Refuse { ticket, reason }),
        E::SavePulled(pulled) => Out::Io(Io::SavePulled(pulled)),
        E::Space => engine(io::Engine::Space),
        E::RemoveImage { image } => engine(io::Engine::RemoveImage { image }),
        E::TakenBack { workload, version, why } => Out::Io(Io::TakenBack { workload, version, why }),
        E::AskTime => Out::Io(Io::AskTime),
        E::List => engine(io::Engine::List),
        E::Look { workload, images } => engine(io::Engine::Look { workload, images }),
        E::Pull { workload, images, max_bytes } => {
            engine(io::Engine::Pull { workload, images, max_bytes })
        }
        E::Want { module, spec, spec_hash } => to_module(module, module::Event::Wanted { spec, spec_hash }),
        E::Unwant(module) => to_module(module, module::Event::Unwanted),
        E::Restart(module) => to_module(module, module::Event::Restart),
        E::Found(module, found) => {
            let reconciler::Observed { container, module: _, spec_hash, running, exit_code, health } = found;
            to_module(module, module::Event::Found { container, spec_hash, running, exit_code, health })
        }
        E::Missing(module) => to_module(module, module::Event::Missing),
        E::RemoveOrphan { container } => engine(io::Engine::RemoveOrphan { container }),
        E::Routes(table) => to_router(router::Event::Routes(table)),
        E::Clients(clients) => mqtt(io::Mqtt::Clients(clients)),
        E::Twins(modules) => to_twins(twins::Event::Modules(modules)),
        E::Names(names) => mqtt(io::Mqtt::Names(names)),
        E::Workload(name, status) => to_health(health::Event::Workload(name, status)),
        E::Drift(what, lag) => to_health(health::Event::Drift(what, lag)),
        E::WorkloadGone(name) => to_health(health::Event::WorkloadGone(name)),
        E::NotTaken { version, reason } => Out::Io(Io::NotTaken { version, reason }),
        E::Assigned(version) => to_health(health::Event::Assignment(version)),
        E::Problems(problems) => to_health(health::Event::Problems { source: "workloads".into(), problems }),
    }]
}
