//! What a store is given to do, and what it must hold after each commit.

use super::*;

/// What a store holds: a queue's acknowledged and last number, and the number of the commit as a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) commit: u64,
    pub(super) queues: [(u64, u64); 3],
}

pub(super) fn name(number: usize) -> Queue {
    queue(["a", "b", "c"][number])
}

/// As many bytes as its queue and number say.
pub(super) fn message_of(number: usize, seq: u64) -> Message {
    let mixed = Dice(seq * 3 + number as u64).next();
    let bytes = if mixed.is_multiple_of(40) { 20_000 } else { mixed % 1200 };
    let mut message = message(seq, bytes as usize);
    message.topic = format!("queue/{number}").into();
    message
}

/// The next commit: small or large, with or without acknowledgements.
pub(super) fn next(held: &Held, dice: &mut Dice) -> (Vec<StoreOp>, Held) {
    let mut after = Held { commit: held.commit + 1, ..*held };
    let mut changes = Vec::new();
    for (number, (acked, last)) in after.queues.iter_mut().enumerate() {
        let count = match dice.below(8) {
            0..4 => 0,
            4..7 => 1 + dice.below(3),
            _ => 1 + dice.below(60),
        };
        for _ in 0..count {
            *last += 1;
            let message = message_of(number, *last);
            changes.push(StoreOp::Append { queue: name(number), seq: *last, message });
        }
        // The first is drained at once, the second later, the third rarely.
        if dice.one_in([2, 10, 60][number]) && *last > 0 {
            *acked = *last - dice.below((*last - *acked).min(20) + 1).min(*last - *acked);
            changes.push(StoreOp::Trim { queue: name(number), upto: *acked });
        }
    }
    let value = after.commit.to_be_bytes().to_vec();
    changes.push(StoreOp::Mark { key: "commit".into(), value });
    (changes, after)
}

/// What a store says of itself, and every message in it compared with what was stored under its number; `before` was
/// acknowledged, `after` was asked for. Numbers may jump after damage was found.
pub(super) fn check(
    store: &SledStore,
    restored: &Restored,
    before: &Held,
    after: &Held,
    may_jump: bool,
) -> Outcome {
    let mut outcome = Outcome { runs: 1, ..Outcome::default() };
    let mark = restored
        .marks
        .first()
        .map_or(0, |(_, value)| u64::from_be_bytes(value.as_slice().try_into().unwrap()));
    let held = if mark == after.commit { after } else { before };
    if mark != held.commit {
        outcome.lost += 1;
    }
    for (number, (acked, last)) in held.queues.iter().enumerate() {
        let queue = name(number);
        let state = restored.queues.iter().find(|(known, _)| *known == queue).map(|(_, state)| *state);
        let state = state.unwrap_or_default();
        // What is between was never given out.
        let jumped = state.last > *last;
        if (jumped && !may_jump) || state.last < *last {
            outcome.misordered += 1;
        }
        if state.acked < *acked {
            outcome.doubled += *acked - state.acked;
        }
        let mut next = acked + 1;
        while next <= *last {
            let Ok(loaded) = store.load(&queue, next, 200, 1 << 20) else { break };
            if loaded.messages.is_empty() || loaded.first_seq > *last {
                break;
            }
            outcome.lost += loaded.first_seq - next;
            for (seq, message) in (loaded.first_seq..).zip(&loaded.messages) {
                outcome.misordered += u64::from(*message != message_of(number, seq));
                next = seq + 1;
            }
        }
        outcome.lost += (*last + 1).saturating_sub(next);
    }
    outcome
}
