//! What operators ask a daemon, and what it answers. JSON, one line each.
//!
//! ```text
//! {"ask":"status"}                        -> {"ok":{"is":"status", ...}}
//! {"ask":"apply","assignment":"...", ...} -> {"ok":{"is":"applied","version":3}}
//! {"ask":"logs","module":"w/m", ...}      -> {"error":"no module is named `w/m`; ..."}
//! {"ask":"call","method":"ping", ...}  -> {"ok":{"is":"called","outcome":{"json":{...}}}}
//! {"ask":"messages"}                      -> one MessageLine a line, until the asker hangs up
//! ```
//! The same JSON is the body of a signed [`wayside_config::document::Request`] over the mesh, where
//! `messages` is refused.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wayside_actors::{
    device::calls::{Failed, Outcome, Why},
    message::{Message, Properties},
};
use wayside_config::{audit::Head, document::ReleaseRef, identity::DeviceId};

use super::{InLobby, LockStatus, Neighbour, Status, TwinView};
use crate::trust::RuleView;

/// The longest line either side sends: an [`Ask::Apply`] of many large releases.
pub const MAX_LINE_BYTES: u64 = 32 << 20;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How the device is: [`Answer::Status`].
    Status,
    /// Who is on the mesh, this device first: [`Answer::Devices`].
    Devices,
    /// Who says to be on the LAN, admitted or not: [`Answer::Lobby`].
    Lobby,
    /// Take newer roots, a newer list of what is revoked, and grants: [`Answer::Admitted`]. It proves itself, whoever asks.
    Admit {
        /// The chain of the fleet's sealed roots, from the first on; empty where there is nothing new.
        roots: Vec<Sealed>,
        /// The sealed list of what does not count any more, if there is one.
        revocation: Option<Sealed>,
        /// Sealed grants: of the device asked, and of others that it will meet.
        grants: Vec<Sealed>,
        /// Sealed rules that the device asked is to apply.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rules: Vec<Sealed>,
    },
    /// The rules by which it admits others: [`Answer::Rules`].
    Rules,
    /// What the device has been told to run: [`Answer::Versions`].
    Versions,
    /// Run this: [`Answer::Applied`] when it is persisted.
    Apply {
        /// The chain of the fleet's sealed roots, from the first on.
        roots: Vec<Sealed>,
        /// The sealed list of what does not count any more, if there is one.
        revocation: Option<Sealed>,
        /// A sealed assignment.
        assignment: Sealed,
        /// The sealed releases it names that the device may not hold yet; the device adds those it holds.
        releases: Vec<Sealed>,
    },
    /// Keep this for devices of the site that are away, or may be: [`Answer::Kept`] when it is on the disk.
    Keep {
        /// As in [`Ask::Apply`].
        roots: Vec<Sealed>,
        /// As in [`Ask::Apply`].
        revocation: Option<Sealed>,
        /// Sealed assignments of other devices.
        assignments: Vec<Sealed>,
        /// The sealed releases that they name and that the devices may not hold yet.
        releases: Vec<Sealed>,
    },
    /// What a module wrote last: [`Answer::Logs`].
    Logs {
        /// `workload/module`, or `module` when only one workload has one of that name.
        module: String,
        /// At most this many lines; at most 10,000.
        tail: u32,
        /// Only lines from this wall-clock time in milliseconds on; 0 for all.
        since_ms: u64,
    },
    /// What the container of a module before the present one wrote last: [`Answer::Logs`].
    PreviousLogs {
        /// As in [`Ask::Call`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// As in [`Ask::Logs`], also when it runs no more.
        module: String,
        /// At most this many lines; at most 1,000.
        tail: u32,
    },
    /// Call a method of a module, or one of the device's own: [`Answer::Called`].
    Call {
        /// The name by which the asker means the device, whose key somebody else may have told: a device of
        /// another name does nothing. `None` when it was meant by its key.
        to: Option<String>,
        /// As in [`Ask::Logs`]; `None` for the device's own methods.
        module: Option<String>,
        /// The method's name.
        method: String,
        /// What is said with it, at most [`wayside_actors::device::calls::MAX_BODY_BYTES`]: JSON for the
        /// device's own methods.
        body: String,
        /// How long an answer may take, at most [`wayside_actors::device::calls::MAX_DEADLINE_MS`].
        deadline_ms: u64,
    },
    /// The twin of a module: [`Answer::Twin`]. It begins with the first look.
    Twin {
        /// As in [`Ask::Call`].
        to: Option<String>,
        /// As in [`Ask::Logs`].
        module: String,
    },
    /// Change what is desired of a module: [`Answer::Twin`] when it is persisted.
    SetTwin {
        /// A sealed [`wayside_config::document::TwinChange`].
        change: Sealed,
    },
    /// Which secrets the device has: [`Answer::Secrets`].
    Secrets,
    /// Set or remove a secret: [`Answer::Secrets`] when it is persisted, and with the modules that have it.
    SetSecret {
        /// A sealed [`wayside_config::secret::SecretChange`].
        change: Sealed,
    },
    /// The device's audit log: [`Answer::Audit`].
    Audit {
        /// The number of the first entry wanted.
        from: u64,
    },
    /// Hold updates of all workloads back: [`Answer::Locks`] when it is persisted. Over the unix socket only.
    Lock {
        /// For so long, at most [`wayside_actors::device::reconciler::LOCK_MAX_MS`].
        for_ms: u64,
        /// For a person, at most [`wayside_actors::device::reconciler::REASON_BYTES`].
        reason: String,
    },
    /// End a lock: [`Answer::Locks`] when that is persisted. Over the unix socket only.
    Unlock {
        /// `operator`, or `workload/module`; `None` for the operator's.
        owner: Option<String>,
    },
    /// What modules publish from now on: a stream of [`MessageLine`]. Over the unix socket only.
    Messages,
}

