//! What the store is told of a session, and what goes on once it has it.

use super::{Answer, Kept, MqttEvent, Session};

impl Session {
    /// The changes of these tickets are on stable storage.
    pub(in crate::mqtt) fn accept(&mut self, tickets: &[u64]) {
        for ticket in tickets {
            if let Some((_, stored)) = self.storing.take_if(|(storing, _)| storing == ticket) {
                self.stored = Some(stored);
            }
            if self.keeping.take_if(|keeping| keeping == ticket).is_some() {
                self.outbox.kept();
            }
            if let Some(link) = &mut self.link {
                link.pending.answer(*ticket, Answer::Accepted);
            }
        }
        self.settle();
    }

    /// The ticket's change is refused.
    pub(in crate::mqtt) fn refuse(&mut self, ticket: u64, reason: String) {
        self.storing.take_if(|(storing, _)| *storing == ticket);
        self.answer(ticket, Answer::Refused(reason));
    }

    /// Tells the store what of QoS 2 goes on once it knows.
    pub(super) fn keep_flights(&mut self) {
        if self.keeping.is_some() {
            return;
        }
        if let Some(kept) = self.outbox.take_change() {
            let (ticket, module) = (self.tickets.next(), self.module.clone());
            self.keeping = Some(ticket);
            self.events.push_back(MqttEvent::Flights { ticket, module, kept });
        }
    }

    /// What a mark for the present state would hold.
    pub(super) fn wanted(&self) -> Option<Vec<u8>> {
        self.lasting.is_some().then(|| self.kept().encode())
    }

    pub(super) fn kept(&self) -> Kept {
        let (client_id, expiry_s) = self
            .lasting
            .as_ref()
            .map(|lasting| (lasting.client_id.clone(), lasting.expiry_s))
            .unwrap_or_default();
        Kept { client_id, expiry_s, subscriptions: self.subscriptions.clone() }
    }

    pub(super) fn store(&mut self, wanted: Option<Vec<u8>>) -> u64 {
        let ticket = self.tickets.next();
        self.stored = None;
        self.storing = Some((ticket, wanted.clone()));
        let module = self.module.clone();
        self.events.push_back(MqttEvent::Session { ticket, module, kept: wanted });
        ticket
    }
}
