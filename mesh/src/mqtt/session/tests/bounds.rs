//! Clients that have more open than they may.

use super::*;
use crate::mqtt::window::RECEIVE_MAXIMUM;

#[test]
fn more_than_the_receive_maximum_ends_an_mqtt_5_connection() {
    let mut bench = Bench::connected(v5(true, 0));
    for id in 1..=RECEIVE_MAXIMUM {
        bench.receive(publish(1, id));
    }
    assert_eq!(bench.poll().1, Polled::Open { read: true });
    bench.receive(publish(1, RECEIVE_MAXIMUM + 1));
    assert_eq!(bench.poll().1, Polled::Closing(End::Fault(Fault::ReceiveMaximum)));
}

#[test]
fn a_3_1_1_client_is_read_no_further_with_so_many_publishes_open() {
    let mut bench = Bench::connected(v4(true));
    let asked: Vec<_> = (1..=RECEIVE_MAXIMUM).flat_map(|id| bench.receive(publish(1, id))).collect();
    assert_eq!(bench.poll().1, Polled::Open { read: false });
    bench.session.accept(&[tickets(&asked)[0]]);
    assert_eq!(bench.poll().1, Polled::Open { read: true });
}
