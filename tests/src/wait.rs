//! Waits for something to become so, and says what was last seen when it does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::evidence::last_words;

/// Asks `probe` until it returns a value. An error of the probe counts as "not yet".
///
/// # Errors
/// After `limit`: what was waited for, the probe's last error, and what the hosts said last.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() > limit {
            let error = last.map(|error| format!(": {error:#}")).unwrap_or_default();
            return Err(anyhow!("waited {} s for: {what}{error}{}", limit.as_secs(), last_words()));
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

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn what_never_comes_is_named_with_the_last_error() {
        let mut asked = 0;
        let error = until::<()>("the moon", Duration::from_millis(200), || {
            asked += 1;
            bail!("clouds {asked}")
        });
        let error = error.unwrap_err().to_string();
        assert!(asked > 1 && error.ends_with(&format!("for: the moon: clouds {asked}")), "{error}");
        assert!(until("nothing", Duration::ZERO, || Ok(Some(()))).is_ok());
    }
}
