//! Stands between a device and the container engine, so that an engine can hang or be gone for one device alone.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::engine::SOCKET;

/// Between two looks for a connection or another mode.
const LOOK: Duration = Duration::from_millis(10);

/// How the engine seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Passing,
    /// It takes connections and says nothing, also on those that are open; what it was told it hears afterwards.
    Hanging,
    /// Its connections end, and it takes no others, though its socket is there: as after a kill.
    Refusing,
    /// As [`Mode::Refusing`], and its socket is gone: as after a stop.
    Gone,
}

/// On which side of a change at the engine the device is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The engine has not heard of it.
    Before,
    /// The engine has done it, and the device has not heard so.
    After,
}

/// Catches the device at the nth change that it asks for.
#[derive(Clone, Copy, Debug)]
struct Trap {
    /// Changes until then, that one included.
    left: u64,
    side: Side,
    has_caught: bool,
}

/// A socket `docker.sock` in a folder, behind which the engine is. Gone when dropped.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    trap: Option<Trap>,
    /// Changes that were asked for.
    changes: u64,
    /// Both ends of all connections, by their number.
    open: BTreeMap<u64, [UnixStream; 2]>,
    /// How many there were.
    connections: u64,
    is_over: bool,
}

impl Relay {
    /// A relay in this folder.
    ///
    /// # Errors
    /// When no socket can be made there.
    pub fn start(folder: &Path) -> Result<Self> {
        let path = folder.join("docker.sock");
        let listener = listen(&path)?;
        let state = State {
            mode: Mode::Passing,
            trap: None,
            changes: 0,
            open: BTreeMap::new(),
            connections: 0,
            is_over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&path, Some(listener)))
        };
        Ok(Self { folder: folder.to_owned(), shared, accepting: Some(accepting) })
    }

    /// The folder, as a device is to see it.
    #[must_use]
    pub fn folder(&self) -> String {
        self.folder.to_string_lossy().into_owned()
    }

    /// From now on it seems so.
    pub fn seem(&self, mode: Mode) {
        let mut state = self.shared.state();
        state.mode = mode;
        if matches!(mode, Mode::Refusing | Mode::Gone) {
            state.end_all();
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Changes that the device has asked the engine for: requests that are POST or DELETE.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.state().changes
    }

    /// Catches the device at the nth change from now on, counted from 1. It waits there for an answer, until it is killed.
    pub fn set_trap(&self, nth: u64, side: Side) {
        self.shared.state().trap = Some(Trap { left: nth, side, has_caught: false });
    }

    /// Whether it is caught within this time. The trap is gone then.
    #[must_use]
    pub fn has_caught(&self, within: Duration) -> bool {
        let is_waiting = |state: &mut State| state.trap.is_some_and(|trap| !trap.has_caught);
        let waited = self.shared.changed.wait_timeout_while(self.shared.state(), within, is_waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.trap.take().is_some_and(|trap| trap.has_caught)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.seem(Mode::Gone);
        if self.accepting.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the relay of {} panicked", self.folder.display());
        }
    }
}

impl State {
    fn end_all(&mut self) {
        for stream in std::mem::take(&mut self.open).into_values().flatten() {
            // One that has ended by itself is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the engine hangs. Whether it is there then.
    fn passes(&self) -> bool {
        let state = self.changed.wait_while(self.state(), |state| state.mode == Mode::Hanging);
        state.unwrap_or_else(PoisonError::into_inner).mode == Mode::Passing
    }

    fn accept(self: &Arc<Self>, path: &Path, mut listener: Option<UnixListener>) {
        loop {
            let (mode, is_over) = {
                let state = self.state();
                (state.mode, state.is_over)
            };
            match (mode, &listener) {
                (Mode::Passing | Mode::Hanging, Some(open)) => match open.accept() {
                    Ok((device, _)) => self.connect(device),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => eprintln!("{}: {error}", path.display()),
                },
                (Mode::Passing | Mode::Hanging, None) => match listen(path) {
                    Ok(again) => listener = Some(again),
                    Err(error) => eprintln!("{}: {error:#}", path.display()),
                },
                (Mode::Refusing, _) => listener = None,
                (Mode::Gone, _) => {
                    listener = None;
                    // It may not be there.
                    let _ = fs::remove_file(path);
                }
            }
            if is_over {
                return;
            }
            thread::sleep(LOOK);
        }
    }

    /// Serves a connection on threads of its own.
    fn connect(self: &Arc<Self>, device: UnixStream) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            if let Err(error) = shared.serve(&device) {
                eprintln!("a connection to the engine: {error:#}");
            }
            // One that has ended by itself is as good.
            let _ = device.shutdown(Shutdown::Both);
        });
    }

    fn serve(self: &Arc<Self>, device: &UnixStream) -> Result<()> {
        device.set_nonblocking(false)?;
        if !self.passes() {
            return Ok(());
        }
        let engine = UnixStream::connect(SOCKET)?;
        let number = {
            let mut state = self.state();
            let number = state.connections;
            state.connections += 1;
            state.open.insert(number, [device.try_clone()?, engine.try_clone()?]);
            if matches!(state.mode, Mode::Refusing | Mode::Gone) {
                state.end_all();
            }
            number
        };
        let (shared, from, to) = (Arc::clone(self), engine.try_clone()?, device.try_clone()?);
        let is_caught = Arc::new(AtomicBool::new(false));
        let is_caught_too = Arc::clone(&is_caught);
        let answers = thread::spawn(move || {
            shared.carry(from, to, |_| {
                let is_caught = is_caught_too.load(Ordering::SeqCst);
                if is_caught {
                    shared.caught();
                }
                !is_caught
            });
        });
        self.carry(device.try_clone()?, engine, |part| match self.passing(part) {
            None => true,
            Some(Side::After) => {
                is_caught.store(true, Ordering::SeqCst);
                true
            }
            Some(Side::Before) => {
                self.caught();
                false
            }
        });
        // A panic there ends this connection as well.
        let _ = answers.join();
        self.state().open.remove(&number);
        Ok(())
    }

    /// A part of what the device says goes by. Where it is caught, if it is there.
    fn passing(&self, part: &[u8]) -> Option<Side> {
        // A request is sent when the one before was answered: a head is at the beginning of what is read.
        if ![&b"POST "[..], b"DELETE "].iter().any(|method| part.starts_with(method)) {
            return None;
        }
        let mut state = self.state();
        state.changes += 1;
        let trap = state.trap.as_mut().filter(|trap| trap.left > 0)?;
        trap.left -= 1;
        (trap.left == 0).then_some(trap.side)
    }

    fn caught(&self) {
        if let Some(trap) = &mut self.state().trap {
            trap.has_caught = true;
        }
        self.changed.notify_all();
    }

    /// Carries what one says to the other until it says no more, or is kept from going on.
    fn carry(&self, mut from: UnixStream, mut to: UnixStream, passes: impl Fn(&[u8]) -> bool) {
        let mut part = [0; 16 * 1024];
        loop {
            match from.read(&mut part) {
                Ok(len @ 1..) if !passes(&part[..len]) => {
                    // The other hears nothing more, not even of an end, before this one has ended.
                    while matches!(from.read(&mut part), Ok(1..)) {}
                    let _ = to.shutdown(Shutdown::Both);
                    return;
                }
                Ok(len @ 1..) if self.passes() && to.write_all(&part[..len]).is_ok() => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.passes();
        // One that has ended by itself is as good.
        let _ = to.shutdown(Shutdown::Write);
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    // What one before has left would be in the way.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
