//! One HTTP request to the cloud's API on loopback. HTTP/1.0, so that the answer ends with the connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// For the connection, and for each part of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// For the answer as a whole: one that goes on and on is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

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
/// When there is no connection, the answer is not HTTP, or it does not end.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer> {
    get_within(address, path, token, ANSWER_LIMIT).with_context(|| format!("GET http://{address}{path}"))
}

fn get_within(address: SocketAddr, path: &str, token: Option<&str>, limit: Duration) -> Result<Answer> {
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT.min(limit)))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n")?;
    let (mut bytes, mut part) = (Vec::new(), [0; 8192]);
    loop {
        match stream.read(&mut part).context("the answer did not come")? {
            0 => break,
            len => bytes.extend_from_slice(&part[..len]),
        }
        ensure!(started.elapsed() < limit, "the answer did not end within {} s", limit.as_secs());
    }
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
    use std::{
        net::{Ipv4Addr, TcpListener},
        thread,
    };

    use super::*;

    #[test]
    fn head_and_body_come_apart() {
        let answer = parse("HTTP/1.0 404 Not Found\r\nx: y\r\n\r\nwhat\r\n\r\nelse").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "what\r\n\r\nelse"));
        assert!(parse("SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn an_answer_that_drips_is_given_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let dripping = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let error = get_within(address, "/", None, Duration::from_millis(500)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error:#}");
        dripping.join().unwrap();
    }
}