/// What comes back for an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The answer.
    Ok(Answer),
    /// What went wrong and what to do.
    Error(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// To [`Ask::Devices`].
    Devices {
        /// The device asked, then its neighbours by name.
        devices: Vec<Neighbour>,
    },
    /// To [`Ask::Lobby`].
    Lobby(InLobby),
    /// To [`Ask::Admit`].
    Admitted {
        /// The version of the device's own grant; `None` when it has none.
        version: Option<u64>,
    },
    /// To [`Ask::Rules`].
    Rules {
        /// In ascending order of what names them.
        rules: Vec<RuleView>,
    },
    /// To [`Ask::Versions`].
    Versions(Versions),
    /// To [`Ask::Apply`].
    Applied {
        /// The assignment's version.
        version: u64,
    },
    /// To [`Ask::Keep`].
    Kept {
        /// For these devices nothing was kept, and why.
        refused: BTreeMap<DeviceId, String>,
    },
    /// To [`Ask::Logs`].
    Logs {
        /// Each line begins with its RFC 3339 time and a space, as `docker logs -t` has it.
        text: String,
    },
    /// To [`Ask::Lock`] and [`Ask::Unlock`].
    Locks {
        /// Those that hold.
        locks: Vec<LockStatus>,
    },
    /// To [`Ask::Twin`] and [`Ask::SetTwin`].
    Twin(TwinView),
    /// To [`Ask::Secrets`] and [`Ask::SetSecret`].
    Secrets {
        /// The highest version of a change that the device took: the next one has a higher one.
        version: u64,
        /// Those that it has.
        secrets: Vec<SecretLine>,
    },
    /// To [`Ask::Audit`].
    Audit {
        /// Where the log stands.
        head: Head,
        /// Entries from the one asked for on, as many as fit: [`wayside_config::audit::split`].
        log: Sealed,
    },
    /// To [`Ask::Call`].
    Called {
        /// What came of it.
        outcome: Called,
    },
}

/// A secret of a device. Its value is told to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretLine {
    /// Its name.
    pub secret: String,
    /// The workload whose modules alone may have it.
    pub workload: Option<String>,
    /// Its version.
    pub version: u64,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Called {
    /// An answer that is JSON.
    Json(serde_json::Value),
    /// An answer that is other text.
    Text(String),
    /// An answer that is no text.
    Base64(String),
    /// No good answer.
    Failed {
        /// For programs.
        why: Why,
        /// For a person: what to do, or the module's own words where it refused.
        reason: String,
    },
}

