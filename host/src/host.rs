//! Starts actors: one generic actix actor for every machine there is.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::PathBuf, rc::Rc, sync::Arc};

use actix::Actor;
use wayside_actors::machine::Machine;

use crate::{
    actor::Hosted,
    address::{Address, room},
    clock::Clock,
    recorder::Recorder,
    shell::Shell,
    traffic::Traffic,
};

/// Where a process's actors are started. One a process: what its actors tell each other is
/// counted together.
#[derive(Debug)]
pub struct Host {
    clock: Clock,
    traffic: Arc<Traffic>,
    recordings: Option<(PathBuf, u64)>,
}

impl Host {
    /// A host whose actors live by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, traffic: Arc::new(Traffic::default()), recordings: None }
    }

    /// Records the events of every actor in `folder`, at most `max_bytes` a life of a machine. The folder is
    /// made when it is missing, for this user alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn recording(mut self, folder: PathBuf, max_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        self.recordings = Some((folder, max_bytes));
        Ok(self)
    }

    /// The clock of this host's actors.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Starts an actor on this thread's actix system. Its machine comes from [`Shell::rebuild`];
    /// events that arrive before that wait. It ends by [`Address::end`], when it is given up, or
    /// when the last clone of its address is dropped.
    pub fn spawn<M, S>(&self, name: impl Into<String>, shell: S) -> Address<M::Event>
    where
        M: Machine + 'static,
        S: Shell<M>,
    {
        let (name, room) = (name.into(), room());
        let recorder =
            self.recordings.as_ref().map(|(folder, max_bytes)| Recorder::new(folder, &name, *max_bytes));
        let hosted = Hosted::new(name, Rc::new(shell), self.clock, Arc::clone(&room), recorder);
        let actor = hosted.start();
        Address::new(actor.recipient(), room, Arc::clone(&self.traffic))
    }
}
