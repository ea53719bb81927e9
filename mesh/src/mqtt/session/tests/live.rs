//! Messages of best-effort routes.

use super::*;

#[test]
fn what_nobody_is_there_for_is_counted_as_lost() {
    let (mut bench, lost) = (Bench::new(None), Lost::default());
    bench.session.count_lost_in(lost.clone());
    bench.session.forward("plant/data".into(), Parcel { topic: "dev/sensor/t".into(), ..Parcel::default() });
    assert_eq!(lost.take().remove("plant/data"), Some(1));
}