impl From<Outcome> for Called {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(body) => match std::str::from_utf8(&body) {
                Ok(text) => serde_json::from_str(text).map_or_else(|_| Self::Text(text.into()), Self::Json),
                Err(_) => Self::Base64(BASE64_STANDARD.encode(&body)),
            },
            Err(Failed { why, reason }) => {
                Self::Failed { why, reason: String::from_utf8_lossy(&reason).into_owned() }
            }
        }
    }
}

/// What a device has been told to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The version of its assignment; 0 when it has none.
    pub assignment: u64,
    /// The releases that the assignment names.
    pub releases: Vec<ReleaseRef>,
    /// The highest version of an assignment that it ever took.
    pub highest_assignment: u64,
    /// The highest version of each workload that it ever took, of those taken off as well.
    pub highest: BTreeMap<String, u64>,
    /// Others of the site that are not there, of whom it is this device to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<Away>,
}

/// A device that is away. What is told of it proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// Its sealed grant.
    pub grant: Sealed,
    /// Its newest sealed assignment that is kept here.
    pub assignment: Option<Sealed>,
}

/// A message as `wayside messages` shows it. The cloud's API has the same form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLine {
    /// Its place in the cloud's log; absent on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Where it was published.
    pub device: DeviceId,
    /// That device's name.
    pub device_name: String,
    /// `workload/route`.
    pub route: String,
    /// The publishing module.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// Its number on the route.
    pub seq: u64,
    /// When the device accepted it: wall-clock milliseconds.
    pub accepted_ms: u64,
    /// When the cloud stored it; absent on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_ms: Option<u64>,
    /// What its publisher says of it.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
    /// The payload, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The payload, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
}

impl MessageLine {
    /// How a device shows a message on its way.
    #[must_use]
    pub fn new(message: &Message, device_name: &str, route: &str, seq: u64) -> Self {
        let payload = std::str::from_utf8(&message.payload).ok().map(ToOwned::to_owned);
        Self {
            id: None,
            device: message.origin,
            device_name: device_name.to_owned(),
            route: route.to_owned(),
            source: message.source.to_string(),
            topic: message.topic.to_string(),
            seq,
            accepted_ms: message.accepted_ms,
            stored_ms: None,
            properties: message.properties.clone(),
            payload_base64: payload.is_none().then(|| BASE64_STANDARD.encode(&message.payload)),
            payload,
        }
    }
}

/// The bytes of a sealed document; base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("a sealed document is base64"))
    }
}

#[cfg(test)]
mod tests {
    use wayside_actors::report::Report;
    use wayside_config::{identity::FleetId, leaf::Fingerprint};
    use wayside_mesh::mqtt::Counted;

    use super::*;
    use crate::control::{CloudStatus, FleetStatus, MeshStatus, MqttStatus, Present, StoreStatus};

