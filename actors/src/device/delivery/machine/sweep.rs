//! What has waited too long goes also while the destination is away: its room is for what comes.

use super::{Delivery, Effect, Effects, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Message, Time};

/// Between two looks at the oldest messages, at least and at most, in milliseconds. At most, for the wall clock may be set.
const SWEEP_MS: (u64, u64) = (1_000, 60_000);

impl Delivery {
    /// Looks at the oldest messages when their time may be over.
    pub(super) fn sweep(&mut self, now: Time, out: &mut Effects<Effect>) {
        let Some(ttl_ms) = self.terms.ttl_ms.filter(|_| !self.terms.has_come) else {
            self.sweep_at = None;
            return;
        };
        if self.is_up || !self.begun || self.acked >= self.last {
            self.sweep_at = None;
            return;
        }
        let at = *self.sweep_at.get_or_insert(now.plus_millis(ttl_ms.clamp(SWEEP_MS.0, SWEEP_MS.1)));
        if at > now {
            return;
        }
        if self.loading.is_some() {
            self.sweep_at = Some(now.plus_millis(SWEEP_MS.0));
        } else {
            self.sweep_at = None;
            self.loading = Some(self.acked + 1);
            out.push(Effect::Load {
                from: self.acked + 1,
                max_messages: MAX_BATCH_MESSAGES,
                max_bytes: MAX_BATCH_BYTES,
            });
        }
    }

    /// The oldest messages, while the destination is away.
    pub(super) fn swept(
        &mut self,
        from: u64,
        first_seq: u64,
        mut messages: Vec<Message>,
        wall_ms: u64,
        now: Time,
        out: &mut Effects<Effect>,
    ) {
        let Some(ttl_ms) = self.terms.ttl_ms.filter(|_| from == self.acked + 1) else {
            // Asked for while it could be sent, or settled meanwhile.
            return;
        };
        self.next = self.next.max(first_seq);
        self.drop_expired(&mut messages, wall_ms);
        if self.next - 1 > self.acked {
            self.confirm(self.next - 1, out);
        }
        let left_ms = match messages.first() {
            Some(oldest) => oldest.accepted_ms.saturating_add(ttl_ms).saturating_sub(wall_ms),
            None => 0,
        };
        self.sweep_at = Some(now.plus_millis(left_ms.clamp(SWEEP_MS.0, SWEEP_MS.1)));
        if messages.is_empty() && first_seq < self.next {
            // All of them: there may be more.
            self.sweep_at = Some(now);
        }
    }
}
