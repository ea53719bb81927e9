//! The key space of the mesh. Links prove that members are at both ends, and not which of them wrote what goes over. What goes to
//! one device is sealed for it by whoever is named in `to/.../<from>` (see [`crate::pair`]), and requests and replies are signed;
//! the liveliness tokens are a member's claim.
//!
//! ```text
//! wayside/v1/alive/<device>/<name>         liveliness token
//! wayside/v1/routes/<device>               liveliness token of a device that routes for others
//! wayside/v1/to/<device>/batch/<from>      messages
//! wayside/v1/to/<device>/live/<from>       one message of a best-effort route
//! wayside/v1/to/<device>/confirm/<from>    confirmations
//! wayside/v1/to/<device>/desired/<from>    what operators signed for it while it was away
//! wayside/v1/control/<device>              queryable: an operator's signed request, the device's signed reply
//! ```

use wayside_config::identity::DeviceId;

/// Liveliness tokens of all devices.
pub const ALIVE: &str = "wayside/v1/alive/*/*";

/// Liveliness tokens of the devices that route for others.
pub const ROUTES: &str = "wayside/v1/routes/*";

/// What is sent to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`wayside_actors::message::Batch`].
    Batch,
    /// One message that is stored nowhere.
    Live,
    /// [`wayside_actors::message::Confirm`].
    Confirm,
    /// [`wayside_actors::frame::Desired`], kept for a device that was away.
    Desired,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Batch, Self::Live, Self::Confirm, Self::Desired];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Live => "live",
            Self::Confirm => "confirm",
            Self::Desired => "desired",
        }
    }
}

/// The liveliness token of a device.
#[must_use]
pub fn alive(device: &DeviceId, name: &str) -> String {
    format!("wayside/v1/alive/{device}/{}", name_chunk(name))
}

/// Whose token a key is.
#[must_use]
pub fn parse_alive(key: &str) -> Option<(DeviceId, String)> {
    let (device, name) = key.strip_prefix("wayside/v1/alive/")?.split_once('/')?;
    Some((device.parse().ok()?, name_from_chunk(name)?))
}

/// The liveliness token of a device that routes for others.
#[must_use]
pub fn routes(device: &DeviceId) -> String {
    format!("wayside/v1/routes/{device}")
}

/// Whose token that is.
#[must_use]
pub fn parse_routes(key: &str) -> Option<DeviceId> {
    key.strip_prefix("wayside/v1/routes/")?.parse().ok()
}

/// Where `from` sends things of this kind to `to`.
#[must_use]
pub fn to(to: &DeviceId, kind: Kind, from: &DeviceId) -> String {
    format!("wayside/v1/to/{to}/{}/{from}", kind.as_str())
}

/// Everything that is sent to this device.
#[must_use]
pub fn inbox(device: &DeviceId) -> String {
    format!("wayside/v1/to/{device}/*/*")
}

/// What came on a key of the inbox, and who says to have sent it: the seal tells.
#[must_use]
pub fn parse_inbox(key: &str) -> Option<(Kind, DeviceId)> {
    let mut chunks = key.strip_prefix("wayside/v1/to/")?.split('/');
    let (_to, kind, from) = (chunks.next()?, chunks.next()?, chunks.next()?);
    let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind)?;
    if chunks.next().is_some() {
        return None;
    }
    Some((kind, from.parse().ok()?))
}

/// Where a device answers operators.
#[must_use]
pub fn control(device: &DeviceId) -> String {
    format!("wayside/v1/control/{device}")
}

/// A device's name as one chunk of a key: letters, digits, `-`, `_` and `.` as they are, other bytes
/// as `%xx`. At most 64 bytes of the name are carried; an empty one becomes `%`.
fn name_chunk(name: &str) -> String {
    let mut end = name.len().min(64);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut chunk = String::new();
    for byte in name[..end].bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            chunk.push(char::from(byte));
        } else {
            chunk.push_str(&format!("%{byte:02x}"));
        }
    }
    if chunk.is_empty() { "%".into() } else { chunk }
}

fn name_from_chunk(chunk: &str) -> Option<String> {
    if chunk == "%" {
        return Some(String::new());
    }
    let (mut name, mut rest) = (Vec::new(), chunk.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            name.push(value as u8);
        } else {
            name.push(byte);
        }
    }
    (name.len() <= 64).then_some(())?;
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_who_and_what() {
        let (a, b) = (DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        for name in ["ewr", "Press 7 / left*", "Brücke", ""] {
            assert_eq!(parse_alive(&alive(&a, name)), Some((a, name.to_owned())), "{name}");
        }
        assert_eq!(parse_routes(&routes(&a)), Some(a));
        for kind in Kind::ALL {
            assert_eq!(parse_inbox(&to(&a, kind, &b)), Some((kind, b)));
        }
        assert_eq!(parse_inbox("wayside/v1/to/x/batch/y"), None);
        assert_eq!(parse_alive("wayside/v1/alive/x/%zz"), None);
    }
}