    fn text<T: Serialize>(value: &T) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn the_lines_stay_as_they_are() {
        assert_eq!(text(&Ask::Status), r#"{"ask":"status"}"#);
        assert_eq!(
            text(&Ask::Apply {
                roots: vec![Sealed(vec![4])],
                revocation: None,
                assignment: Sealed(vec![1, 2]),
                releases: vec![Sealed(vec![3])],
            }),
            r#"{"ask":"apply","roots":["BA=="],"revocation":null,"assignment":"AQI=","releases":["Aw=="]}"#
        );
        assert_eq!(
            text(&Ask::Logs { module: "w/m".into(), tail: 5, since_ms: 0 }),
            r#"{"ask":"logs","module":"w/m","tail":5,"since_ms":0}"#
        );
        assert_eq!(
            text(&Ask::PreviousLogs { to: Some("ewr".into()), module: "w/m".into(), tail: 5 }),
            r#"{"ask":"previous-logs","to":"ewr","module":"w/m","tail":5}"#
        );
        let call = Ask::Call {
            to: Some("ewr".into()),
            module: None,
            method: "ping".into(),
            body: "{}".into(),
            deadline_ms: 10,
        };
        assert_eq!(
            text(&call),
            r#"{"ask":"call","to":"ewr","module":null,"method":"ping","body":"{}","deadline_ms":10}"#
        );
        let failed = Called::Failed { why: Why::NotConnected, reason: "no".into() };
        assert_eq!(
            text(&Answer::Called { outcome: failed }),
            r#"{"is":"called","outcome":{"failed":{"why":"not-connected","reason":"no"}}}"#
        );
        assert_eq!(
            text(&Reply::Ok(Answer::Applied { version: 3 })),
            r#"{"ok":{"is":"applied","version":3}}"#
        );
        assert_eq!(text(&Reply::Error("no".into())), r#"{"error":"no"}"#);
    }

    #[test]
    fn every_answer_survives_its_line() {
        let device = DeviceId::from_bytes([7; 32]);
        let reference = ReleaseRef { workload: "w".into(), version: 2, sha256: [9; 32], members: Vec::new() };
        let status = Status {
            device,
            name: "ewr".into(),
            labels: BTreeMap::new(),
            version: "0.1.0".into(),
            uptime_ms: 5,
            fleet: Some(FleetStatus { id: FleetId::from_bytes([3; 32]), root: 2, operators: vec![device] }),
            cloud: Some(CloudStatus { address: "a:1".into(), connected: true }),
            mesh: MeshStatus { addresses: vec!["127.0.0.1:1".parse().unwrap()], ..Default::default() },
            store: Some(StoreStatus { bytes: 1, ..Default::default() }),
            mqtt: MqttStatus {
                leaves: vec!["mqtts://127.0.0.1:8883".into()],
                certificate: Some(Fingerprint::of(b"a certificate")),
                counted: Counted { clients: 3, ..Default::default() },
            },
            copies: crate::copies::CopiesStatus { devices: 1, bytes: 2 },
            locks: vec![LockStatus { owner: "w/m".into(), until_ms: 7, reason: "r".into() }],
            report: Report::default(),
        };
        let present = Present {
            device,
            name: "ewr".into(),
            labels: BTreeMap::new(),
            fleet: Some(FleetId::from_bytes([3; 32])),
            root: 1,
            revocation: 0,
            grant: Some(Sealed(vec![1])),
            door: Some("10.0.0.1:7448".parse().unwrap()),
            mesh: vec!["10.0.0.1:7447".parse().unwrap()],
            is_cloned: false,
        };
        for answer in [
            Answer::Status(Box::new(status)),
            Answer::Devices { devices: vec![Neighbour { device, name: "ewr".into() }] },
            Answer::Versions(Versions {
                device,
                name: "ewr".into(),
                labels: BTreeMap::new(),
                assignment: 1,
                releases: vec![reference],
                highest_assignment: 2,
                highest: BTreeMap::from([("w".into(), 2)]),
                away: vec![Away { grant: Sealed(vec![1]), assignment: Some(Sealed(vec![2])) }],
            }),
            Answer::Logs { text: "a\nb".into() },
            Answer::Audit { head: Head { seq: 3, hash: [7; 32] }, log: Sealed(vec![1, 2]) },
            Answer::Admitted { version: Some(7) },
            Answer::Lobby(InLobby { own: Box::new(present.clone()), devices: vec![present] }),
            Answer::Called { outcome: Ok("{\"celsius\": 21.5}".into()).into() },
            Answer::Called { outcome: Ok("two words".into()).into() },
            Answer::Twin(TwinView::new(
                &"w/m".parse().unwrap(),
                &wayside_actors::device::twins::Twin::new(7),
            )),
            Answer::Called { outcome: Ok(vec![0xff].into()).into() },
            Answer::Called { outcome: Called::Failed { why: Why::Deadline, reason: "late".into() } },
        ] {
            let reply = Reply::Ok(answer);
            let line = serde_json::to_string(&reply).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply);
        }
    }

    #[test]
    fn a_question_that_is_not_known_is_refused() {
        for line in [
            r#"{"ask":"reboot"}"#,
            r#"{"ask":"logs","module":"m","tail":1,"since_ms":0,"x":1}"#,
            r#"{"ask":"apply","assignment":"*"}"#,
        ] {
            assert!(serde_json::from_str::<Ask>(line).is_err(), "{line}");
        }
    }
}
