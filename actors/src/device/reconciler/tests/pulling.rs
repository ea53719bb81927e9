//! How much may be downloaded for a version.

use super::{
    updates::device::{Device, PROBATION_MS, version},
    *,
};
use crate::device::reconciler::{Disk, NotPulled, RETRY};

#[test]
fn what_is_larger_than_was_signed_is_not_got_again_and_again() {
    const MIB: u64 = 1 << 20;
    let mut device = Device::updating();
    device.runs(&["plant/sensor"]);
    device.pass(PROBATION_MS);
    let mut small = version("plant", 3);
    small.workload.update.pull_max_bytes = Some(100 * MIB);
    device.assign(&[small]);
    let missing = vec!["pump".to_owned(), "sensor:3".into()];
    let looked = |free: u64| Event::Looked {
        workload: "plant".into(),
        images: missing.clone(),
        found: Ok(Images {
            missing: missing.clone(),
            disk: Some(Disk { free_bytes: free * MIB, total_bytes: 1 << 30 }),
        }),
    };
    // What they may take has to be free beyond what always is.
    device.tell(looked(300));
    assert!(device.status("plant").problem.contains("and 100 more for it"), "{:?}", device.status("plant"));
    device.pass(RETRY.first_ms);
    device.tell(looked(400));
    let max_bytes = 100 * MIB;
    let pull = Effect::Pull { workload: "plant".into(), images: missing.clone(), max_bytes };
    assert!(device.effects.contains(&pull));
    let result = Err(NotPulled::TooLarge("101 MiB".into()));
    // The one that came is the device's own, and goes when nothing needs it.
    device.tell(Event::Got { image: "pump".into() });
    assert!(device.pulled.images().eq(["pump"]), "also when nobody waits for the others any more");
    device.tell(Event::Pulled { workload: "plant".into(), images: missing.clone(), result });
    assert!(device.status("plant").problem.contains("version 3 of plant waits: 101 MiB; version 2 runs on"));
    device.pass(24 * 60 * 60 * 1000);
    device.tell(Event::EngineBack);
    assert!(!device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. } | Effect::Pull { .. })));
    device.assign(&[version("plant", 4)]);
    assert!(device.effects.iter().any(|effect| matches!(effect, Effect::Look { .. })));
}
