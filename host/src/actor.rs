//! The actix actor that hosts one machine and brings it back when it fails.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use tokio::sync::Semaphore;
use wayside_actors::{
    machine::{Effects, Machine, Step},
    supervision::{Supervision, Verdict},
    time::Time,
};

use crate::{
    address::{Hold, Post},
    clock::Clock,
    pipeline::{Pipeline, panic_text},
    recorder::Recorder,
    shell::Shell,
};

/// Steps of an event for which room is taken at once: an event of a message leads to this many, and others to fewer.
const STEPS: usize = 3;

pub(crate) struct Hosted<M: Machine, S> {
    name: String,
    shell: Rc<S>,
    clock: Clock,
    room: Arc<Semaphore>,
    recorder: Option<Recorder>,
    pipeline: Rc<Pipeline<M::Effect>>,
    supervision: Supervision,
    /// Missing before the first build and between a failure and the rebuild.
    machine: Option<Box<M>>,
    /// Events that found the pipeline broken; handled first after the rebuild.
    held: Option<(Vec<M::Event>, Hold)>,
    /// When the machine wants to be woken.
    wish: Option<Time>,
    /// The timer that runs, which may be earlier than the wish.
    timer: Option<(Time, SpawnHandle)>,
}

impl<M: Machine + 'static, S: Shell<M>> Hosted<M, S> {
    pub(crate) fn new(
        name: String,
        shell: Rc<S>,
        clock: Clock,
        room: Arc<Semaphore>,
        recorder: Option<Recorder>,
    ) -> Self {
        Self {
            name,
            shell,
            clock,
            room,
            recorder,
            pipeline: Rc::new(Pipeline::new()),
            supervision: Supervision::default(),
            machine: None,
            held: None,
            wish: None,
            timer: None,
        }
    }

    fn step(&mut self, events: Vec<M::Event>, hold: Hold, ctx: &mut Context<Self>) {
        if let Some(reason) = self.pipeline.broken() {
            self.held = Some((events, hold));
            return self.fail(&reason, ctx);
        }
        let now = self.clock.now();
        if let Some(recorder) = &mut self.recorder {
            events.iter().for_each(|event| recorder.record(now, event));
        }
        let machine = self.machine.as_mut().expect("the mailbox waits while there is no machine");
        let mut effects = Effects::with_room(STEPS * events.len());
        // A machine that panicked is dropped, and nothing else sees what is inside it.
        let handled = catch_unwind(AssertUnwindSafe(|| {
            events.into_iter().for_each(|event| machine.handle(now, event, &mut effects));
        }));
        if let Err(panic) = handled {
            return self.fail(&panic_text(&*panic), ctx);
        }
        let steps = effects.take();
        if let Some(at) = last_wish(&steps) {
            self.wake_at(at, ctx);
        }
        self.pipeline.push(steps, hold);
        if self.pipeline.is_long() {
            let pipeline = Rc::clone(&self.pipeline);
            ctx.wait(async move { pipeline.short().await }.into_actor(self));
        }
    }

    /// Drops the machine and brings it back after the back-off, or gives it up.
    fn fail(&mut self, reason: &str, ctx: &mut Context<Self>) {
        self.machine = None;
        self.wish = None;
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        match self.supervision.failed(self.clock.now()) {
            Verdict::RestartIn { ms } => {
                tracing::warn!(actor = self.name, reason, back_off_ms = ms, "restarting a machine");
                self.build(Some(Duration::from_millis(ms)), ctx);
            }
            Verdict::GiveUp => {
                tracing::error!(actor = self.name, reason, "a machine failed too often and is given up");
                self.shell.escalate(format!("{}: {reason}", self.name));
                ctx.stop();
            }
        }
    }

    /// Makes the machine; the mailbox waits meanwhile. `back_off` when it is a rebuild.
    fn build(&mut self, back_off: Option<Duration>, ctx: &mut Context<Self>) {
        let (shell, pipeline) = (Rc::clone(&self.shell), Rc::clone(&self.pipeline));
        let build = async move {
            if let Some(back_off) = back_off {
                // What was wanted before the failure holds, and is part of what the rebuild reads.
                pipeline.idle().await;
                tokio::time::sleep(back_off).await;
            }
            shell.rebuild().await
        };
        let build = build.into_actor(self).map(move |built, actor, ctx| match built {
            Ok(machine) => actor.begin(machine, back_off.is_some(), ctx),
            Err(reason) => actor.fail(&reason, ctx),
        });
        ctx.wait(build);
    }

    fn begin(&mut self, machine: M, rebuilt: bool, ctx: &mut Context<Self>) {
        self.machine = Some(Box::new(machine));
        self.pipeline.mend();
        if let Some(recorder) = &mut self.recorder {
            recorder.begin();
        }
        if rebuilt {
            self.shell.restarted();
        }
        if let Some((events, hold)) = self.held.take() {
            self.step(events, hold, ctx);
        }
    }

    fn wake_at(&mut self, at: Time, ctx: &mut Context<Self>) {
        self.wish = Some(at);
        match &self.timer {
            // It rings early, looks at the wish, and is set again: cheaper than a timer an event.
            Some((rings, _)) if *rings <= at => return,
            Some((_, handle)) => {
                ctx.cancel_future(*handle);
            }
            None => {}
        }
        let delay = Duration::from_millis(at.millis_since(self.clock.now()));
        let handle = ctx.run_later(delay, Self::ring);
        self.timer = Some((at, handle));
    }

    fn ring(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        match self.wish {
            Some(at) if at > self.clock.now() => self.wake_at(at, ctx),
            Some(_) => {
                self.wish = None;
                self.step(vec![M::woken()], Hold::Alarm, ctx);
            }
            None => {}
        }
    }
}

/// Nothing in it is ever pinned.
impl<M: Machine, S> Unpin for Hosted<M, S> {}

impl<M: Machine + 'static, S: Shell<M>> Actor for Hosted<M, S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Weak, so that the actor ends when the last address is dropped.
        let myself = ctx.address().downgrade();
        let on_broken = move || {
            if let Some(myself) = myself.upgrade() {
                myself.do_send(Post::Broken);
            }
        };
        let (pipeline, shell) = (Rc::clone(&self.pipeline), Rc::clone(&self.shell));
        // Not in the actor's context: it has to go on while the actor waits.
        actix::spawn(pipeline.run(shell, on_broken));
        self.build(None, ctx);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.room.close();
        self.pipeline.end(None);
    }
}

impl<M: Machine + 'static, S: Shell<M>> Handler<Post<M::Event>> for Hosted<M, S> {
    type Result = ();

    fn handle(&mut self, post: Post<M::Event>, ctx: &mut Self::Context) {
        match post {
            Post::Events(events, hold) => self.step(events, hold, ctx),
            Post::End(done) => {
                self.pipeline.end(Some(done));
                ctx.stop();
            }
            Post::Broken => {
                // An event may have noticed first; then it is mended by now.
                if let Some(reason) = self.pipeline.broken() {
                    self.fail(&reason, ctx);
                }
            }
        }
    }
}

fn last_wish<E>(steps: &[Step<E>]) -> Option<Time> {
    steps.iter().rev().find_map(|step| match step {
        Step::WakeAt(at) => Some(*at),
        Step::Persist(_) | Step::Do(_) => None,
    })
}
