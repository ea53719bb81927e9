//! Which requests over the mesh were answered: one that somebody recorded is not answered again.

use std::collections::BTreeMap;

use wayside_config::limits::REQUEST_AGE_MS;

/// The most requests that are remembered. A `wayside logs -f` takes two a second, each for five minutes.
pub const MAX_ANSWERED: usize = 8192;

/// The requests that could be sent again: those whose time has not run out. Only well-signed ones are
/// noted, so strangers do not fill it; when it is full more are refused, for what is forgotten could be
/// answered twice.
#[derive(Debug, Default)]
pub struct Answered {
    /// By their hash: the wall-clock millisecond after which they are too old anyway.
    until_ms: BTreeMap<[u8; 32], u64>,
}

/// The device's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Milliseconds since the daemon started, whatever the wall clock did meanwhile.
    pub uptime_ms: u64,
}

/// Why a request is not answered although it is well signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Again {
    /// It was answered before.
    #[error("this request was answered already: ask anew")]
    Answered,
    /// An earlier daemon on this device may have answered it.
    #[error(
        "the request is older than the daemon, which cannot know whether it was answered: ask again; if that does not help, set the clocks right"
    )]
    BeforeStart,
    /// No more can be remembered.
    #[error("{MAX_ANSWERED} requests within five minutes were answered: ask again in some minutes")]
    Full,
}

impl Answered {
    /// Notes a request that is about to be answered.
    ///
    /// # Errors
    /// See [`Again`]: it must not be answered.
    pub fn note(&mut self, request: [u8; 32], issued_ms: u64, now: Now) -> Result<(), Again> {
        if issued_ms < now.wall_ms.saturating_sub(now.uptime_ms) {
            return Err(Again::BeforeStart);
        }
        if self.until_ms.contains_key(&request) {
            return Err(Again::Answered);
        }
        if self.until_ms.len() >= MAX_ANSWERED {
            self.until_ms.retain(|_, until_ms| now.wall_ms <= *until_ms);
        }
        if self.until_ms.len() >= MAX_ANSWERED {
            return Err(Again::Full);
        }
        self.until_ms.insert(request, issued_ms.saturating_add(REQUEST_AGE_MS));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> [u8; 32] {
        wayside_config::hash::sha256(&number.to_be_bytes())
    }

    fn at(wall_ms: u64) -> Now {
        Now { wall_ms, uptime_ms: 1000 }
    }

    #[test]
    fn what_an_earlier_daemon_may_have_answered_is_refused() {
        let mut answered = Answered::default();
        assert_eq!(answered.note(hash(1), 8_999, at(10_000)), Err(Again::BeforeStart));
        assert_eq!(answered.note(hash(1), 9_000, at(10_000)), Ok(()));
        // A clock that was behind when the daemon started, and is right now.
        assert_eq!(answered.note(hash(2), 899_999, at(900_000)), Ok(()));
    }

    #[test]
    fn when_it_is_full_more_are_refused_until_some_are_too_old() {
        let mut answered = Answered::default();
        for number in 0..MAX_ANSWERED {
            assert_eq!(answered.note(hash(number), 5_000, at(5_000)), Ok(()));
        }
        assert_eq!(answered.note(hash(0), 5_000, at(5_000)), Err(Again::Answered));
        let more = hash(MAX_ANSWERED);
        let oldest_until_ms = 5_000 + REQUEST_AGE_MS;
        assert_eq!(answered.note(more, oldest_until_ms, at(oldest_until_ms)), Err(Again::Full));
        assert_eq!(answered.note(more, oldest_until_ms, at(oldest_until_ms + 1)), Ok(()));
        assert_eq!(answered.until_ms.len(), 1);
    }
}
