//! Any report, for laws that hold for all of them.

use wayside_actors::report::{ClockOffset, Drift, System, Usage};

use super::*;

fn any_health() -> impl Strategy<Value = Option<Health>> {
    prop::sample::select(vec![None, Some(Health::Starting), Some(Health::Healthy), Some(Health::Unhealthy)])
}

fn any_state() -> impl Strategy<Value = ModuleState> {
    use ModuleState::{BackOff, Creating, Ended, Failed, Running, Starting, Stopping};
    prop::sample::select(vec![Creating, Starting, Running, BackOff, Ended, Stopping, Failed])
}

prop_compose! {
    fn any_module()(
        state in any_state(), image in ".{0,30}", restarts in any::<u32>(),
        exit_code in any::<Option<i64>>(), problem in ".{0,30}", health in any_health(), output in ".{0,30}",
    ) -> ModuleStatus {
        ModuleStatus { state, image, restarts, exit_code, problem, health, output }
    }
}

prop_compose! {
    fn any_queue()(depth in any::<u64>(), bytes in any::<u64>(), appended in any::<u64>(), dropped in any::<u64>(), expired in any::<u64>())
    -> QueueStatus {
        QueueStatus { depth, bytes, appended, dropped, expired }
    }
}

prop_compose! {
    fn any_route()(refused in any::<u64>(), failed in any::<u64>(), left_out in any::<u64>(), lost in any::<u64>())
    -> RouteStatus {
        RouteStatus { refused, failed, left_out, lost }
    }
}

fn any_phase() -> impl Strategy<Value = Phase> {
    use Phase::{Preparing, Probation, RollingBack, Running, Switching};
    prop::sample::select(vec![Preparing, Switching, Probation, RollingBack, Running])
}

prop_compose! {
    fn any_workload()(
        version in any::<u64>(), coming in any::<Option<u64>>(), phase in any_phase(), problem in ".{0,30}",
    ) -> WorkloadStatus {
        WorkloadStatus { version, coming, phase, problem }
    }
}

prop_compose! {
    fn any_usage()(
        cpu_millis in any::<Option<u32>>(), memory_bytes in any::<u64>(), memory_limit_bytes in any::<Option<u64>>(),
        digest in ".{0,30}",
    ) -> Usage {
        Usage { cpu_millis, memory_bytes, memory_limit_bytes, digest }
    }
}

prop_compose! {
    fn any_system()(
        numbers in any::<[u64; 5]>(), cores in any::<u32>(), load_millis in any::<u32>(),
        engine in ".{0,30}", kernel in ".{0,30}",
    ) -> System {
        let [disk_bytes, disk_free_bytes, memory_bytes, memory_free_bytes, booted_ms] = numbers;
        System {
            disk_bytes, disk_free_bytes, memory_bytes, memory_free_bytes, cores, load_millis, booted_ms, engine, kernel,
        }
    }
}

prop_compose! {
    fn any_drift()(
        desired in ".{0,30}", reported in ".{0,30}", since_ms in any::<u64>(), why in ".{0,30}",
    ) -> Drift {
        Drift { desired, reported, since_ms, why }
    }
}

fn any_clock() -> impl Strategy<Value = ClockOffset> {
    any::<(i64, u64)>().prop_map(|(ahead_ms, error_ms)| ClockOffset { ahead_ms, error_ms })
}

prop_compose! {
    pub(super) fn any_report()(
        number in any::<u64>(), full in any::<bool>(),
        modules in collection::btree_map(".{0,20}", any_module(), 0..4),
        modules_gone in collection::vec(".{0,20}", 0..4),
        queues in collection::btree_map(".{0,20}", any_queue(), 0..4),
        queues_gone in collection::vec(".{0,20}", 0..4),
        peers in proptest::option::of(collection::vec(any_key(), 0..4)),
        assignment in any::<Option<u64>>(),
        problems in proptest::option::of(collection::vec(".{0,20}", 0..4)),
        unrouted in any::<Option<u64>>(), refused in any::<Option<u64>>(),
        routes in collection::btree_map(".{0,20}", any_route(), 0..4),
        routes_gone in collection::vec(".{0,20}", 0..4),
        (workloads, workloads_gone) in
            (collection::btree_map(".{0,20}", any_workload(), 0..4), collection::vec(".{0,20}", 0..4)),
        (usage, system, clock) in (
            collection::btree_map(".{0,20}", any_usage(), 0..4),
            proptest::option::of(any_system()), proptest::option::of(any_clock()),
        ),
        (drift, drift_gone) in
            (collection::btree_map(".{0,20}", any_drift(), 0..4), collection::vec(".{0,20}", 0..4)),
    ) -> Report {
        Report {
            number, full, modules, modules_gone, queues, queues_gone, peers, assignment, unrouted, refused,
            problems, routes, routes_gone, workloads, workloads_gone, usage, system, clock, drift, drift_gone,
        }
    }
}
