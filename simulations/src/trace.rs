//! What happened, as text and as a fingerprint: two runs are the same when these are.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use wayside_actors::time::Time;

/// Takes a line for everything that happens. Keeps only the fingerprint, and writes the text where
/// somebody wants it.
#[derive(Default)]
pub(crate) struct Trace {
    fingerprint: Fingerprint,
    lines: u64,
    file: Option<Box<dyn io::Write>>,
    failed: Option<io::Error>,
}

impl Trace {
    pub(crate) fn to(file: Option<Box<dyn io::Write>>) -> Self {
        Self { file, ..Self::default() }
    }

    pub(crate) fn line(&mut self, now: Time, who: impl fmt::Display, what: impl fmt::Debug) {
        self.lines += 1;
        let ms = now.as_millis();
        writeln!(self.fingerprint, "{ms} {who} {what:?}").expect("a fingerprint takes everything");
        if let (Some(file), None) = (&mut self.file, &self.failed) {
            self.failed = writeln!(file, "{ms} {who} {what:?}").err();
        }
    }

    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) const fn fingerprint(&self) -> u64 {
        self.fingerprint.0
    }

    /// Ends the file.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match (self.failed.take(), &mut self.file) {
            (Some(error), _) => Err(error),
            (None, Some(file)) => file.flush(),
            (None, None) => Ok(()),
        }
    }
}

/// FNV-1a over the text: no defence, only a comparison.
struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
