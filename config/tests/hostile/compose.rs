//! A Compose file of any bytes: a workload that survives its own encoding, or a report that can be shown.

use wayside_config::{cbor, compose};

pub(crate) fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match compose::parse("compose.yaml", &text) {
        Ok((workload, warnings)) => {
            assert!(!warnings.render(false).contains("error:"), "an error let the file pass");
            assert_eq!(cbor::decode(&cbor::encode(&workload)), Ok(workload));
        }
        Err(report) => {
            assert!(!report.render(true).is_empty(), "refused without a reason");
            assert!(report.findings().iter().all(|finding| finding.line > 0 && finding.column > 0));
        }
    }
}
