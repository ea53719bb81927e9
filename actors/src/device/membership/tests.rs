mod site;

use super::*;

const ME: DeviceId = DeviceId::from_bytes([1; 32]);
const OTHER: DeviceId = DeviceId::from_bytes([2; 32]);

fn at(membership: &mut Membership, ms: u64, event: Event) -> Effects<Effect> {
    let mut out = Effects::new();
    membership.handle(Time::from_millis(ms), event, &mut out);
    out
}

fn seen(device: DeviceId) -> Event {
    Event::TokenSeen { device, name: "ewr".into() }
}

#[test]
fn a_flap_is_no_news_and_a_long_absence_is() {
    let mut membership = Membership::new(ME);
    let mut up = Effects::new();
    up.push(Effect::Up(OTHER));
    up.push(Effect::Peers(vec![Peer { device: OTHER, name: "ewr".into() }]));
    assert_eq!(at(&mut membership, 0, seen(OTHER)), up);

    let mut wake = Effects::new();
    wake.wake_at(Time::from_millis(100 + FLAP_MS));
    assert_eq!(at(&mut membership, 100, Event::TokenGone { device: OTHER }), wake);
    assert_eq!(at(&mut membership, 1500, seen(OTHER)), Effects::new());
    assert_eq!(at(&mut membership, 100 + FLAP_MS, Event::Woken), Effects::new());

    at(&mut membership, 9000, Event::TokenGone { device: OTHER });
    let mut down = Effects::new();
    down.push(Effect::Down(OTHER));
    down.push(Effect::Peers(vec![]));
    // It counts towards the size of the site for longer.
    down.wake_at(Time::from_millis(9000 + 20_000));
    assert_eq!(at(&mut membership, 9000 + FLAP_MS, Event::Woken), down);
}

#[test]
fn its_own_token_is_no_neighbour_and_who_asks_is_told() {
    let mut membership = Membership::new(ME);
    assert_eq!(at(&mut membership, 0, seen(ME)), Effects::new());
    let mut down = Effects::new();
    down.push(Effect::Down(OTHER));
    assert_eq!(at(&mut membership, 0, Event::Asked { device: OTHER }), down);
}
