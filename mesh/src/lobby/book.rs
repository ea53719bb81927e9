//! Who is heard on the LAN: bounded in entries, in bytes and in what verifying costs. Pure: the time comes as an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use wayside_config::{hello::Hello, identity::DeviceId};

/// Devices that are not members, at most. One more is not taken in before another has been silent for [`SILENT_MS`].
const STRANGERS: usize = 256;

/// A device that says nothing for so long is gone, in milliseconds.
pub(super) const SILENT_MS: u64 = 16_000;

/// Hellos whose signature is looked at in a second: of members, and of all others.
const MEMBERS_PER_SECOND: u32 = 400;
const STRANGERS_PER_SECOND: u32 = 100;

/// Of one address, so that one that says much leaves room for the others.
const ADDRESS_PER_SECOND: u32 = 20;

/// Of one member, from the address at which it was heard last, beside all those: it says no more than four.
const MEMBER_PER_SECOND: u32 = 5;

/// How often two runs with one key have to take turns until they count as two devices. One that was only started again takes one.
const TURNS: u32 = 3;

/// A device that is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What it said last.
    pub hello: Hello,
    /// Its sealed grant, unverified.
    pub grant: Option<Vec<u8>>,
    /// Where from.
    pub from: Ipv4Addr,
    /// Whether two devices say to be this one, and have its key.
    pub is_cloned: bool,
}

#[derive(Debug)]
struct Entry {
    heard: Heard,
    heard_ms: u64,
    /// The run before, with the highest number of it, and how often the two took turns.
    before: Option<(u64, u64)>,
    turns: u32,
}

/// All that are heard.
#[derive(Debug, Default)]
pub(super) struct Book {
    members: BTreeSet<DeviceId>,
    entries: BTreeMap<DeviceId, Entry>,
    second: u64,
    spent: Spent,
    /// Packets that found no room, or were none.
    pub(super) dropped: u64,
}

/// What was looked at in this second.
#[derive(Debug, Default)]
struct Spent {
    members: u32,
    strangers: u32,
    addresses: BTreeMap<Ipv4Addr, u32>,
    heard: BTreeMap<DeviceId, u32>,
}

impl Book {
    /// Whose hellos come first.
    pub(super) fn members(&mut self, members: BTreeSet<DeviceId>) {
        self.members = members;
    }

    /// Whether to look at the signature of a packet in this device's name.
    pub(super) fn admits(&mut self, sender: &DeviceId, from: Ipv4Addr, now_ms: u64) -> bool {
        if self.second != now_ms / 1000 {
            self.second = now_ms / 1000;
            self.spent = Spent::default();
        }
        let is_member = self.members.contains(sender);
        if is_member && self.entries.get(sender).is_some_and(|entry| entry.heard.from == from) {
            // Never more of them than members.
            let count = self.spent.heard.entry(*sender).or_default();
            *count += 1;
            if *count <= MEMBER_PER_SECOND {
                return true;
            }
        }
        let has_room = is_member || self.entries.contains_key(sender) || self.has_room(now_ms);
        let spent = &mut self.spent;
        let (count, most) = match is_member {
            true => (&mut spent.members, MEMBERS_PER_SECOND),
            false => (&mut spent.strangers, STRANGERS_PER_SECOND),
        };
        // Never more addresses than hellos that are counted.
        let admits = has_room && *count < most && {
            let of_address = spent.addresses.entry(from).or_default();
            *of_address += 1;
            *of_address <= ADDRESS_PER_SECOND
        };
        if admits {
            *count += 1;
        } else {
            self.dropped += 1;
        }
        admits
    }

    /// Whether a member is heard from this address.
    pub(super) fn is_members(&self, address: Ipv4Addr) -> bool {
        self.members
            .iter()
            .filter_map(|member| self.entries.get(member))
            .any(|entry| entry.heard.from == address)
    }

    fn has_room(&mut self, now_ms: u64) -> bool {
        let members = &self.members;
        let strangers = self.entries.keys().filter(|device| !members.contains(device)).count();
        if strangers < STRANGERS {
            return true;
        }
        self.forget(now_ms);
        self.entries.len() < strangers
    }

    /// Takes a hello in whose signature holds. Gives the device when it says something else than before, or says it for the first time.
    pub(super) fn hear(
        &mut self,
        hello: Hello,
        grant: Option<Vec<u8>>,
        from: Ipv4Addr,
        now_ms: u64,
    ) -> Option<Heard> {
        let Some(entry) = self.entries.get_mut(&hello.device) else {
            let device = hello.device;
            let heard = Heard { hello, grant, from, is_cloned: false };
            let entry = Entry { heard: heard.clone(), heard_ms: now_ms, before: None, turns: 0 };
            self.entries.insert(device, entry);
            return Some(heard);
        };
        let last = &entry.heard.hello;
        if hello.run == last.run {
            // One that was recorded, or that overtook another.
            if hello.number <= last.number {
                return None;
            }
        } else {
            match entry.before {
                Some((run, number)) if run == hello.run => {
                    if hello.number <= number {
                        return None;
                    }
                    entry.turns += 1;
                }
                Some(_) | None => entry.turns = 0,
            }
            entry.before = Some((last.run, last.number));
        }
        let is_cloned = entry.turns >= TURNS;
        let said = |hello: &Hello| Hello { number: 0, run: 0, ..hello.clone() };
        let heard = Heard { hello, grant, from, is_cloned };
        let before = &entry.heard;
        let is_news = said(&before.hello) != said(&heard.hello)
            || (&before.grant, before.is_cloned) != (&heard.grant, heard.is_cloned);
        (entry.heard, entry.heard_ms) = (heard, now_ms);
        is_news.then(|| entry.heard.clone())
    }

