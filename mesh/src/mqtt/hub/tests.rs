//! Who gets a session.

use wayside_actors::device::access::Client;
use wayside_config::leaf::PasswordHash;

use super::*;
use crate::mqtt::packet::Version;

struct Nobody;

impl Authenticator for Nobody {
    fn passwords(&self, _module: &ModuleId) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

#[tokio::test]
async fn who_is_not_wanted_any_more_leaves_nothing_to_a_later_one_of_its_name_and_a_pause_takes_nothing() {
    let word = password::hash(b"word", &[7; 16]).unwrap();
    let (hub, mut events) =
        Hub::new(Settings::default(), Arc::new(Nobody), BTreeMap::new(), Handle::current());
    let hub = Arc::new(hub);
    // Whether a session begins anew with this connection.
    let mut begins = async || {
        let lasting = Connect { clean: false, expiry_s: u32::MAX, ..connect("word") };
        let proven = hub.authenticate(&lasting, Audience::Leaves, None).await.unwrap();
        let (slot, link, _) = hub.connect(&proven, lasting).unwrap();
        hub.tell_all(&slot).await;
        slot.lock().session.lost(link, hub.now_ms());
        hub.tell_all(&slot).await;
        let mut is_new = false;
        while let Ok(event) = events.try_recv() {
            is_new |= matches!(event, MqttEvent::SessionCleared { .. });
        }
        is_new
    };
    hub.set_clients(vec![client(&word)]);
    assert!(begins().await);
    assert!(!begins().await);
    hub.pause();
    assert!(hub.authenticate(&connect("word"), Audience::Leaves, None).await.is_none());
    hub.set_clients(vec![client(&word)]);
    assert!(!begins().await);
    hub.set_clients(vec![]);
    hub.set_clients(vec![client(&word)]);
    assert!(begins().await);
}

fn client(password: &PasswordHash) -> Client {
    let leaf =
        Leaf { password: Some(password.clone()), certificate: None, publish: vec![], subscribe: vec![] };
    Client { id: "w/press".parse().unwrap(), leaf: Some(leaf), topics: vec![] }
}

fn connect(password: &str) -> Connect {
    Connect {
        version: Version::V4,
        client_id: "press".into(),
        clean: true,
        keep_alive_s: 0,
        user_name: Some("w/press".into()),
        password: Some(password.into()),
        will: None,
        expiry_s: 0,
        receive_maximum: 10,
        max_packet: u32::MAX,
        topic_aliases: 0,
        reasons: false,
        authentication: false,
    }
}

#[tokio::test]
async fn a_password_that_is_replaced_while_it_is_checked_lets_nobody_in() {
    let [old, new] = ["old", "new"].map(|text| password::hash(text.as_bytes(), &[7; 16]).unwrap());
    let (hub, _events) = Hub::new(Settings::default(), Arc::new(Nobody), BTreeMap::new(), Handle::current());
    let hub = Arc::new(hub);
    hub.set_clients(vec![client(&old)]);
    let prove = async |text| hub.authenticate(&connect(text), Audience::Leaves, None).await;
    assert!(prove("new").await.is_none());
    let proven = prove("old").await.unwrap();
    hub.set_clients(vec![client(&new)]);
    assert!(hub.connect(&proven, connect("old")).is_none());
    let proven = prove("new").await.unwrap();
    // What it may publish and read is no proof.
    let mut more = client(&new);
    more.topics.push("t".into());
    hub.set_clients(vec![more]);
    assert!(hub.connect(&proven, connect("new")).is_some());
}
