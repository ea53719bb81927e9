//! Whether two machines have one device's key, by the starts of its daemon.

use std::collections::VecDeque;

/// Starts that are remembered of a device.
const REMEMBERED: usize = 8;

/// So many returns to an earlier start are a second machine. One alone may be a greeting that was long under way.
const RETURNS: u8 = 2;

/// The starts that a device greeted with, by their numbers, the newest last.
#[derive(Debug, Default)]
pub(super) struct Runs {
    known: VecDeque<u64>,
    returns: u8,
}

impl Runs {
    /// Takes the number of a greeting; 0 for a device that tells none, which after one that tells it is a daemon of its own. `true` when a daemon is back after another had taken its
    /// place, and not for the first time: so both run.
    pub(super) fn greeted(&mut self, run: u64) -> bool {
        if (run == 0 && self.known.is_empty()) || self.known.back() == Some(&run) {
            return false;
        }
        if let Some(at) = self.known.iter().position(|known| *known == run) {
            self.known.remove(at);
            self.known.push_back(run);
            self.returns = self.returns.saturating_add(1);
            return self.returns >= RETURNS;
        }
        if self.known.len() == REMEMBERED {
            self.known.pop_front();
        }
        self.known.push_back(run);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_come_by_turns_are_noticed_and_one_that_starts_again_is_not() {
        let told = |runs: &[u64]| {
            let mut known = Runs::default();
            runs.iter().map(|run| known.greeted(*run)).collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]), [false; 12]);
        assert_eq!(told(&[0, 0, 0, 0]), [false; 4]);
        // Before and after an upgrade, and one that tells none so as not to be noticed.
        assert_eq!(told(&[0, 0, 1, 2]), [false; 4]);
        assert_eq!(told(&[1, 0, 1, 0, 1]), [false, false, false, true, true]);
        assert_eq!(told(&[1, 2, 1, 2, 2, 3]), [false, false, false, true, false, false]);
        // One that starts again and again beside another.
        assert_eq!(told(&[1, 2, 1, 3, 1]), [false, false, false, false, true]);
        // A greeting that came late.
        assert_eq!(told(&[1, 2, 1, 2, 3])[..3], [false; 3]);
    }
}
