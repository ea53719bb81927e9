//! One HTTP request to the cloud's API on loopback. HTTP/1.0, so that the answer ends with the connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A status code and a body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// GETs `path` with a bearer token, if there is one.
///
/// # Errors
/// When there is no connection or the answer is not HTTP.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8(bytes)?)
}

fn parse(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the HTTP head")?;
    let status_line = head.lines().next().unwrap_or_default();
    if !status_line.starts_with("HTTP/1.") {
        bail!("`{status_line}` is not HTTP");
    }
    let status = status_line.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_body_come_apart() {
        let answer = parse("HTTP/1.0 404 Not Found\r\nx: y\r\n\r\nwhat\r\n\r\nelse").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "what\r\n\r\nelse"));
        assert!(parse("SSH-2.0\r\n\r\n").is_err());
    }
}
