//! The link that lets a device join: where the cloud is, its key, and a token.

use std::{fmt, str::FromStr};

use crate::{
    identity::{BadPublicKey, PublicKey},
    limits::TOKEN_BYTES,
};

const SCHEME: &str = "wayside://";

/// Where a cloud is and how to be let in: `wayside://HOST:PORT/?key=KEY&token=TOKEN`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinLink {
    /// Name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// UDP port of the uplink.
    pub port: u16,
    /// The cloud's key: the only one that the device will talk to.
    pub key: PublicKey,
    /// What lets a new device in; not needed by one that has been admitted before.
    pub token: Option<String>,
}

impl fmt::Display for JoinLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/?key={}", self.address(), self.key)?;
        self.token.as_ref().map_or(Ok(()), |token| write!(f, "&token={token}"))
    }
}

/// Without the token, for logs.
impl fmt::Debug for JoinLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/?key={}", self.address(), self.key)
    }
}

impl JoinLink {
    /// `HOST:PORT`, with brackets around an IPv6 address.
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not a join link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJoinLink {
    /// Its outline is another one.
    #[error("expected wayside://HOST:PORT/?key=KEY&token=TOKEN, as `wayside-cloud links` shows it")]
    Shape,
    /// The address is not usable.
    #[error("`{0}` is not HOST:PORT; an IPv6 address needs brackets, as in [::1]:7443")]
    Address(String),
    /// The key is not one.
    #[error("the link's key: {0}")]
    Key(#[from] BadPublicKey),
    /// The token has other characters or is too long.
    #[error("the link's token must be 1 to 128 letters, digits, `-` and `_`")]
    Token,
    /// A part that this version does not know, or one that comes twice.
    #[error("the link's part `{0}` is not known or comes twice")]
    Part(String),
}

impl FromStr for JoinLink {
    type Err = BadJoinLink;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(SCHEME).ok_or(BadJoinLink::Shape)?;
        let (address, query) = rest.split_once("/?").ok_or(BadJoinLink::Shape)?;
        let (host, port) = parse_address(address)?;
        let (mut key, mut token) = (None, None);
        for part in query.split('&') {
            match part.split_once('=') {
                Some(("key", value)) if key.is_none() => key = Some(value.parse()?),
                Some(("token", value)) if token.is_none() => token = Some(parse_token(value)?),
                Some((name, _)) => return Err(BadJoinLink::Part(name.to_owned())),
                None => return Err(BadJoinLink::Shape),
            }
        }
        Ok(Self { host, port, key: key.ok_or(BadJoinLink::Shape)?, token })
    }
}

/// `HOST:PORT` with a host that is a name or an address; brackets around IPv6 are taken off.
pub(crate) fn parse_address(text: &str) -> Result<(String, u16), BadJoinLink> {
    let wrong = || BadJoinLink::Address(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| {
        (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    match inner {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok((address.to_owned(), port)),
        None if is_name(host) => Ok((host.to_owned(), port)),
        Some(_) | None => Err(wrong()),
    }
}

/// A token as given; it is compared by the cloud, not here.
pub(crate) fn parse_token(text: &str) -> Result<String, BadJoinLink> {
    let is_valid = (1..=TOKEN_BYTES).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if is_valid { Ok(text.to_owned()) } else { Err(BadJoinLink::Token) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_is_read_and_written() {
        let key = PublicKey::from_bytes([7; 32]);
        for text in [
            format!("wayside://cloud.example:7443/?key={key}&token=abc-_9"),
            format!("wayside://[2001:db8::1]:7443/?key={key}&token=t"),
            format!("wayside://10.0.0.1:1/?key={key}"),
        ] {
            let link: JoinLink = text.parse().unwrap();
            assert_eq!(link.to_string(), text);
            assert!(!format!("{link:?}").contains("token"));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let key = PublicKey::from_bytes([7; 32]);
        for (text, expected) in [
            ("https://a:1/".to_owned(), BadJoinLink::Shape),
            (format!("wayside://a:1?key={key}"), BadJoinLink::Shape),
            ("wayside://a:1/?token=t".to_owned(), BadJoinLink::Shape),
            (format!("wayside://a/?key={key}"), BadJoinLink::Address("a".into())),
            (format!("wayside://::1:7/?key={key}"), BadJoinLink::Address("::1:7".into())),
            (format!("wayside://a:0/?key={key}"), BadJoinLink::Address("a:0".into())),
            ("wayside://a:1/?key=abc".to_owned(), BadJoinLink::Key(BadPublicKey)),
            (format!("wayside://a:1/?key={key}&token="), BadJoinLink::Token),
            (format!("wayside://a:1/?key={key}&key={key}"), BadJoinLink::Part("key".into())),
            (format!("wayside://a:1/?key={key}&x=1"), BadJoinLink::Part("x".into())),
        ] {
            assert_eq!(text.parse::<JoinLink>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(text in "(wayside://)?[a-z0-9:.\\[\\]]{0,12}(/\\?)?[a-z=&]{0,70}") {
            if let Ok(link) = text.parse::<JoinLink>() {
                prop_assert_eq!(link.to_string(), text);
            }
        }
    }
}
