//! What is below `$wayside/`: the device's own words with a module, beside the messages of its routes.
//!
//! | topic | way | what |
//! |---|---|---|
//! | `$wayside/call/METHOD` | to a client of MQTT 5 | a call; its response topic and correlation data say where the answer goes |
//! | `$wayside/call/METHOD/ID` | to any client | a call for those who take no properties; answered to `$wayside/answer/ID` |
//! | `$wayside/answer/ID` | from the module | its answer |
//! | `$wayside/answer/ID/error` | from the module | its refusal |
//! | `$wayside/twin/desired` | to the module | what is desired of it: now, and whenever it connects or that changes |
//! | `$wayside/twin/reported` | from the module | a merge patch of what it says of itself; acknowledged when it is stored |
//! | `$wayside/lock` | from the module | how long it holds updates back, and why; acknowledged when that is stored |
//!
//! All of `$wayside/` is reserved: nothing else is published there, and of it routes take what is reported alone. What is sent goes at
//! QoS 0 on the connection of the moment, for a call that is not answered on it is over, and never twice. A
//! subscription counts when it names `$wayside/` itself, as the standard has it for topics that begin with `$`.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use mqtt_protocol_core::mqtt::{
    packet::{CorrelationData, Property, ResponseTopic},
    result_code::SubackReasonCode,
};
use tracing::warn;
use wayside_actors::device::{
    calls::{Undelivered, is_method},
    reconciler::{LOCK_MAX_MS, REASON_BYTES},
};
use wayside_config::{
    limits::TWIN_BYTES,
    topic::{self, LOCK, TWIN_REPORTED},
    units::duration_ms,
};

use super::Session;
use crate::mqtt::{
    event::MqttEvent,
    packet::{Version, Wish},
    pending::Answer,
    window::OUT_BYTES,
};

/// The first level of all that is reserved.
const ROOT: &str = "$wayside/";
const DESIRED: &str = "$wayside/twin/desired";
/// Calls that wait to be written to one client, in bytes.
const WAITING_BYTES: usize = 1 << 20;

/// What the device has for the client of the moment, and what it waits for.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Not yet written, oldest first.
    calls: VecDeque<Call>,
    /// Handed over or about to be, and not answered.
    open: BTreeSet<u64>,
    /// The newest desired properties, while they are not written.
    desired: Option<Bytes>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    topic: String,
    body: Bytes,
    has_properties: bool,
}

/// A publish of the device's own.
pub(in crate::mqtt) struct OwnPublish {
    pub(in crate::mqtt) topic: String,
    pub(in crate::mqtt) body: Bytes,
    /// For MQTT 5.
    pub(in crate::mqtt) properties: Vec<Property>,
    /// The call that it is, if it is one.
    call: Option<u64>,
}

/// What a module may publish below `$wayside/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The answer to a call, or with `is_refusal` the word that there is none.
    Answer { call: u64, is_refusal: bool },
    /// What the module says of itself.
    Reported,
    /// That it must not be interrupted for some time, or may be again.
    Lock,
}

impl Heard {
    /// What a publish to this topic is; `None` where nothing of the kind may be published.
    pub(super) fn of(topic: &str) -> Option<Self> {
        if topic == TWIN_REPORTED {
            return Some(Self::Reported);
        }
        if topic == LOCK {
            return Some(Self::Lock);
        }
        let (id, is_refusal) = match topic.strip_prefix(ROOT)?.strip_prefix("answer/")?.split_once('/') {
            None => (topic.rsplit_once('/')?.1, false),
            Some((id, "error")) => (id, true),
            Some(_) => return None,
        };
        let call = u64::from_str_radix(id, 16).ok()?;
        Some(Self::Answer { call, is_refusal })
    }
}

/// Whether a subscription below `$wayside/` is one that something is ever sent to; `None` for one elsewhere.
pub(super) fn check(wish: &Wish, version: Version) -> Option<Result<(), SubackReasonCode>> {
    let filter = wish.filter.as_str();
    let named = filter.strip_prefix(ROOT)?.split('/').nth(1).filter(|method| is_method(method));
    let method = named.unwrap_or("any");
    let is_sent = |topic: &str| topic::matches(filter, topic);
    let is_sent = topic::is_filter(filter)
        && (is_sent(&format!("{ROOT}call/{method}/0"))
            || is_sent(DESIRED)
            || (version == Version::V5 && is_sent(&format!("{ROOT}call/{method}"))));
    Some(if is_sent { Ok(()) } else { Err(SubackReasonCode::NotAuthorized) })
}

impl Own {
    /// What is to be written next.
    pub(super) fn next(&mut self) -> Option<OwnPublish> {
        if let Some(body) = self.desired.take() {
            return Some(OwnPublish { topic: DESIRED.into(), body, properties: Vec::new(), call: None });
        }
        let Call { number, topic, body, has_properties } = self.calls.pop_front()?;
        let properties = if has_properties { answer_to(number) } else { Vec::new() };
        Some(OwnPublish { topic, body, properties, call: Some(number) })
    }

    /// The connection ended: the calls whose answers do not come any more.
    fn end(&mut self) -> BTreeSet<u64> {
        self.calls.clear();
        self.desired = None;
        std::mem::take(&mut self.open)
    }
}

