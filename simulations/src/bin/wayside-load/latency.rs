//! Times from publish to arrival.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, by the clock of the machine: clients on one machine agree on it.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The percentiles of values in microseconds, in milliseconds; 0 of none. Sorts the values.
pub(crate) fn percentiles<const N: usize>(values_us: &mut [u32], wanted: [usize; N]) -> [f64; N] {
    values_us.sort_unstable();
    wanted.map(|percent| {
        let at = (values_us.len() * percent / 100).min(values_us.len().saturating_sub(1));
        values_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let mut values: Vec<u32> = (1..=100).rev().map(|ms| ms * 1000).collect();
        assert_eq!(percentiles(&mut values, [50, 99]), [51.0, 100.0]);
        assert_eq!(percentiles(&mut [], [50]), [0.0]);
    }
}
