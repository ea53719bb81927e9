//! The names and values of what the router keeps besides messages.
//!
//! | name | value |
//! |---|---|
//! | `in/<origin key>/<workload>/<route>` | epoch and highest number stored here, 16 bytes big-endian |
//! | `from/<workload>/<route>` | the modules that have sent on a `site` route, the newest first, one a line |
//! | `qos2/<workload>/<module>/<packet identifier>` | empty |
//! | `session/<workload>/<module>` | the MQTT listener's business |
//! | `flights/<workload>/<module>` | the same: what is on its way to the client at QoS 2 |
//! | `retain/<name>/<part>` | a part of a retained message: see `retained` |
//! | `drain/<queue>` | the queue, CBOR: it is emptied when its route is gone |
//! | `floor` | the number above which new queues begin, 8 bytes big-endian |

use std::collections::{BTreeMap, BTreeSet};

use wayside_config::{cbor, identity::DeviceId, workload::ModuleId};

use super::{
    retained::{Parts, Retained},
    session_mark,
};
use crate::queue::{Queue, StoreOp};

/// How far one route of one origin is stored here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) epoch: u64,
    pub(super) upto: u64,
}

/// Former modules of a route that are remembered, and the one of today. What they published may be on
/// its way for as long as a neighbour was off.
const SOURCES: usize = 4;

/// All marks, as the router uses them.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub(super) windows: BTreeMap<(DeviceId, String), Window>,
    /// By route: who has sent on it, the newest first.
    pub(super) sources: BTreeMap<String, Vec<String>>,
    pub(super) packet_ids: BTreeSet<(ModuleId, u16)>,
    pub(super) sessions: BTreeSet<ModuleId>,
    /// Whose QoS 2 messages are under way.
    pub(super) flights: BTreeSet<ModuleId>,
    pub(super) retained: Retained,
    pub(super) drains: BTreeSet<Queue>,
    pub(super) floor: u64,
}

impl Marks {
    /// As the store has them. What is not readable is not one of ours and stays where it is.
    pub(super) fn restored(kept: &BTreeMap<String, Vec<u8>>) -> Self {
        let (mut marks, mut parts) = (Self::default(), Parts::default());
        for (name, value) in kept {
            match name.strip_prefix("retain/") {
                Some(rest) => parts.add(rest, value),
                None => marks.restore(name, value),
            };
        }
        marks.retained = parts.messages();
        marks
    }

    fn restore(&mut self, name: &str, value: &[u8]) -> Option<()> {
        match name.split_once('/') {
            Some(("in", rest)) => {
                let (origin, route) = rest.split_once('/')?;
                let (epoch, upto) = value.split_at_checked(8)?;
                let window = Window { epoch: number(epoch)?, upto: number(upto)? };
                self.windows.insert((origin.parse().ok()?, route.into()), window);
            }
            Some(("from", route)) => {
                let names = std::str::from_utf8(value).ok()?.lines().map(ToOwned::to_owned);
                self.sources.insert(route.into(), names.take(SOURCES).collect());
            }
            Some(("qos2", rest)) => {
                let (module, id) = rest.rsplit_once('/')?;
                self.packet_ids.insert((module.parse().ok()?, id.parse().ok()?));
            }
            Some(("session", module)) => {
                self.sessions.insert(module.parse().ok()?);
            }
            Some(("flights", module)) => {
                self.flights.insert(module.parse().ok()?);
            }
            Some(("drain", _)) => {
                self.drains.insert(cbor::decode(value).ok()?);
            }
            None if name == "floor" => self.floor = number(value)?,
            Some(_) | None => {}
        }
        Some(())
    }

    /// Remembers that `source` sends on the route from now on; gives what to keep where that is new.
    pub(super) fn sent_by(&mut self, route: &str, source: &str) -> Option<StoreOp> {
        let sources = self.sources.entry(route.to_owned()).or_default();
        if sources.first().is_some_and(|newest| newest == source) {
            return None;
        }
        sources.retain(|known| known != source);
        sources.insert(0, source.to_owned());
        sources.truncate(SOURCES);
        Some(StoreOp::Mark { key: source_mark(route), value: sources.join("\n").into() })
    }
}

pub(super) fn source_mark(route: &str) -> String {
    format!("from/{route}")
}

pub(super) fn window_mark(origin: DeviceId, route: &str) -> String {
    format!("in/{origin}/{route}")
}

pub(super) fn keep_window(origin: DeviceId, route: &str, window: Window) -> StoreOp {
    let value = [window.epoch.to_be_bytes(), window.upto.to_be_bytes()].concat();
    StoreOp::Mark { key: window_mark(origin, route), value }
}

pub(super) fn keep_floor(floor: u64) -> StoreOp {
    StoreOp::Mark { key: "floor".into(), value: floor.to_be_bytes().into() }
}

pub(super) fn drain_mark(queue: &Queue) -> String {
    format!("drain/{queue}")
}

pub(super) fn keep_drain(queue: &Queue) -> StoreOp {
    StoreOp::Mark { key: drain_mark(queue), value: cbor::encode(queue) }
}

pub(super) fn packet_mark(module: &ModuleId, id: u16) -> String {
    format!("qos2/{module}/{id}")
}

pub(super) fn keep_session(module: &ModuleId, kept: Option<Vec<u8>>) -> StoreOp {
    let key = session_mark(module);
    match kept {
        Some(value) => StoreOp::Mark { key, value },
        None => StoreOp::Unmark { key },
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_restored_and_the_rest_is_left_alone() {
        let (origin, module) = (DeviceId::from_bytes([7; 32]), "plant/sensor".parse::<ModuleId>().unwrap());
        let window = Window { epoch: 3, upto: 99 };
        let mut kept = BTreeMap::from([
            (packet_mark(&module, 65535), Vec::new()),
            ("qos2/plant".into(), Vec::new()),
            ("in/short/plant/route".into(), vec![0; 16]),
            ("unknown".into(), vec![1]),
        ]);
        let ops =
            [keep_window(origin, "plant/data", window), keep_floor(12), keep_session(&module, Some(vec![1]))];
        let mut writer = Marks::default();
        let ops =
            ops.into_iter().chain(["a", "b"].map(|source| writer.sent_by("plant/data", source).unwrap()));
        for op in ops {
            let StoreOp::Mark { key, value } = op else { panic!("not a mark: {op:?}") };
            kept.insert(key, value);
        }
        let marks = Marks::restored(&kept);
        assert_eq!(marks.windows, BTreeMap::from([((origin, "plant/data".into()), window)]));
        assert_eq!(marks.packet_ids, BTreeSet::from([(module.clone(), 65535)]));
        assert_eq!((marks.sessions, marks.floor), (BTreeSet::from([module]), 12));
        assert_eq!(marks.sources, BTreeMap::from([("plant/data".into(), vec!["b".into(), "a".into()])]));
    }

    #[test]
    fn only_the_newest_sources_of_a_route_are_remembered() {
        let mut marks = Marks::default();
        for source in ["a", "b", "c", "d", "e"] {
            assert!(marks.sent_by("w/r", source).is_some());
        }
        assert_eq!(marks.sent_by("w/r", "e"), None);
        assert!(marks.sent_by("w/r", "c").is_some());
        assert_eq!(marks.sources["w/r"], ["c", "e", "d", "b"]);
    }
}
