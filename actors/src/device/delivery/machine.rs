//! What is sent when, and when it is sent again.

mod sweep;

use super::{
    Effect, Event, Terms,
    window::{Sent, Window},
};
use crate::{
    backoff::Backoff,
    machine::{Effects, Machine},
    message::{MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Message},
    queue::{Endpoint, Queue, StoreOp},
    time::Time,
};

/// The most messages that are sent and not confirmed, at the usual priority.
pub const WINDOW_MESSAGES: usize = 4 * MAX_BATCH_MESSAGES;
/// The most bytes that are sent and not confirmed, at the usual priority, by [`Message::cost_bytes`]. One batch
/// may exceed it.
pub const WINDOW_BYTES: usize = 4 * MAX_BATCH_BYTES;
/// Hearing nothing for this long, a delivery goes back to what was confirmed.
pub const SILENCE: Backoff = Backoff { first_ms: 5_000, cap_ms: 30_000 };
/// Told that the destination has not taken what was sent, a delivery goes back after this long.
pub const REFUSED: Backoff = Backoff { first_ms: 50, cap_ms: 1_000 };
/// The messages of the first batch after going back: when the destination has no room, little is sent in vain.
const PROBE_MESSAGES: usize = 16;
/// Its bytes.
const PROBE_BYTES: usize = 64 << 10;
/// How long to wait when the store has nothing to give although it should, in milliseconds.
const NOT_THERE_MS: u64 = 1_000;

/// The machine of one queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    queue: Queue,
    epoch: u64,
    seed: u64,
    terms: Terms,
    /// Whether the router has said how far the queue is.
    begun: bool,
    acked: u64,
    last: u64,
    /// The number to send next.
    next: u64,
    in_flight: Window,
    /// Since when something waits for a batch to fill.
    gathering_since: Option<Time>,
    /// Everything up to here has waited for its batch.
    released: u64,
    /// When a batch that is not full goes all the same.
    batch_at: Option<Time>,
    /// Messages whose time was over, not told yet.
    expired: u64,
    /// The last message whose time was over.
    expired_upto: u64,
    /// The number that the store was asked for; one question at a time.
    loading: Option<u64>,
    is_up: bool,
    /// Going back so often without progress. The next batch is a small one until there is some.
    fruitless: u32,
    /// When to go back, while something is in flight.
    go_back_at: Option<Time>,
    /// When to ask the store again, which had nothing to give.
    ask_at: Option<Time>,
    /// When to look for what has waited too long, while the destination is away.
    sweep_at: Option<Time>,
    /// The alarm that was asked for and has not rung.
    alarm: Option<Time>,
}

impl Delivery {
    /// A delivery that knows nothing yet of its queue; the router tells. `seed` spreads its repetitions.
    #[must_use]
    pub fn new(queue: Queue, epoch: u64, seed: u64) -> Self {
        let in_flight = match &queue.to {
            Endpoint::Module(_) => Window::open(),
            Endpoint::Device(_) | Endpoint::Cloud => Window::new(),
        };
        Self {
            queue,
            epoch,
            seed,
            terms: Terms::USUAL,
            begun: false,
            acked: 0,
            last: 0,
            next: 1,
            in_flight,
            gathering_since: None,
            released: 0,
            batch_at: None,
            expired: 0,
            expired_upto: 0,
            loading: None,
            is_up: false,
            fruitless: 0,
            go_back_at: None,
            ask_at: None,
            sweep_at: None,
            alarm: None,
        }
    }
}

impl Machine for Delivery {
    type Event = Event;
    type Effect = Effect;

    fn handle(&mut self, now: Time, event: Event, out: &mut Effects<Effect>) {
        match event {
            Event::Appended { acked, last, terms } => {
                self.terms = terms;
                self.in_flight.weigh(terms.priority);
                self.appended(acked, last, out);
            }
            Event::Skipped { upto } => self.settle(upto),
            Event::Up => self.up(),
            Event::Down => {
                self.is_up = false;
                self.forget_in_flight();
            }
            Event::Loaded { from, first_seq, messages, wall_ms } => {
                self.loaded(from, first_seq, messages, wall_ms, now, out);
            }
            Event::Acked { epoch, upto } => {
                if epoch.is_none_or(|epoch| epoch == self.epoch) {
                    self.acked(upto, now, out);
                }
            }
            Event::Woken => {
                self.alarm = None;
                self.awake(now);
            }
        }
        self.load(now, out);
        self.sweep(now, out);
        self.set_alarm(out);
    }

