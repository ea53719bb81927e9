//! A settings file of any bytes: settings, or a report that can be shown.

use wayside_config::settings::Settings;

pub(crate) fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(report) = Settings::parse("wayside.toml", &text) {
        assert!(!report.render(true).is_empty(), "refused without a reason");
        assert!(report.findings().iter().all(|finding| finding.line > 0 && finding.column > 0));
    }
}
