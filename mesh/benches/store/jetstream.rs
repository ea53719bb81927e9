//! NATS JetStream with a stream on files, as its text protocol has it: publish, and count what is acknowledged.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::{
    PAYLOAD_BYTES,
    messages::{Messages, percentile},
};

const STREAM: &str = r#"{"name":"BENCH","subjects":["bench"],"storage":"file","retention":"limits","discard":"old","max_bytes":1073741824,"max_msgs":-1,"max_age":0,"max_consumers":-1,"num_replicas":1}"#;

/// `under_way` messages wait at a time, as many as for the queue.
pub(crate) fn measure(port: u16, time: Duration, under_way: usize) -> String {
    let mut out = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    out.set_nodelay(true).unwrap();
    let mut input = BufReader::with_capacity(1 << 16, out.try_clone().unwrap());
    write!(out, "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB acks 1\r\n").unwrap();
    write!(out, "PUB $JS.API.STREAM.CREATE.BENCH acks {}\r\n{STREAM}\r\n", STREAM.len()).unwrap();
    let created = acknowledgement(&mut input);
    assert!(!created.contains("\"error\""), "{created}");
    let (acked, acks) = mpsc::sync_channel(under_way * 2);
    std::thread::spawn(move || {
        loop {
            let text = acknowledgement(&mut input);
            assert!(text.contains("\"seq\""), "{text}");
            if acked.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let mut messages = Messages::new();
    let (mut asked, mut waits, mut count) = (std::collections::VecDeque::new(), Vec::new(), 0_u64);
    let began = Instant::now();
    while began.elapsed() < time || !asked.is_empty() {
        let mut publish = Vec::new();
        while began.elapsed() < time && asked.len() < under_way {
            publish.extend(format!("PUB bench acks {PAYLOAD_BYTES}\r\n").as_bytes());
            publish.extend(messages.payload());
            publish.extend(b"\r\n");
            asked.push_back(Instant::now());
            count += 1;
        }
        out.write_all(&publish).unwrap();
        for _ in 0..asked.len().div_ceil(2) {
            let at = acks.recv().unwrap();
            let since: Instant = asked.pop_front().unwrap();
            waits.push(at.duration_since(since).as_secs_f64() * 1000.0);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    format!(
        r#"{{"msgs_s":{:.0},"p50_ms":{:.3},"p99_ms":{:.3}}}"#,
        count as f64 / seconds,
        percentile(&waits, 50),
        percentile(&waits, 99),
    )
}

/// The next message's body; answers what the server asks in between.
fn acknowledgement(input: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(input.read_line(&mut line).unwrap() > 0, "the server closed the connection");
        if line.starts_with("MSG ") {
            let len: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let mut body = vec![0; len + 2];
            input.read_exact(&mut body).unwrap();
            return String::from_utf8_lossy(&body[..len]).into_owned();
        }
        if line.starts_with("PING") {
            input.get_mut().write_all(b"PONG\r\n").unwrap();
        }
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}
