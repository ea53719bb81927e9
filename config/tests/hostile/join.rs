//! A join link and a join token of any bytes: what is read is written alike.

use wayside_config::{join::JoinLink, rule::Token};

pub(crate) fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(link) = text.parse::<JoinLink>() {
        assert_eq!(link.to_string().parse(), Ok(link));
    }
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.reveal(), text.trim());
    }
}
