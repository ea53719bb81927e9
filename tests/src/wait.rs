//! Waits for something to become so, and says what was last seen when it does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Asks `probe` until it returns a value. An error of the probe counts as "not yet".
///
/// # Errors
/// After `limit`: what was waited for and the probe's last error.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() > limit {
            let waited = format!("waited {} s for: {what}", limit.as_secs());
            return match last {
                Some(error) => Err(error).context(waited),
                None => bail!(waited),
            };
        }
        thread::sleep(Duration::from_millis(150));
    }
}

/// [`until`] for a condition.
///
/// # Errors
/// As [`until`].
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(probe()?.then_some(())))
}
