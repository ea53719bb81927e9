//! The device settings file `wayside.toml`; every field is optional.
//!
//! ```toml
//! name = "ewr"
//! labels = { plant = "p7" }
//! fleet = "..."                  # the fleet that `wayside fleet` prints, or the key of its only operator
//! join_token = "..."             # what `wayside token new` printed: the device is admitted without being approved
//! mqtt_port = 1883
//! mqtt_loopback = false
//! state = "/var/lib/wayside"
//! secrets = "/run/wayside"        # in memory
//! store_max = "4GiB"
//!
//! [leaves]
//! listen = ["mqtts://192.168.1.5:8883", "mqtt://127.0.0.1:1884"]
//! certificate = "/etc/wayside/leaves.pem"
//! key = "/etc/wayside/leaves.key"
//!
//! [cloud]
//! join = "wayside://HOST:PORT/?key=KEY&token=TOKEN"
//! # or: address = "HOST:PORT", key = "KEY", token = "TOKEN"
//!
//! [mesh]
//! multicast = true
//! listen = ["192.168.1.5:7447"]
//! connect = ["192.168.1.6:7447"]
//!
//! [updates]
//! windows = ["sat,sun 02:00-04:00"]
//!
//! [images]
//! keep_unused = "168h"
//!
//! [policy]                       # see [`Policy`]
//! capabilities = ["NET_ADMIN"]
//! ```

mod upkeep;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, SocketAddrV4},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

pub use self::upkeep::{ImageSettings, KEEP_UNUSED_MS, UpdateSettings};
use crate::{
    diagnostic::{Problems, Report, quote},
    fleet::Pinned,
    identity::PublicKey,
    join::{JoinLink, parse_address, parse_token},
    limits::{LABEL_BYTES, LABELS, SETTINGS_BYTES, WINDOWS},
    privilege::Policy,
    rule::Token,
    units,
};

/// How a device is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For people and in topics; the host's name when not given.
    pub name: Option<String>,
    /// What targets may ask for.
    pub labels: BTreeMap<String, String>,
    /// The fleet whose operators this device obeys; `None` for the first one that hands it a release.
    pub fleet: Option<Pinned>,
    /// What admits this device to the token's fleet.
    pub join_token: Option<Token>,
    /// TCP port of the MQTT listener.
    pub mqtt_port: u16,
    /// Whether the MQTT listener is on 127.0.0.1 too.
    pub mqtt_loopback: bool,
    /// The state directory; the platform's default when not given.
    pub state: Option<PathBuf>,
    /// Where secrets are in memory; the platform's default when not given.
    pub secrets: Option<PathBuf>,
    /// The most bytes that all queues together keep on disk.
    pub store_max_bytes: u64,
    /// The cloud, when there is one.
    pub cloud: Option<JoinLink>,
    /// The mesh.
    pub mesh: MeshSettings,
    /// Where leaf devices connect.
    pub leaves: LeafSettings,
    /// What modules may have beyond what every container has.
    pub policy: Policy,
    /// How workloads are updated here.
    pub updates: UpdateSettings,
    /// Which images stay here.
    pub images: ImageSettings,
}

impl Settings {
    /// The fleet that this device may belong to, where it is told which.
    #[must_use]
    pub fn pinned(&self) -> Option<Pinned> {
        self.fleet.or(self.join_token.as_ref().map(|token| Pinned::Fleet(token.fleet)))
    }

    /// Whether the token is of another fleet than the one that is named.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        let named = self.fleet.map(|fleet| fleet.id());
        self.join_token.as_ref().is_some_and(|token| named.is_some_and(|named| named != token.fleet))
    }
}

/// Where leaf devices connect, and how they know the device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeafSettings {
    /// Where they are listened for; nowhere by default.
    pub listen: Vec<LeafAddress>,
    /// A PEM file with the certificate chain; without one the daemon makes a certificate from its own key.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    pub key: Option<PathBuf>,
}

/// An address for leaf devices: `mqtts://ADDRESS:PORT` with TLS, `mqtt://ADDRESS:PORT` without. Where it does not say,
/// on loopback without, elsewhere with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafAddress {
    /// Where.
    pub address: SocketAddr,
    /// Whether with TLS.
    pub has_tls: bool,
}

/// The text is no address for leaf devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected mqtts://ADDRESS:PORT, or mqtt://ADDRESS:PORT to go without encryption, with an IP address")]
pub struct BadLeafAddress;

