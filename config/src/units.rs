//! Sizes, durations and shares of a CPU as Compose writes them.

/// `512m`, `64 KiB`, `1073741824`: units are powers of 1024 whatever they are called, as in Compose.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `1m30s`, `500ms`: whole numbers of `ms`, `s`, `m`, `h`, added up, in milliseconds.
#[must_use]
pub fn duration_ms(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `0.5`, `2`: CPUs, in thousandths. More than 0, at most 3 decimals.
pub(crate) fn cpu_millis(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis).filter(|millis| *millis > 0)
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, expected) in [
            ("0", Some(0)),
            ("64b", Some(64)),
            ("2k", Some(2048)),
            ("512MiB", Some(512 << 20)),
            ("512 mb", Some(512 << 20)),
            ("1G", Some(1 << 30)),
            ("16777216t", None),
            ("1.5g", None),
            ("-1", None),
            ("m", None),
            ("", None),
            ("5x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_add_up() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1h1ms", Some(3_600_001)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }

    #[test]
    fn cpus_are_thousandths() {
        for (text, expected) in [
            ("0.5", Some(500)),
            ("2", Some(2000)),
            ("1.25", Some(1250)),
            ("0", None),
            ("0.0001", None),
            ("-1", None),
            ("a", None),
        ] {
            assert_eq!(cpu_millis(text), expected, "{text}");
        }
    }
}