impl Session {
    /// A call for the module, handed over now or not at all.
    pub(in crate::mqtt) fn call(&mut self, call: u64, method: &str, body: Bytes) {
        let Some(link) = self.link.as_ref().filter(|link| link.is_connected && link.end.is_none()) else {
            return self.not_delivered(call, Undelivered::NotConnected);
        };
        let (short, long) = (format!("{ROOT}call/{method}"), format!("{ROOT}call/{method}/{call:x}"));
        let is_wanted = |topic: &str| {
            self.subscriptions
                .by_filter()
                .keys()
                .any(|filter| filter.starts_with(ROOT) && topic::matches(filter, topic))
        };
        let has_properties = link.encoder.version == Version::V5 && is_wanted(&short);
        if !has_properties && !is_wanted(&long) {
            return self.not_delivered(call, Undelivered::NotSubscribed);
        }
        let waiting: usize = self.own.calls.iter().map(|call| call.body.len()).sum();
        if waiting + body.len() > WAITING_BYTES {
            return self.not_delivered(call, Undelivered::Full);
        }
        let topic = if has_properties { short } else { long };
        self.own.calls.push_back(Call { number: call, topic, body, has_properties });
        self.own.open.insert(call);
    }

    /// Nobody waits for the call any more.
    pub(in crate::mqtt) fn withdraw(&mut self, call: u64) {
        self.own.calls.retain(|waiting| waiting.number != call);
        self.own.open.remove(&call);
    }

    /// What is desired of the module, for a client that wants to hear it.
    pub(in crate::mqtt) fn desired(&mut self, body: Bytes) {
        if self.link.is_some() && self.wants_twin() {
            self.own.desired = Some(body);
        }
    }

    /// Asks for what is desired, for the client that has just connected or subscribed.
    pub(super) fn ask_twin(&mut self) {
        if self.wants_twin() {
            self.events.push_back(MqttEvent::TwinWanted { module: self.module.clone() });
        }
    }

    fn wants_twin(&self) -> bool {
        let filters = self.subscriptions.by_filter();
        filters.keys().any(|filter| filter.starts_with(ROOT) && topic::matches(filter, DESIRED))
    }

    /// What the module published below `$wayside/`.
    pub(super) fn hear(&mut self, heard: Heard, ticket: u64, payload: Bytes) {
        let (call, is_refusal) = match heard {
            Heard::Answer { call, is_refusal } => (call, is_refusal),
            Heard::Reported if payload.len() > TWIN_BYTES => {
                let reason = format!("a patch of reported properties has at most {TWIN_BYTES} bytes");
                return self.answer(ticket, Answer::Refused(reason));
            }
            Heard::Reported => {
                let module = self.module.clone();
                return self.events.push_back(MqttEvent::Reported { ticket, module, patch: payload });
            }
            Heard::Lock => {
                let module = self.module.clone();
                let Some((for_ms, reason)) = read_lock(&payload) else {
                    return self.answer(ticket, Answer::Refused(LOCK_FORM.into()));
                };
                return self.events.push_back(MqttEvent::Lock { ticket, module, for_ms, reason });
            }
        };
        // Late, or a second one: it is nobody's, and the module is told that it was taken.
        if self.own.open.remove(&call) {
            let (module, answer) = (self.module.clone(), if is_refusal { Err(payload) } else { Ok(payload) });
            self.events.push_back(MqttEvent::Answered { call, module, answer });
        }
        self.answer(ticket, Answer::Accepted);
    }

    /// Adds to `out` what the device has for the client, up to its bound.
    pub(super) fn write_own(&mut self, out: &mut BytesMut) {
        let Some(link) = self.link.as_ref().filter(|link| link.is_connected) else { return };
        let (encoder, max_packet) = (link.encoder, link.max_packet);
        while out.len() < OUT_BYTES
            && let Some(publish) = self.own.next()
        {
            let before = out.len();
            encoder.own(&publish, out);
            if out.len() - before > max_packet {
                out.truncate(before);
                let Some(call) = publish.call else {
                    warn!(module = %self.module, limit = max_packet,
                        "what is desired of the module is larger than its client's maximum packet size");
                    continue;
                };
                self.own.open.remove(&call);
                self.not_delivered(call, Undelivered::TooLarge);
            }
        }
    }

    /// The connection is gone: what was called on it is not answered any more.
    pub(super) fn end_own(&mut self) {
        for call in self.own.end() {
            self.not_delivered(call, Undelivered::Ended);
        }
    }

    fn not_delivered(&mut self, call: u64, why: Undelivered) {
        self.events.push_back(MqttEvent::Undelivered { call, why });
    }
}

/// What a module says that holds updates back, for whoever wrote another thing.
const LOCK_FORM: &str = "a lock is a duration from 1s to 24h and, after a space, a reason of at most 256 bytes, such as `10m filling a tank`; nothing lets updates go on";

/// For how long, and why; 0 to let updates go on.
pub(super) fn read_lock(payload: &[u8]) -> Option<(u64, String)> {
    if payload.is_empty() {
        return Some((0, String::new()));
    }
    let text = std::str::from_utf8(payload).ok()?;
    let (length, reason) = text.split_once(' ').unwrap_or((text, ""));
    let for_ms = duration_ms(length).filter(|ms| (1000..=LOCK_MAX_MS).contains(ms))?;
    (reason.len() <= REASON_BYTES).then(|| (for_ms, reason.to_owned()))
}

fn answer_to(call: u64) -> Vec<Property> {
    let topic = ResponseTopic::new(format!("{ROOT}answer/{call:x}")).ok().map(Property::ResponseTopic);
    let data = CorrelationData::new(format!("{call:x}").into_bytes()).ok().map(Property::CorrelationData);
    topic.into_iter().chain(data).collect()
}