    fn woken() -> Event {
        Event::Woken
    }
}

impl Delivery {
    fn appended(&mut self, acked: u64, last: u64, out: &mut Effects<Effect>) {
        if !self.begun {
            self.begun = true;
            out.push(Effect::AskUp);
        }
        self.last = self.last.max(last);
        self.settle(acked);
    }

    fn up(&mut self) {
        if !self.is_up {
            self.is_up = true;
            self.fruitless = 0;
            self.forget_in_flight();
        }
    }

    fn loaded(
        &mut self,
        from: u64,
        first_seq: u64,
        mut messages: Vec<Message>,
        wall_ms: u64,
        now: Time,
        out: &mut Effects<Effect>,
    ) {
        if self.loading != Some(from) {
            return;
        }
        self.loading = None;
        if !self.is_up {
            return self.swept(from, first_seq, messages, wall_ms, now, out);
        }
        if from > self.next {
            // Asked before it went back.
            return;
        }
        // What was settled while the store read is sent no more.
        let stale = self.next.saturating_sub(first_seq);
        messages.drain(..messages.len().min(usize::try_from(stale).unwrap_or(usize::MAX)));
        self.next = self.next.max(first_seq);
        let expired = self.drop_expired(&mut messages, wall_ms);
        if messages.is_empty() {
            if first_seq == from && stale == 0 && !expired {
                self.ask_at = Some(now.plus_millis(NOT_THERE_MS));
            } else if self.in_flight.is_empty() {
                self.confirm(self.next - 1, out);
            }
            return;
        }
        let sent = Sent {
            last: self.next + messages.len() as u64 - 1,
            messages: messages.len(),
            bytes: messages.iter().map(Message::cost_bytes).sum(),
            at: now,
        };
        out.push(Effect::Send {
            epoch: self.epoch,
            after: self.in_flight.last().unwrap_or_default(),
            first_seq: self.next,
            messages,
        });
        self.next = sent.last + 1;
        self.last = self.last.max(sent.last);
        if self.in_flight.is_empty() {
            self.listen(now);
        }
        self.in_flight.sent(sent);
    }

    /// Leaves out what has waited longer than it may, up to the first message that has not; a later one that has
    /// ends the batch, and is left out of the next.
    fn drop_expired(&mut self, messages: &mut Vec<Message>, wall_ms: u64) -> bool {
        let Terms { ttl_ms, has_come, .. } = self.terms;
        let never = ttl_ms.is_none() && messages.iter().all(|message| message.properties.is_empty());
        if never || has_come {
            return false;
        }
        // The smaller of what its route and what its publisher says.
        let is_over = |message: &Message| {
            let ttl_ms = ttl_ms.into_iter().chain(message.expiry_ms()).min();
            ttl_ms.is_some_and(|ttl_ms| message.accepted_ms.saturating_add(ttl_ms) <= wall_ms)
        };
        let head = messages.iter().take_while(|message| is_over(message)).count();
        messages.drain(..head);
        messages.truncate(messages.iter().position(is_over).unwrap_or(messages.len()));
        let before = self.next - 1;
        self.next += head as u64;
        // What was left out before a going back is counted already.
        self.expired += (self.next - 1).saturating_sub(before.max(self.expired_upto));
        self.expired_upto = self.expired_upto.max(if head > 0 { self.next - 1 } else { 0 });
        head > 0
    }

    fn acked(&mut self, upto: u64, now: Time, out: &mut Effects<Effect>) {
        if upto > self.last {
            // Of another life of this queue.
            return;
        }
        if upto <= self.acked {
            return self.refused(now);
        }
        if !matches!(self.queue.to, Endpoint::Module(_)) {
            // What a module has not read yet stands in nobody's way.
            self.in_flight.confirmed(upto, now);
        }
        self.settle(upto);
        let mut upto = upto;
        if self.in_flight.is_empty() {
            // What the store lost just behind is settled as well.
            upto = self.next - 1;
        }
        self.confirm(upto, out);
        self.fruitless = 0;
        if !self.in_flight.is_empty() {
            self.listen(now);
        }
    }

