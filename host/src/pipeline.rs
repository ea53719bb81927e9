//! What machines want done, in the order they wanted it: commits in groups, then the rest.

use std::{cell::RefCell, collections::VecDeque, panic::AssertUnwindSafe, rc::Rc};

use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use wayside_actors::machine::{Machine, Step};

use crate::{address::Hold, shell::Shell};

/// Events whose steps may wait; while there are more the actor takes no further event.
const LENGTH: usize = 4096;

pub(crate) struct Pipeline<E> {
    state: RefCell<State<E>>,
    filled: Notify,
    moved: Notify,
}

struct State<E> {
    waiting: VecDeque<Work<E>>,
    running: bool,
    broken: Option<String>,
    ending: Option<Option<oneshot::Sender<()>>>,
}

/// The steps that came at once.
struct Work<E> {
    steps: Vec<Step<E>>,
    hold: Hold,
}

impl<E> Pipeline<E> {
    pub(crate) fn new() -> Self {
        let state = State { waiting: VecDeque::new(), running: false, broken: None, ending: None };
        Self { state: RefCell::new(state), filled: Notify::new(), moved: Notify::new() }
    }

    pub(crate) fn push(&self, steps: Vec<Step<E>>, hold: Hold) {
        if steps.is_empty() {
            return;
        }
        let mut state = self.state.borrow_mut();
        // What a machine wants after a failed commit rests on something that is not stored.
        if state.broken.is_none() {
            state.waiting.push_back(Work { steps, hold });
            self.filled.notify_one();
        }
    }

    pub(crate) fn is_long(&self) -> bool {
        self.state.borrow().waiting.len() > LENGTH
    }

    /// Resolves when there is room again.
    pub(crate) async fn short(&self) {
        self.until(|state| state.waiting.len() <= LENGTH).await;
    }

    /// Resolves when everything pushed so far is done or given up.
    pub(crate) async fn idle(&self) {
        self.until(|state| state.waiting.is_empty() && !state.running).await;
    }

    /// Why the last commit failed. From then on nothing is done until [`Self::mend`].
    pub(crate) fn broken(&self) -> Option<String> {
        self.state.borrow().broken.clone()
    }

    pub(crate) fn mend(&self) {
        self.state.borrow_mut().broken = None;
    }

    /// Ends [`Self::run`] when all is done, and then tells `done`.
    pub(crate) fn end(&self, done: Option<oneshot::Sender<()>>) {
        let ending = &mut self.state.borrow_mut().ending;
        match ending {
            None => *ending = Some(done),
            Some(first) if first.is_none() => *first = done,
            Some(_) => {}
        }
        self.filled.notify_one();
    }

    /// Does what is pushed until [`Self::end`]. `on_broken` is called when a commit failed.
    pub(crate) async fn run<M, S>(self: Rc<Self>, shell: Rc<S>, on_broken: impl Fn())
    where
        M: Machine<Effect = E>,
        S: Shell<M>,
    {
        loop {
            let group = {
                let mut state = self.state.borrow_mut();
                state.running = !state.waiting.is_empty();
                std::mem::take(&mut state.waiting)
            };
            self.moved.notify_waiters();
            if group.is_empty() {
                if self.has_ended() {
                    return;
                }
                self.filled.notified().await;
                continue;
            }
            // The shell owns nothing of the machine; whatever it left half done, the rebuild reads
            // from stable storage.
            let done = AssertUnwindSafe(do_group(&*shell, group)).catch_unwind().await;
            if let Err(reason) = done.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
                let mut state = self.state.borrow_mut();
                state.broken = Some(reason);
                state.running = false;
                state.waiting.clear();
                drop(state);
                on_broken();
            }
        }
    }

    /// Whether it was asked to end. Tells who asked.
    fn has_ended(&self) -> bool {
        let Some(done) = &mut self.state.borrow_mut().ending else { return false };
        if let Some(done) = done.take() {
            // Whoever asked may have stopped waiting: that is no failure.
            let _ = done.send(());
        }
        true
    }

    async fn until(&self, condition: impl Fn(&State<E>) -> bool) {
        loop {
            let moved = self.moved.notified();
            if condition(&self.state.borrow()) {
                return;
            }
            moved.await;
        }
    }
}

async fn do_group<M, S>(shell: &S, group: VecDeque<Work<M::Effect>>) -> Result<(), String>
where
    M: Machine,
    S: Shell<M>,
{
    let steps: usize = group.iter().map(|work| work.steps.len()).sum();
    let (mut first, mut then) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
    let mut holds = Vec::with_capacity(group.len());
    for work in group {
        holds.push(work.hold);
        for step in work.steps {
            match step {
                Step::Persist(effect) => first.push(effect),
                Step::Do(effect) => then.push(effect),
                Step::WakeAt(_) => {}
            }
        }
    }
    if !first.is_empty() {
        shell.commit(first).await.map_err(|error| error.to_string())?;
    }
    if !then.is_empty() {
        shell.perform(then).await;
    }
    Ok(())
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