    /// Who is there.
    pub(super) fn heard(&mut self, now_ms: u64) -> Vec<Heard> {
        self.forget(now_ms);
        self.entries.values().map(|entry| entry.heard.clone()).collect()
    }

    fn forget(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| now_ms.saturating_sub(entry.heard_ms) < SILENT_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn id(number: u32) -> DeviceId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn hello(device: u32, run: u64, number: u64) -> Hello {
        Hello {
            device: id(device),
            run,
            number,
            name: "ewr".into(),
            labels: BTreeMap::new(),
            fleet: None,
            root: 0,
            revocation: 0,
            assigned: 0,
            port: 1,
            mesh: Vec::new(),
            proof: None,
        }
    }

    #[test]
    fn what_is_said_again_is_no_news_and_what_was_recorded_is_not_taken() {
        let mut book = Book::default();
        assert!(book.hear(hello(1, 5, 1), None, FROM, 0).is_some());
        assert!(book.hear(hello(1, 5, 2), None, FROM, 1).is_none());
        assert!(book.hear(hello(1, 5, 3), Some(vec![1]), FROM, 2).is_some());
        assert!(book.hear(hello(1, 5, 2), None, FROM, 3).is_none());
        assert_eq!(book.heard(4)[0].grant, Some(vec![1]));
        assert!(book.heard(2 + SILENT_MS).is_empty());
    }

    #[test]
    fn a_cloned_key_is_noticed_and_a_device_that_was_started_again_is_none() {
        let mut book = Book::default();
        for number in 1..10 {
            book.hear(hello(1, 5, number), None, FROM, number);
        }
        for number in 1..10 {
            book.hear(hello(1, 6, number), None, FROM, 100 + number);
            // Who repeats what it heard before changes nothing.
            book.hear(hello(1, 5, number), None, FROM, 100 + number);
        }
        assert!(!book.heard(200)[0].is_cloned);
        for number in 10..15 {
            book.hear(hello(1, 6, number), None, FROM, 200 + number);
            book.hear(hello(1, 5, number), None, FROM, 200 + number);
        }
        assert!(book.heard(300)[0].is_cloned);
    }

    #[test]
    fn strangers_take_their_own_room_and_time_alone() {
        let mut book = Book::default();
        book.members([id(1_000_000)].into());
        let (mut admitted, mut now_ms) = (0, 0);
        for number in 0..2000 {
            let from = Ipv4Addr::from(number / 10);
            if book.admits(&id(number), from, now_ms) {
                book.hear(hello(number, 1, 1), None, from, now_ms);
                admitted += 1;
            }
            now_ms += 5;
        }
        assert_eq!(admitted, STRANGERS);
        assert!(book.admits(&id(1_000_000), FROM, now_ms));
        book.hear(hello(1_000_000, 1, 1), None, FROM, now_ms);
        // Those that are there already are heard on, and new ones when others have been silent.
        assert!(book.admits(&id(0), FROM, now_ms) && !book.admits(&id(5000), FROM, now_ms));
        assert!(book.admits(&id(5000), FROM, now_ms + SILENT_MS));
    }

    #[test]
    fn a_member_is_heard_while_others_use_up_what_its_address_and_all_members_have() {
        let mut book = Book::default();
        let (victim, liar) = (id(1), id(2));
        book.members([victim, liar].into());
        book.hear(hello(1, 1, 1), None, FROM, 0);
        let elsewhere = |number: u32| Ipv4Addr::from(0x0a00_0100 + number);
        assert!(book.is_members(FROM) && !book.is_members(elsewhere(0)));
        for number in 0..2000 {
            book.admits(&liar, FROM, 0);
            book.admits(&liar, elsewhere(number), 0);
            book.admits(&id(3), FROM, 0);
        }
        assert!(!book.admits(&liar, FROM, 0) && !book.admits(&id(3), FROM, 0));
        assert!((0..MEMBER_PER_SECOND).all(|_| book.admits(&victim, FROM, 0)));
        assert!(!book.admits(&victim, FROM, 0));
    }

    #[test]
    fn one_address_leaves_room_for_the_others() {
        let mut book = Book::default();
        let admitted = (0..1000).filter(|number| book.admits(&id(*number), FROM, 0)).count();
        assert_eq!(admitted, ADDRESS_PER_SECOND as usize);
        assert!(book.admits(&id(7), Ipv4Addr::new(10, 0, 0, 2), 0));
    }
}