    /// The destination said again what was known: it missed a batch, or has no room.
    fn refused(&mut self, now: Time) {
        if let Some(at) = self.go_back_at {
            self.go_back_at = Some(at.min(now.plus_millis(REFUSED.wait_ms(self.fruitless))));
        }
    }

    /// Sets how long the silence may last. A module's session cannot lose anything without being
    /// lost itself, and a slow module is not to get everything twice.
    fn listen(&mut self, now: Time) {
        let at = now.plus_millis(SILENCE.jittered_ms(self.fruitless, self.seed));
        self.go_back_at = (!matches!(self.queue.to, Endpoint::Module(_))).then_some(at);
    }

    fn awake(&mut self, now: Time) {
        if self.go_back_at.is_some_and(|at| at <= now) {
            self.fruitless = self.fruitless.saturating_add(1);
            self.forget_in_flight();
        }
        self.ask_at = self.ask_at.filter(|at| now < *at);
    }

    /// Everything up to `upto` needs no sending any more.
    fn settle(&mut self, upto: u64) {
        self.acked = self.acked.max(upto);
        self.last = self.last.max(self.acked);
        self.next = self.next.max(self.acked + 1);
        self.in_flight.settle(self.acked);
        if self.in_flight.is_empty() {
            self.go_back_at = None;
        }
    }

    fn confirm(&mut self, upto: u64, out: &mut Effects<Effect>) {
        self.settle(upto);
        out.persist(Effect::Store(StoreOp::Trim { queue: self.queue.clone(), upto }));
        out.push(Effect::Trimmed { upto, expired: std::mem::take(&mut self.expired) });
    }

    fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        self.go_back_at = None;
        self.next = self.acked + 1;
    }

    /// Asks the store for the next batch, when there is one and the window has room for it.
    fn load(&mut self, now: Time, out: &mut Effects<Effect>) {
        // Nothing gathers while nothing can be sent.
        self.batch_at = None;
        if !self.is_up || self.loading.is_some() || self.ask_at.is_some() || self.gathers(now) {
            return;
        }
        let probes = self.fruitless > 0;
        if probes && !self.in_flight.is_empty() {
            return;
        }
        let (most, most_bytes) =
            if probes { (PROBE_MESSAGES, PROBE_BYTES) } else { (MAX_BATCH_MESSAGES, MAX_BATCH_BYTES) };
        let Some((messages, bytes)) = self.in_flight.room() else { return };
        self.loading = Some(self.next);
        out.push(Effect::Load {
            from: self.next,
            max_messages: most.min(messages),
            max_bytes: most_bytes.min(bytes),
        });
    }

    /// Whether there is nothing to send, or not enough of it yet.
    fn gathers(&mut self, now: Time) -> bool {
        if self.next > self.last {
            self.gathering_since = None;
            return true;
        }
        let Some(rule) = self.terms.batch.filter(|_| self.next > self.released) else { return false };
        let due = self.gathering_since.get_or_insert(now).plus_millis(rule.within_ms);
        let gathers = self.last - self.next + 1 < u64::from(rule.messages) && now < due;
        if gathers {
            self.batch_at = Some(due);
        } else {
            // What goes now goes whole, and goes again if it is lost, without waiting anew.
            self.released = self.last;
            self.gathering_since = None;
        }
        gathers
    }

    /// Asks to be woken when there is something to wait for and no earlier alarm is set: an alarm
    /// that comes early sets the next one, which is cheaper than one a batch.
    fn set_alarm(&mut self, out: &mut Effects<Effect>) {
        let wish = [self.go_back_at, self.ask_at, self.batch_at, self.sweep_at].into_iter().flatten().min();
        if let Some(at) = wish.filter(|at| self.alarm.is_none_or(|alarm| *at < alarm)) {
            self.alarm = Some(at);
            out.wake_at(at);
        }
    }
}
