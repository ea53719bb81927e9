//! What a group of effects leads to, said once.

use super::{Event, Out, mqtt};
use crate::device::{
    delivery,
    io::{self, Io},
};

/// The same for less: what several effects say of one thing, done together, is said once.
///
/// Of how far a queue is, the last word holds all that the earlier ones said, unless the queue's actor ended in between. Of tickets one
/// list is made. Nothing else is moved, and what is said once is said where it was said first; so all effects must be of one group,
/// whose persist steps are done.
#[must_use]
pub fn condensed(outs: impl IntoIterator<Item = Out>) -> Vec<Out> {
    let mut list: Vec<Out> = Vec::with_capacity(16);
    let (mut accepted, mut appended) = (None, Vec::<usize>::new());
    for out in outs {
        match out {
            Out::Io(Io::Mqtt(io::Mqtt::Accept { tickets })) => {
                let first = accepted.and_then(|at: usize| list.get_mut(at));
                if let Some(Out::Io(Io::Mqtt(io::Mqtt::Accept { tickets: first }))) = first {
                    first.extend(tickets);
                } else {
                    accepted = Some(list.len());
                    list.push(mqtt(io::Mqtt::Accept { tickets }));
                }
            }
            Out::Tell(Event::Delivery(queue, event @ delivery::Event::Appended { .. })) => {
                let is_same = |at: &usize| matches!(list.get(*at), Some(Out::Tell(Event::Delivery(other, _))) if *other == queue);
                let before = appended.iter().copied().find(is_same);
                let out = Out::Tell(Event::Delivery(queue, event));
                match before.and_then(|at| list.get_mut(at)) {
                    Some(before) => *before = out,
                    None => {
                        appended.push(list.len());
                        list.push(out);
                    }
                }
            }
            out @ Out::End(_) => {
                appended.clear();
                list.push(out);
            }
            out @ (Out::Tell(_) | Out::Io(_)) => list.push(out),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{delivery::Terms, wiring::Actor},
        queue::{Endpoint, Queue},
    };

    fn appended(route: &str, last: u64) -> Out {
        let event = delivery::Event::Appended { acked: 0, last, terms: Terms::USUAL };
        Out::Tell(Event::Delivery(Queue::new(route, Endpoint::Cloud), event))
    }

    fn accept(tickets: &[u64]) -> Out {
        mqtt(io::Mqtt::Accept { tickets: tickets.into() })
    }

    #[test]
    fn what_is_said_of_one_thing_is_said_once() {
        let refuse = mqtt(io::Mqtt::Refuse { ticket: 2, reason: "full".into() });
        let outs = vec![
            accept(&[1]),
            appended("w/a", 1),
            refuse.clone(),
            accept(&[3]),
            appended("w/a", 2),
            appended("w/b", 1),
            accept(&[4]),
        ];
        let expected = [accept(&[1, 3, 4]), appended("w/a", 2), refuse, appended("w/b", 1)];
        assert_eq!(condensed(outs), expected);
    }

    #[test]
    fn a_queue_that_ended_in_between_begins_anew() {
        let end = Out::End(Actor::Delivery(Queue::new("w/a", Endpoint::Cloud)));
        let outs = vec![appended("w/a", 1), end, appended("w/a", 7)];
        assert_eq!(condensed(outs.clone()), outs);
    }
}
