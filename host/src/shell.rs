//! What a machine's surroundings must do for it: keep, perform, bring back.

use futures_util::future::LocalBoxFuture;
use wayside_actors::machine::Machine;

/// The surroundings of one machine. It decides nothing.
///
/// A future of this trait must never wait for something that itself waits in
/// [`Address::send`](crate::Address::send): that would be a circle in which nobody moves.
pub trait Shell<M: Machine>: 'static {
    /// A machine made from what is persisted: at the start, and again after a failure.
    /// The error is for the log; it counts as one more failure.
    fn rebuild(&self) -> LocalBoxFuture<'_, Result<M, String>>;

    /// Puts all `Persist` effects of a group on stable storage, in order. All of them are durable
    /// when it resolves with `Ok`; nothing that comes after them is done when it does not.
    fn commit(&self, group: Vec<M::Effect>) -> LocalBoxFuture<'_, Result<(), CommitError>>;

    /// Hands effects over, in order, to whoever does them. The pipeline of this machine waits for it, so it
    /// resolves when they have been taken over, not when their outcome is known.
    fn perform(&self, effects: Vec<M::Effect>) -> LocalBoxFuture<'_, ()>;

    /// The machine was rebuilt after a failure and has forgotten what was not persisted.
    fn restarted(&self);

    /// The machine failed more often than it may and has been given up; its address is closed.
    fn escalate(&self, reason: String);
}

/// A group of effects could not be put on stable storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not store what must be stored first: {0}")]
pub struct CommitError(pub String);
