//! What every packet of MQTT 3.1.1 begins with, for the clients in `src/bin`.

/// Adds a text with its length. Texts here are far below 64 KiB.
pub fn put(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(text.as_bytes());
}

/// A packet: its first byte, the length of its body as the standard writes it (2.2.3), and the body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        out.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_standard() {
        for (length, written) in
            [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (16_384, &[0x80, 0x80, 1])]
        {
            let packet = packet(0x30, &vec![0; length]);
            assert_eq!(&packet[1..packet.len() - length], written);
        }
        let mut body = Vec::new();
        put(&mut body, "ab");
        assert_eq!(body, b"\0\x02ab");
    }
}
