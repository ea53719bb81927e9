//! Stands between a device and the container engine, so that an engine can hang or be gone for one device alone.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
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
    /// Both ends of all connections.
    open: Vec<UnixStream>,
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
        let state = State { mode: Mode::Passing, open: Vec::new(), is_over: false };
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
        for stream in self.open.drain(..) {
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
        {
            let mut state = self.state();
            state.open.extend([device.try_clone()?, engine.try_clone()?]);
            if matches!(state.mode, Mode::Refusing | Mode::Gone) {
                state.end_all();
            }
        }
        let (shared, from, to) = (Arc::clone(self), engine.try_clone()?, device.try_clone()?);
        let answers = thread::spawn(move || shared.carry(from, to));
        self.carry(device.try_clone()?, engine);
        // A panic there ends this connection as well.
        let _ = answers.join();
        Ok(())
    }

    /// Carries what one says to the other until it says no more.
    fn carry(&self, mut from: UnixStream, mut to: UnixStream) {
        let mut part = [0; 16 * 1024];
        loop {
            match from.read(&mut part) {
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
