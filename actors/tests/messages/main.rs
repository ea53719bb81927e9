//! The laws of the way of a message: routers and deliveries of two devices and a cloud, in bad weather.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod client;
mod node;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use wayside_actors::queue::Queue;
use wayside_config::workload::WhenFull;

use crate::{
    node::Store,
    world::{Weather, World, device, number, to_detector},
};

fn weather() -> impl Strategy<Value = Vec<Weather>> {
    let (node, any) = (0..2usize, 0..64usize);
    let one = prop_oneof![
        20 => node.clone().prop_map(Weather::Publish),
        60 => node.clone().prop_map(Weather::Step),
        20 => any.clone().prop_map(Weather::Arrives),
        3 => any.clone().prop_map(Weather::Lost),
        2 => any.prop_map(Weather::Repeated),
        8 => node.clone().prop_map(Weather::Consumes),
        1 => node.clone().prop_map(Weather::Crash),
        1 => (node.clone(), 0..4usize).prop_map(|(at, which)| Weather::DeliveryFails(at, which)),
        1 => node.prop_map(Weather::Flap),
        6 => (1..8000u64).prop_map(Weather::Pass),
    ];
    prop::collection::vec(one, 0..600)
}

/// The numbers of one origin in one queue, in the order they were stored.
fn stored(store: &Store, queue: &Queue, origin: usize) -> Vec<u64> {
    let of_origin =
        store.appended.iter().filter(|(q, message)| q == queue && message.origin == device(origin));
    of_origin.map(|(_, message)| number(message)).collect()
}

fn rises(numbers: &[u64]) -> bool {
    numbers.is_sorted_by(|before, after| before < after)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// A queue that pushes back loses nothing: every message is stored once and in order, on both devices
    /// and in the cloud, and its module gets it, in order, whatever crashes, gets lost, comes twice or
    /// comes out of order.
    #[test]
    fn each_message_comes_once_and_in_order(weather in weather(), buffer_bytes in 100..2000u64) {
        let mut world = World::new(buffer_bytes, WhenFull::PushBack);
        for weather in weather {
            world.meet(weather);
            for node in &world.nodes {
                prop_assert!(node.store.most_bytes() <= buffer_bytes);
            }
        }
        prop_assert!(world.settle(), "it does not come to rest");
        for origin in 0..2 {
            let all: Vec<u64> = (1..=world.clients[origin].published).collect();
            prop_assert_eq!(world.cloud.get(&device(origin)).cloned().unwrap_or_default(), all.clone());
            for at in 0..2 {
                prop_assert_eq!(stored(&world.nodes[at].store, &to_detector(), origin), all.clone());
                let read = world.read.get(&(at, device(origin))).cloned().unwrap_or_default();
                // Again after a crash, but never before what precedes it.
                let mut seen = BTreeSet::new();
                let first_seen: Vec<u64> = read.into_iter().filter(|number| seen.insert(*number)).collect();
                prop_assert_eq!(first_seen, all.clone());
            }
        }
    }

    /// A queue that drops keeps its bound, order holds, nothing is doubled, and with the newest kept the
    /// last message always arrives.
    #[test]
    fn queues_that_drop_keep_order_and_bound(
        weather in weather(), buffer_bytes in 100..1000u64, newest in any::<bool>(),
    ) {
        let when_full = if newest { WhenFull::DropNewest } else { WhenFull::DropOldest };
        let mut world = World::new(buffer_bytes, when_full);
        for weather in weather {
            world.meet(weather);
            for node in &world.nodes {
                prop_assert!(node.store.most_bytes() <= buffer_bytes);
            }
        }
        prop_assert!(world.settle(), "it does not come to rest");
        for origin in 0..2 {
            let in_cloud = world.cloud.get(&device(origin)).cloned().unwrap_or_default();
            prop_assert!(rises(&in_cloud));
            if when_full == WhenFull::DropOldest {
                let published = world.clients[origin].published;
                prop_assert_eq!(in_cloud.last().copied().unwrap_or_default(), published);
            }
            for at in 0..2 {
                prop_assert!(rises(&stored(&world.nodes[at].store, &to_detector(), origin)));
            }
        }
    }

    /// A workload that goes and comes back counts on, so that what is new is not taken for old.
    #[test]
    fn a_workload_that_comes_back_loses_nothing_new(before in weather(), after in weather()) {
        let mut world = World::new(1000, WhenFull::PushBack);
        before.into_iter().for_each(|weather| world.meet(weather));
        prop_assert!(world.settle());
        let published = world.clients[0].published;
        world.nodes[0].reroute(wayside_actors::device::router::RouteTable::default());
        prop_assert!(world.settle());
        world.nodes[0].reroute(world::routes(1000, WhenFull::PushBack));
        after.into_iter().for_each(|weather| world.meet(weather));
        prop_assert!(world.settle());
        let all: Vec<u64> = (1..=world.clients[0].published).collect();
        prop_assert!(published <= all.len() as u64);
        prop_assert_eq!(world.cloud.get(&device(0)).cloned().unwrap_or_default(), all.clone());
        prop_assert_eq!(stored(&world.nodes[1].store, &to_detector(), 0), all);
    }
}