impl FromStr for LeafAddress {
    type Err = BadLeafAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (has_tls, address) = match text.split_once("://") {
            Some(("mqtts", address)) => (Some(true), address),
            Some(("mqtt", address)) => (Some(false), address),
            Some(_) => return Err(BadLeafAddress),
            None => (None, text),
        };
        let address: SocketAddr = address.parse().map_err(|_| BadLeafAddress)?;
        Ok(Self { address, has_tls: has_tls.unwrap_or(!address.ip().is_loopback()) })
    }
}

impl<'de> Deserialize<'de> for LeafAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// How a device meets its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshSettings {
    /// Whether neighbours are looked for by multicast.
    pub multicast: bool,
    /// TCP addresses to listen on; empty for every address of the host, on a free port.
    pub listen: Vec<SocketAddrV4>,
    /// Neighbours to call where multicast does not reach.
    pub connect: Vec<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            labels: BTreeMap::new(),
            fleet: None,
            join_token: None,
            mqtt_port: 1883,
            mqtt_loopback: false,
            state: None,
            secrets: None,
            store_max_bytes: 4 << 30,
            cloud: None,
            mesh: MeshSettings::default(),
            leaves: LeafSettings::default(),
            policy: Policy::default(),
            updates: UpdateSettings::default(),
            images: ImageSettings::default(),
        }
    }
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self { multicast: true, listen: Vec::new(), connect: Vec::new() }
    }
}

/// What a device's name may be.
pub const DEVICE_NAME_RULE: &str =
    "1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit";

