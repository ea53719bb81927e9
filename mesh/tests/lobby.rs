//! Devices in a lobby over loopback, and whoever else is there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test takes what it waits for, or panics")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use tokio::runtime::Handle;
use wayside_config::{identity::DeviceId, signer::Signer};
use wayside_mesh::{
    lobby::{DOOR_BYTES, Heard, LOBBY, Lobby, LobbyEvents, LobbySettings, Saying, hand, look},
    session::Excluded,
};

fn group(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*LOBBY.ip(), port)
}

fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn saying(name: &str, grant: Option<&[u8]>) -> Saying {
    Saying {
        name: name.into(),
        labels: BTreeMap::new(),
        fleet: None,
        root: 0,
        revocation: 0,
        assigned: 0,
        grant: grant.map(Into::into),
        mesh: Vec::new(),
        proof: None,
    }
}

fn open(number: u8, port: u16) -> (Lobby, LobbyEvents) {
    let settings = LobbySettings {
        signer: Arc::new(secret(number)),
        group: group(port),
        listen: vec![Ipv4Addr::LOCALHOST],
        exclude: Excluded::default(),
        connect: Vec::new(),
    };
    Lobby::open(&Handle::current(), settings, saying(&format!("d{number}"), None))
}

async fn news(events: &mut LobbyEvents, wanted: impl Fn(&Heard) -> bool) -> Heard {
    let find = async {
        loop {
            let heard = events.news.recv().await.expect("the lobby is open");
            if wanted(&heard) {
                return heard;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), find).await.expect("news within 10 s")
}

fn device(number: u8) -> DeviceId {
    secret(number).key()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_nobody_hear_each_other_and_what_changes_is_said_at_once() {
    let (a, _of_a) = open(1, 17490);
    let (_b, mut of_b) = open(2, 17490);
    news(&mut of_b, |heard| heard.hello.device == device(1)).await;
    let begun = Instant::now();
    a.say(saying("d1", Some(b"grant")));
    let heard = news(&mut of_b, |heard| heard.grant.is_some()).await;
    assert_eq!((heard.grant.as_deref(), heard.hello.name.as_str()), (Some(&b"grant"[..]), "d1"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(a.problem(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_who_waits_and_hands_something_to_one() {
    let (_a, mut of_a) = open(1, 17491);
    let (_b, _of_b) = open(2, 17491);
    let looked = tokio::task::spawn_blocking(|| {
        let begun = Instant::now();
        let heard = look(group(17491), Duration::from_secs(3)).unwrap();
        println!("saw {} after {:?}", heard.len(), begun.elapsed());
        heard
    });
    let heard = looked.await.unwrap();
    let mut names: Vec<_> = heard.iter().map(|heard| heard.hello.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["d1", "d2"]);
    let one = heard.iter().find(|heard| heard.hello.device == device(1)).unwrap();
    let at = SocketAddr::from((one.from, one.hello.port));
    let handing = tokio::task::spawn_blocking(move || hand(&[at], b"a grant"));
    let delivery = of_a.deliveries.recv().await.unwrap();
    assert_eq!(delivery.question, b"a grant");
    delivery.answer.send(b"taken".to_vec()).unwrap();
    assert_eq!(handing.await.unwrap().unwrap(), b"taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_the_lobby_with_what_is_no_hello_keeps_nobody_out_of_it() {
    let (_a, mut of_a) = open(1, 17492);
    let flooding = tokio::task::spawn_blocking(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        let mut sent = 0u32;
        while Instant::now() < until {
            // What is no packet, what is cut short, and what nobody signed.
            for packet in
                [&b"x"[..], b"wayside\x01\xff\xff", &[b"wayside\x01\x00\x04".as_slice(), &[7; 9000]].concat()]
            {
                let _ = socket.send_to(packet, group(17492));
                sent += 1;
            }
        }
        sent
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (_b, _of_b) = open(2, 17492);
    news(&mut of_a, |heard| heard.hello.device == device(2)).await;
    println!("{} packets of a flood", flooding.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_never_ends_is_not_handed_on() {
    let (a, mut of_a) = open(1, 17493);
    let heard =
        tokio::task::spawn_blocking(|| look(group(17493), Duration::from_secs(3)).unwrap()).await.unwrap();
    let at = SocketAddr::from((heard[0].from, heard[0].hello.port));
    let too_much = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&u32::try_from(DOOR_BYTES + 1).unwrap().to_be_bytes()).unwrap();
        // It hangs up at once, and does not wait for as much.
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let begun = Instant::now();
        let ended = stream.read(&mut [0]);
        let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(is_reset), "{ended:?}");
        begun.elapsed()
    });
    let took = too_much.await.unwrap();
    assert!(took < Duration::from_millis(1500), "it was waited for: {took:?}");
    assert!(of_a.deliveries.try_recv().is_err());
    // More of those who say nothing than are let in, and they stay. The first of them is shown out soon.
    let idle: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let handing = tokio::task::spawn_blocking(move || hand(&[at], b"a grant"));
    of_a.deliveries.recv().await.unwrap().answer.send(Vec::new()).unwrap();
    assert!(handing.await.unwrap().is_ok());
    drop((a, idle));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_a_byte_at_a_time_holds_nobody_for_long() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let slow = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Until the other has gone.
        let begins = stream.write_all(&1000u32.to_be_bytes());
        let mut goes_on = begins.is_ok();
        while goes_on {
            std::thread::sleep(Duration::from_millis(200));
            goes_on = stream.write_all(b"x").is_ok();
        }
    });
    let begun = Instant::now();
    let handed = tokio::task::spawn_blocking(move || hand(&[at], b"a grant")).await.unwrap();
    assert!(handed.is_err(), "{handed:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    slow.await.unwrap();
}
