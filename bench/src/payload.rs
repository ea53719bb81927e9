//! Bodies of messages of a given size, and messages that carry them.

use bytes::Bytes;
use wayside_actors::message::Message;
use wayside_config::identity::DeviceId;

/// What is in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// An observation as JSON, as a sensor sends it.
    Json,
    /// Noise, which cannot be packed.
    Noise,
}

/// Message number `number` of a run, with a body of `bytes` bytes.
pub(crate) fn message(origin: DeviceId, kind: Kind, number: u64, bytes: usize) -> Message {
    Message {
        origin,
        source: "sensor".into(),
        topic: "observations".into(),
        properties: Default::default(),
        payload: match kind {
            Kind::Json => json(number, bytes),
            Kind::Noise => noise(number, bytes),
        },
        accepted_ms: 1_700_000_000_000 + number,
    }
}

fn json(number: u64, bytes: usize) -> Bytes {
    let [a, b, c, d] = [31, 37, 41, 43].map(|prime| mixed(number / 8 * prime) % 10_000);
    let mut text = format!(
        "{{\"origin\":\"EWR\",\"row\":{number},\"temp\":{}.{},\"dewp\":{}.{},\"humid\":{}.{:02},\"wind_dir\":{},\
         \"wind_speed\":{}.{a},\"wind_gust\":null,\"precip\":0,\"pressure\":10{:02}.{},\"visib\":10,\"time_hour\":\"2013-01-{:02}T{:02}:00:00Z\"",
        a % 40,
        b % 10,
        b % 30,
        c % 10,
        c % 100,
        d % 100,
        d % 36 * 10,
        d % 20,
        a % 40,
        b % 10,
        number / 24 % 28 + 1,
        number % 24,
    );
    text.push_str(",\"note\":\"");
    while text.len() + 2 < bytes {
        text.push(char::from(b'a' + (mixed(number + text.len() as u64) % 4) as u8));
    }
    text.truncate(bytes.saturating_sub(2));
    text.push_str("\"}");
    text.into()
}

fn noise(number: u64, bytes: usize) -> Bytes {
    let words = (0..bytes.div_ceil(8) as u64).flat_map(|at| mixed(number << 20 | at).to_le_bytes());
    words.take(bytes).collect::<Vec<u8>>().into()
}

/// Numbers that look like chance and are the same in each run (the finaliser of SplitMix64).
const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_size_that_is_asked_for() {
        for kind in [Kind::Json, Kind::Noise] {
            for number in [1, 1_000_000] {
                assert_eq!(message(DeviceId::from_bytes([1; 32]), kind, number, 256).payload.len(), 256);
            }
        }
    }
}
