//! Which calls are under way, and what becomes of each.

use std::collections::BTreeMap;

use bytes::Bytes;
use wayside_config::workload::ModuleId;

use super::{
    Effect, Event, Failed, MAX_BODY_BYTES, MAX_CALLS, MAX_CALLS_OF_MODULE, MAX_DEADLINE_MS, Undelivered, Why,
    is_method,
};
use crate::{
    machine::{Effects, Machine},
    report::{ModuleState, ModuleStatus},
    time::Time,
};

/// The machine that owns the calls under way.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    modules: BTreeMap<ModuleId, ModuleStatus>,
    waiting: BTreeMap<u64, Waiting>,
    /// What was asked for last.
    alarm: Option<Time>,
}

#[derive(Clone, Debug)]
struct Waiting {
    module: ModuleId,
    until: Time,
    deadline_ms: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A method of this name.
    Method(String),
    /// A restart; how often the module was restarted before, and whether it ran then.
    Restart { restarts: u32, ran: bool },
}

impl Machine for Calls {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Module(module, status) => self.changed(module, status, out),
            Event::ModuleGone(module) => {
                self.modules.remove(&module);
                self.fail_all(Why::Ended, Some(&module), "was taken off this device", out);
            }
            Event::Called { call, module, method, body, deadline_ms } => {
                self.call(now, call, module, method, body, deadline_ms, out);
            }
            Event::Restart { call, module, deadline_ms } => {
                self.restart(now, call, module, deadline_ms, out);
            }
            Event::Undelivered { call, why } => self.undelivered(call, why, out),
            Event::Answered { call, module, answer } => self.answered(call, &module, answer, out),
            Event::ListenerGone => {
                let text = "lost its connection before it answered, for the device's MQTT listener ended: call again";
                self.fail_all(Why::Ended, None, text, out);
            }
            Event::Woken => {
                self.alarm = None;
                self.expire(now, out);
            }
        }
        let first = self.waiting.values().map(|waiting| waiting.until).min();
        if let Some(at) = first.filter(|_| first != self.alarm) {
            out.wake_at(at);
        }
        self.alarm = first;
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Calls {
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one event")]
    fn call(
        &mut self,
        now: Time,
        call: u64,
        module: ModuleId,
        method: String,
        body: Bytes,
        deadline_ms: u64,
        out: &mut Effects<Effect>,
    ) {
        if !is_method(&method) {
            let text =
                format!("`{}` is no name of a method: 1 to 64 of A-Z a-z 0-9 - _ .", method.escape_debug());
            return settle(call, Err(failed(Why::Malformed, text)), out);
        }
        if body.len() > MAX_BODY_BYTES {
            let text = format!("the call has {} bytes, and may have {MAX_BODY_BYTES}", body.len());
            return settle(call, Err(failed(Why::TooLarge, text)), out);
        }
        let what = What::Method(method.clone());
        if self.wait(now, call, &module, deadline_ms, what, out) {
            out.push(Effect::Deliver { call, module, method, body });
        }
    }

    fn restart(
        &mut self,
        now: Time,
        call: u64,
        module: ModuleId,
        deadline_ms: u64,
        out: &mut Effects<Effect>,
    ) {
        let status = self.modules.get(&module);
        let what = What::Restart {
            restarts: status.map_or(0, |status| status.restarts),
            ran: status.is_some_and(|status| status.state == ModuleState::Running),
        };
        if self.wait(now, call, &module, deadline_ms, what, out) {
            out.push(Effect::Restart(module));
        }
    }

    /// Notes a call that may be made; says why not otherwise.
    fn wait(
        &mut self,
        now: Time,
        call: u64,
        module: &ModuleId,
        deadline_ms: u64,
        what: What,
        out: &mut Effects<Effect>,
    ) -> bool {
        let of_module = self.waiting.values().filter(|waiting| waiting.module == *module).count();
        let refusal = if !self.modules.contains_key(module) {
            failed(Why::Absent, format!("this device runs no {module}: see `wayside status`"))
        } else if self.waiting.contains_key(&call) {
            failed(Why::Busy, "a call of this number is under way".to_owned())
        } else if of_module >= MAX_CALLS_OF_MODULE {
            failed(
                Why::Busy,
                format!("{of_module} calls of {module} are under way already: call again later"),
            )
        } else if self.waiting.len() >= MAX_CALLS {
            failed(Why::Busy, format!("{MAX_CALLS} calls are under way on this device: call again later"))
        } else {
            let deadline_ms = deadline_ms.min(MAX_DEADLINE_MS);
            let until = now.plus_millis(deadline_ms);
            self.waiting.insert(call, Waiting { module: module.clone(), until, deadline_ms, what });
            return true;
        };
        settle(call, Err(refusal), out);
        false
    }

    /// A restart is over when the module runs, and has been started anew where it ran before.
    fn changed(&mut self, module: ModuleId, status: ModuleStatus, out: &mut Effects<Effect>) {
        if status.state == ModuleState::Running {
            let is_over = |waiting: &Waiting| match waiting.what {
                What::Restart { restarts, ran } => {
                    waiting.module == module && (!ran || status.restarts != restarts)
                }
                What::Method(_) => false,
            };
            let over: Vec<u64> =
                self.waiting.iter().filter(|(_, waiting)| is_over(waiting)).map(|(call, _)| *call).collect();
            for call in over {
                self.waiting.remove(&call);
                let body = format!("{{\"module\":\"{module}\",\"restarts\":{}}}", status.restarts);
                settle(call, Ok(body.into()), out);
            }
        }
        self.modules.insert(module, status);
    }

    fn undelivered(&mut self, call: u64, why: Undelivered, out: &mut Effects<Effect>) {
        // A restart is not delivered to anybody: of one there is nothing to say.
        let is_method = |waiting: &Waiting| matches!(waiting.what, What::Method(_));
        if !self.waiting.get(&call).is_some_and(is_method) {
            return;
        }
        let Some(waiting) = self.waiting.remove(&call) else { return };
        let (module, state) = (&waiting.module, self.state(&waiting.module));
        let What::Method(method) = &waiting.what else { return };
        let failed = match why {
            Undelivered::NotConnected => failed(
                Why::NotConnected,
                format!("{module} is not connected over MQTT ({state}): see `wayside logs`"),
            ),
            Undelivered::NotSubscribed => failed(
                Why::NoMethod,
                format!(
                    "{module} takes no calls of `{method}`: it subscribes to none (`$wayside/call/+/+`, or under MQTT 5 `$wayside/call/+`)"
                ),
            ),
            Undelivered::TooLarge => {
                failed(Why::TooLarge, format!("the call is larger than the packets that {module} takes"))
            }
            Undelivered::Full => failed(
                Why::Busy,
                format!("{module} does not read what it was sent already: call again later"),
            ),
            Undelivered::Ended => failed(
                Why::Ended,
                format!(
                    "the connection of {module} ended before it answered ({state}): it may have done what was asked, or not"
                ),
            ),
        };
        settle(call, Err(failed), out);
    }

    fn answered(
        &mut self,
        call: u64,
        module: &ModuleId,
        answer: Result<Bytes, Bytes>,
        out: &mut Effects<Effect>,
    ) {
        let is_asked =
            |waiting: &Waiting| waiting.module == *module && matches!(waiting.what, What::Method(_));
        // Late, or a second answer, or to what another one was asked.
        if !self.waiting.get(&call).is_some_and(is_asked) {
            return;
        }
        self.waiting.remove(&call);
        let (Ok(body) | Err(body)) = &answer;
        let outcome = if body.len() > MAX_BODY_BYTES {
            let text = format!("{module} answered with {} bytes, and may with {MAX_BODY_BYTES}", body.len());
            Err(failed(Why::TooLarge, text))
        } else {
            answer.map_err(|reason| Failed { why: Why::Refused, reason: reason.into() })
        };
        settle(call, outcome, out);
    }

    fn expire(&mut self, now: Time, out: &mut Effects<Effect>) {
        let over = |(call, waiting): (&u64, &Waiting)| (waiting.until <= now).then_some(*call);
        let over: Vec<u64> = self.waiting.iter().filter_map(over).collect();
        for call in over {
            let Some(Waiting { module, deadline_ms, what, .. }) = self.waiting.remove(&call) else {
                continue;
            };
            let text = match what {
                What::Method(method) => {
                    out.push(Effect::Withdraw { call, module: module.clone() });
                    format!(
                        "{module} did not answer `{method}` within {deadline_ms} ms: it may have done what was asked, or not; call with a longer --deadline, or see `wayside logs`"
                    )
                }
                What::Restart { .. } => {
                    let state = self.state(&module);
                    format!(
                        "{module} did not run again within {deadline_ms} ms ({state}): see `wayside status`"
                    )
                }
            };
            settle(call, Err(failed(Why::Deadline, text)), out);
        }
    }

    /// Settles all calls of a module, or of all modules' methods: with `text` after the module's name.
    fn fail_all(&mut self, why: Why, of: Option<&ModuleId>, text: &str, out: &mut Effects<Effect>) {
        let is_meant = |waiting: &Waiting| match (of, &waiting.what) {
            (Some(module), _) => waiting.module == *module,
            (None, What::Method(_)) => true,
            (None, What::Restart { .. }) => false,
        };
        let meant: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| is_meant(waiting)).map(|(call, _)| *call).collect();
        for call in meant {
            let Some(waiting) = self.waiting.remove(&call) else { continue };
            settle(call, Err(failed(why, format!("{} {text}", waiting.module))), out);
        }
    }

    /// How the module is, in a few words.
    fn state(&self, module: &ModuleId) -> String {
        match self.modules.get(module) {
            Some(status) if status.problem.is_empty() => format!("it is {}", status.state.name()),
            Some(status) => format!("it is {}: {}", status.state.name(), status.problem),
            None => "it is gone".to_owned(),
        }
    }
}

fn failed(why: Why, text: String) -> Failed {
    Failed { why, reason: text.into_bytes() }
}

fn settle(call: u64, outcome: super::Outcome, out: &mut Effects<Effect>) {
    out.push(Effect::Settled { call, outcome });
}