/// Whether `text` may name a device: see [`DEVICE_NAME_RULE`].
#[must_use]
pub fn is_device_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl Settings {
    /// Reads the text of a settings file. `file_name` is what the findings call it.
    ///
    /// # Errors
    /// A report that names the line.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Report> {
        let mut problems = Problems::default();
        if text.len() > SETTINGS_BYTES {
            let message =
                format!("the file has {} bytes, more than the limit of {SETTINGS_BYTES}", text.len());
            problems.error(&(0..0), message, "");
            return Err(problems.into_report(file_name, ""));
        }
        match toml::from_str::<File>(text) {
            Ok(file) => file.check(&mut problems).ok_or_else(|| problems.into_report(file_name, text)),
            Err(error) => {
                problems.error(&error.span().unwrap_or(0..0), error.message(), "");
                Err(problems.into_report(file_name, text))
            }
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<String>>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    fleet: Option<Pinned>,
    join_token: Option<Token>,
    mqtt_port: Option<std::num::NonZeroU16>,
    #[serde(default)]
    mqtt_loopback: bool,
    state: Option<PathBuf>,
    secrets: Option<PathBuf>,
    store_max: Option<Size>,
    cloud: Option<Spanned<Cloud>>,
    #[serde(default)]
    mesh: MeshSettings,
    leaves: Option<Spanned<LeafSettings>>,
    policy: Option<Spanned<Policy>>,
    updates: Option<Spanned<UpdateSettings>>,
    #[serde(default)]
    images: ImageSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cloud {
    join: Option<Spanned<String>>,
    address: Option<Spanned<String>>,
    key: Option<PublicKey>,
    token: Option<Spanned<String>>,
}

impl File {
    fn check(self, problems: &mut Problems) -> Option<Settings> {
        if let Some(name) = self.name.as_ref().filter(|name| !is_device_name(name.get_ref())) {
            let message = format!("{} cannot name a device", quote(name.get_ref()));
            problems.error(&name.span(), message, format!("write {DEVICE_NAME_RULE}"));
        }
        if let Some(labels) = &self.labels {
            check_labels(labels, problems);
        }
        if let Some(leaves) = &self.leaves
            && leaves.get_ref().certificate.is_some() != leaves.get_ref().key.is_some()
        {
            let help = "write both, or neither: then the daemon makes a certificate";
            problems.error(&leaves.span(), "`certificate` and `key` belong together", help);
        }
        if let Some(policy) = &self.policy
            && let Some((entry, help)) = policy.get_ref().mistake()
        {
            problems.error(
                &policy.span(),
                format!("the policy entry {} allows nothing", quote(&entry)),
                help,
            );
        }
        if let Some(updates) = &self.updates
            && updates.get_ref().windows.len() > WINDOWS
        {
            problems.error(&updates.span(), format!("at most {WINDOWS} windows are supported"), "");
        }
        let cloud = self.cloud.and_then(|cloud| read_cloud(cloud, problems));
        if problems.has_errors() {
            return None;
        }
        let default = Settings::default();
        Some(Settings {
            name: self.name.map(Spanned::into_inner),
            labels: self.labels.map(Spanned::into_inner).unwrap_or_default(),
            fleet: self.fleet,
            join_token: self.join_token,
            mqtt_port: self.mqtt_port.map_or(default.mqtt_port, Into::into),
            mqtt_loopback: self.mqtt_loopback,
            state: self.state,
            secrets: self.secrets,
            store_max_bytes: self.store_max.map_or(default.store_max_bytes, |size| size.0),
            cloud,
            mesh: self.mesh,
            leaves: self.leaves.map(Spanned::into_inner).unwrap_or_default(),
            policy: self.policy.map(Spanned::into_inner).unwrap_or_default(),
            updates: self.updates.map(Spanned::into_inner).unwrap_or_default(),
            images: self.images,
        })
    }
}

/// The cloud keeps the labels of every device in memory.
fn check_labels(labels: &Spanned<BTreeMap<String, String>>, problems: &mut Problems) {
    let fit = labels.get_ref().iter().all(|(label, value)| label.len().max(value.len()) <= LABEL_BYTES);
    if !fit || labels.get_ref().len() > LABELS {
        let hint = format!("at most {LABELS} labels of at most {LABEL_BYTES} bytes: remove or shorten some");
        problems.error(&labels.span(), "a device cannot have these labels", hint);
    }
}

fn read_cloud(cloud: Spanned<Cloud>, problems: &mut Problems) -> Option<JoinLink> {
    let span = cloud.span();
    let failed = |span, error: crate::join::BadJoinLink, problems: &mut Problems| {
        problems.error(&span, error.to_string(), "");
        None
    };
    match cloud.into_inner() {
        Cloud { join: Some(link), address: None, key: None, token: None } => {
            link.get_ref().parse().or_else(|error| failed(link.span(), error, problems).ok_or(())).ok()
        }
        Cloud { join: None, address: Some(address), key: Some(key), token } => {
            let token = match token {
                None => None,
                Some(token) => match parse_token(token.get_ref()) {
                    Ok(text) => Some(text),
                    Err(error) => return failed(token.span(), error, problems),
                },
            };
            match parse_address(address.get_ref()) {
                Ok((host, port)) => Some(JoinLink { host, port, key, token }),
                Err(error) => failed(address.span(), error, problems),
            }
        }
        Cloud { .. } => {
            let help = "write `join` with a link, or `address` and `key` and, for a new device, `token`";
            problems.error(&span, "`cloud` does not say where the cloud is", help);
            None
        }
    }
}

/// `"4GiB"` or a number of bytes.
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(u64),
        }
        let size = match Written::deserialize(deserializer)? {
            Written::Text(text) => units::bytes(&text),
            Written::Number(bytes) => Some(bytes),
        };
        size.filter(|bytes| *bytes >= 16 << 20)
            .map(Self)
            .ok_or_else(|| de::Error::custom("expected a size of at least 16 MiB, such as \"4GiB\""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::FleetId;

    #[test]
    fn nothing_is_needed() {
        assert_eq!(Settings::parse("wayside.toml", ""), Ok(Settings::default()));
    }

    #[test]
    fn every_field_is_read() {
        let key = PublicKey::from_bytes([7; 32]);
        let token = Token::new(FleetId::from_bytes([3; 32]), &[5; 32]);
        let text = format!(
            r#"
            name = "ewr"
            labels = {{ plant = "p7" }}
            fleet = "{key}"
            join_token = "{}"
            mqtt_port = 2883
            mqtt_loopback = true
            state = "/srv/wayside"
            secrets = "/run/secret"
            store_max = "1GiB"
            [cloud]
            address = "cloud:7443"
            key = "{key}"
            [mesh]
            multicast = false
            listen = ["10.0.0.1:7447"]
            connect = ["[::1]:7447"]
            [leaves]
            listen = ["10.0.0.1:8883", "127.0.0.1:1884", "mqtt://10.0.0.1:1883"]
            certificate = "/etc/leaves.pem"
            key = "/etc/leaves.key"
            [policy]
            capabilities = ["NET_ADMIN"]
            paths = ["/srv/data:ro"]
            [updates]
            windows = ["sat,sun 02:00-04:00"]
            [images]
            keep_unused = "24h"
            "#,
            token.reveal()
        );
        let settings = Settings::parse("wayside.toml", &text).unwrap();
        let cloud = JoinLink { host: "cloud".into(), port: 7443, key, token: None };
        assert_eq!(
            settings,
            Settings {
                name: Some("ewr".into()),
                labels: BTreeMap::from([("plant".into(), "p7".into())]),
                fleet: Some(Pinned::Operator(key)),
                join_token: Some(token),
                mqtt_port: 2883,
                mqtt_loopback: true,
                state: Some("/srv/wayside".into()),
                secrets: Some("/run/secret".into()),
                store_max_bytes: 1 << 30,
                cloud: Some(cloud.clone()),
                mesh: MeshSettings {
                    multicast: false,
                    listen: vec!["10.0.0.1:7447".parse().unwrap()],
                    connect: vec!["[::1]:7447".parse().unwrap()],
                },
                leaves: LeafSettings {
                    listen: [("10.0.0.1:8883", true), ("127.0.0.1:1884", false), ("10.0.0.1:1883", false)]
                        .map(|(address, has_tls)| LeafAddress { address: address.parse().unwrap(), has_tls })
                        .into(),
                    certificate: Some("/etc/leaves.pem".into()),
                    key: Some("/etc/leaves.key".into()),
                },
                policy: Policy {
                    capabilities: ["NET_ADMIN".into()].into(),
                    paths: ["/srv/data:ro".into()].into(),
                    ..Policy::default()
                },
                updates: UpdateSettings { windows: vec!["sat,sun 02:00-04:00".parse().unwrap()] },
                images: ImageSettings { keep_unused_ms: 86_400_000 },
            }
        );
        let joined = Settings::parse("f", &format!("[cloud]\njoin = \"{cloud}\"")).unwrap();
        assert_eq!(joined.cloud, Some(cloud));
    }

    #[test]
    fn what_is_wrong_is_shown() {
        let show = |text: &str| Settings::parse("wayside.toml", text).unwrap_err().to_string();
        insta::assert_snapshot!(show("name = \"a\"\nmqtt_prot = 1883"), @r"
        error: unknown field `mqtt_prot`, expected one of `name`, `labels`, `fleet`, `join_token`, `mqtt_port`, `mqtt_loopback`, `state`, `secrets`, `store_max`, `cloud`, `mesh`, `leaves`, `policy`, `updates`, `images`
         --> wayside.toml:2:1
          |
        2 | mqtt_prot = 1883
          | ^^^^^^^^^
        ");
        insta::assert_snapshot!(show("name = \"a b\"\n[cloud]\njoin = \"http://x\""), @r#"
        error: `a b` cannot name a device
         --> wayside.toml:1:8
          |
        1 | name = "a b"
          |        ^^^^^
          |
          = help: write 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit

        error: expected wayside://HOST:PORT/?key=KEY&token=TOKEN, as `wayside-cloud links` shows it
         --> wayside.toml:3:8
          |
        3 | join = "http://x"
          |        ^^^^^^^^^^
        "#);
        let long = show(&format!("labels = {{ plant = \"{}\" }}", "7".repeat(256)));
        assert!(long.contains("at most 100 labels of at most 255 bytes"), "{long}");
        insta::assert_snapshot!(show("[cloud]\ntoken = \"x\""), @r"
        error: `cloud` does not say where the cloud is
         --> wayside.toml:1:1
          |
        1 | [cloud]
          | ^^^^^^^
          |
          = help: write `join` with a link, or `address` and `key` and, for a new device, `token`
        ");
        insta::assert_snapshot!(show("store_max = \"1k\""), @r#"
        error: expected a size of at least 16 MiB, such as "4GiB"
         --> wayside.toml:1:13
          |
        1 | store_max = "1k"
          |             ^^^^
        "#);
        let policy = show("[policy]\npaths = [\"srv\"]");
        assert!(policy.contains("the policy entry `srv` allows nothing"), "{policy}");
        let window = show("[updates]\nwindows = [\"25:00-26:00\"]");
        assert!(window.contains("expected times in UTC such as"), "{window}");
        assert!(show("[images]\nkeep_unused = \"7 days\"").contains("expected a duration such as \"168h\""));
        let half = show("[leaves]\ncertificate = \"a.pem\"");
        assert!(half.contains("`certificate` and `key` belong together"), "{half}");
        let address = show("[leaves]\nlisten = [\"http://127.0.0.1:1\"]");
        assert!(address.contains("expected mqtts://ADDRESS:PORT"), "{address}");
        assert!(show("name = ").contains("wayside.toml:1:8"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_=\"\\[\\]{} \n0-9.:/]{0,200}") {
            let _ = Settings::parse("f", &text).map_err(|report| report.to_string());
        }
    }
}
