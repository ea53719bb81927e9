//! Whether a session lives. Zenoh may fail inside its own tasks: a panic there, while it holds a lock, leaves a session through which
//! nothing goes and of which nothing is said. It answers a question about this device's own token, or it does not live.

use std::time::{Duration, Instant};

use tokio::{task::spawn_blocking, time::timeout};
use wayside_actors::backoff::Backoff;
use zenoh::{Session, Wait};

/// For an answer. Zenoh itself waits up to ten seconds for a neighbour that says nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Until a session is opened again that failed, by how many failed in a row.
const OPEN_AGAIN: Backoff = Backoff { first_ms: 2_000, cap_ms: 60_000 };

/// A session that has lived for so long is sound, and it is no problem any more that others failed before it.
const SOUND: Duration = Duration::from_secs(600);

/// What was felt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It lives.
    Beats,
    /// No answer came in time: it may have much to do.
    Late,
    /// It does not live, in words.
    None(String),
}

/// Sessions in a row that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: u32,
    last: String,
}

/// Asks the session for the token `key`, on a thread of its own: what fails inside may fail or stay there.
pub(super) async fn feel(session: Session, key: String) -> Pulse {
    felt(move || ask(&session, &key), 2 * ANSWER_WITHIN).await
}

async fn felt(ask: impl FnOnce() -> Pulse + Send + 'static, within: Duration) -> Pulse {
    match timeout(within, spawn_blocking(ask)).await {
        Ok(Ok(pulse)) => pulse,
        Ok(Err(error)) => Pulse::None(error.to_string()),
        Err(_) => Pulse::None("it took a question and does not come back".into()),
    }
}

fn ask(session: &Session, key: &str) -> Pulse {
    if session.is_closed() {
        return Pulse::None("it is closed".into());
    }
    let replies = match session.liveliness().get(key).timeout(ANSWER_WITHIN).wait() {
        Ok(replies) => replies,
        Err(error) => return Pulse::None(error.to_string()),
    };
    let until = Instant::now() + ANSWER_WITHIN + Duration::from_secs(1);
    loop {
        match replies.recv_deadline(until) {
            Ok(Some(reply)) if reply.result().is_ok() => {}
            Ok(Some(_) | None) => return Pulse::Late,
            // All that there is was told.
            Err(_) => return Pulse::Beats,
        }
    }
}

impl Failures {
    /// One more. Gives how long to wait.
    pub(super) fn add(&mut self, reason: String) -> Duration {
        let wait = OPEN_AGAIN.wait_ms(self.count);
        self.count += 1;
        self.last = reason;
        Duration::from_millis(wait)
    }

    /// A session has lived for so long.
    pub(super) fn lived(&mut self, so_long: Duration) {
        if so_long >= SOUND {
            self.count = 0;
        }
    }

    /// For a person; `None` when all is well.
    pub(super) fn problem(&self) -> Option<String> {
        (self.count > 0).then(|| {
            format!(
                "the mesh failed inside and was opened again, {} time(s) in a row; the last time: {}; please report this",
                self.count, self.last
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_or_does_not_come_back_does_not_live() {
        let soon = Duration::from_millis(200);
        assert_eq!(felt(|| Pulse::Beats, soon).await, Pulse::Beats);
        // What is said of a panic may take a while on a busy machine.
        let panics = felt(|| panic!("poisoned"), Duration::from_secs(30)).await;
        let Pulse::None(reason) = panics else { panic!("it lives") };
        assert!(reason.contains("poisoned"), "{reason}");
        let stuck = || {
            std::thread::sleep(Duration::from_millis(600));
            Pulse::Beats
        };
        assert!(matches!(felt(stuck, soon).await, Pulse::None(_)));
    }

    #[test]
    fn failures_are_a_problem_until_a_session_has_lived_and_are_not_hurried() {
        let mut failures = Failures::default();
        assert_eq!(failures.problem(), None);
        let waits: Vec<_> = (0..8).map(|_| failures.add("poisoned".into()).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        failures.lived(SOUND / 2);
        let problem = failures.problem().unwrap();
        assert!(problem.contains("8 time(s)") && problem.contains("poisoned"), "{problem}");
        failures.lived(SOUND);
        assert_eq!(failures.problem(), None);
        assert_eq!(failures.add("again".into()).as_secs(), 2);
    }
}
