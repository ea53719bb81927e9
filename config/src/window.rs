//! When what runs may be interrupted: times of the week, in UTC.
//!
//! UTC, for a device often has no other zone, a release means the same hours on all its devices, and in UTC no hour is
//! left out or comes twice when clocks change.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60_000;
const DAY_MIN: u64 = 24 * 60;
const WEEK_MIN: u64 = 7 * DAY_MIN;
/// The week's minute at which the Unix epoch began: 1970-01-01 was a Thursday.
const EPOCH_MIN: u64 = 3 * DAY_MIN;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a window looks like, for whoever wrote another thing.
pub const WINDOW_FORM: &str = "times in UTC such as `02:00-04:30`, with days before them where it is not every day: `sat,sun 22:00-04:00`, `mon-fri 01:00-03:00`";

/// A time of the week. Written `[DAYS ]HH:MM-HH:MM`; an end that is not after the beginning is on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// A bit for each day on which it opens, Monday's the lowest.
    days: u8,
    from_min: u16,
    /// From 1 to 24 h after it opens.
    length_min: u16,
}

/// The text is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {WINDOW_FORM}")]
pub struct BadWindow;

impl Window {
    /// Milliseconds until it is open; 0 while it is.
    fn wait_ms(self, week_ms: u64) -> u64 {
        let opens = |day: u64| {
            let since =
                (week_ms + WEEK_MIN * MINUTE_MS - self.opens_min(day) * MINUTE_MS) % (WEEK_MIN * MINUTE_MS);
            let is_open = since < u64::from(self.length_min) * MINUTE_MS;
            if is_open { 0 } else { WEEK_MIN * MINUTE_MS - since }
        };
        (0..7).filter(|day| self.days & (1 << day) != 0).map(opens).min().unwrap_or(u64::MAX)
    }

    fn opens_min(self, day: u64) -> u64 {
        day * DAY_MIN + u64::from(self.from_min)
    }
}

/// Milliseconds from `wall_ms` of the clock until one of them is open; 0 while one is, or when there is none.
#[must_use]
pub fn wait_ms(windows: &[Window], wall_ms: u64) -> u64 {
    let week_ms = wall_ms.saturating_add(EPOCH_MIN * MINUTE_MS) % (WEEK_MIN * MINUTE_MS);
    windows.iter().map(|window| window.wait_ms(week_ms)).min().unwrap_or(0)
}

/// `2026-11-22 21:40 UTC`.
#[must_use]
pub fn utc_minute(wall_ms: u64) -> String {
    let minutes = wall_ms / MINUTE_MS;
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    // Years are counted from March, so that the leap day is a year's last.
    let days = minutes / DAY_MIN + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC", era * 400 + year + carry)
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let (days, times) = match text.split_once(' ') {
            Some((days, times)) => (read_days(days)?, times),
            None => (0b111_1111, text),
        };
        let (from, to) = times.split_once('-').ok_or(BadWindow)?;
        let (from, to) = (read_time(from)?, read_time(to)?);
        // 24:00 is a day's end, and nothing begins then.
        if u64::from(from) >= DAY_MIN || from == to {
            return Err(BadWindow);
        }
        let day = DAY_MIN as u16;
        let length_min = if to > from { to - from } else { to + day - from };
        Ok(Self { days, from_min: from, length_min })
    }
}

fn read_days(text: &str) -> Result<u8, BadWindow> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or(BadWindow);
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `sat-mon` goes over the week's end.
        for step in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + step) % 7);
        }
    }
    Ok(days)
}

fn read_time(text: &str) -> Result<u16, BadWindow> {
    let number = |text: &str| match text.len() {
        2 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u16>().map_err(|_| BadWindow),
        _ => Err(BadWindow),
    };
    let (hour, minute) = text.split_once(':').ok_or(BadWindow)?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    if minute > 59 || hour * 60 + minute > DAY_MIN as u16 {
        return Err(BadWindow);
    }
    Ok(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0b111_1111 {
            let named = DAYS.iter().enumerate().filter(|(day, _)| self.days & (1 << day) != 0);
            let names: Vec<&str> = named.map(|(_, name)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        let day = DAY_MIN as u16;
        let to = self.from_min + self.length_min;
        let to = if to > day { to - day } else { to };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from_min / 60, self.from_min % 60, to / 60, to % 60)
    }
}

impl TryFrom<String> for Window {
    type Error = BadWindow;

    fn try_from(text: String) -> Result<Self, BadWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-23, a Monday, at 00:00.
    const MONDAY_MS: u64 = 1_795_392_000_000;

    fn windows(texts: &[&str]) -> Vec<Window> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn at(day: u64, hour: u64, minute: u64) -> u64 {
        MONDAY_MS + ((day * 24 + hour) * 60 + minute) * MINUTE_MS
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        const HOUR: u64 = 60 * MINUTE_MS;
        let weekend = windows(&["sat,sun 22:00-04:00"]);
        for (wall_ms, expected) in [
            (at(5, 21, 59), MINUTE_MS),
            (at(5, 22, 0), 0),
            (at(6, 3, 59), 0),
            (at(6, 4, 0), 18 * HOUR),
            // From Sunday into the week that follows.
            (at(7, 3, 59), 0),
            (at(7, 4, 0), (5 * 24 + 18) * HOUR),
            (at(0, 3, 59), 0),
        ] {
            assert_eq!(wait_ms(&weekend, wall_ms), expected, "{}", utc_minute(wall_ms));
        }
        assert_eq!(wait_ms(&[], at(0, 0, 0)), 0);
        let two = windows(&["mon-fri 01:00-03:00", "sat 00:00-24:00"]);
        assert_eq!(wait_ms(&two, at(4, 3, 0)), 21 * HOUR);
        assert_eq!(wait_ms(&two, at(5, 23, 59)), 0);
        assert_eq!(wait_ms(&two, at(6, 0, 0)), 25 * HOUR);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "02:00",
            "2:00-4:00",
            "02:00-02:00",
            "24:00-02:00",
            "02:60-03:00",
            "02:00-24:01",
            "all 02:00-03:00",
            "mon- 02:00-03:00",
            "mon,, 02:00-03:00",
            "mon  02:00-03:00",
            "Mon 02:00-03:00",
            "02:00-03:00 mon",
            "+2:00-03:00",
        ] {
            assert_eq!(text.parse::<Window>(), Err(BadWindow), "{text}");
        }
    }

    #[test]
    fn times_are_told_to_the_minute() {
        for (wall_ms, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_868_799_500, "2000-02-29 23:59 UTC"),
            (MONDAY_MS, "2026-11-23 00:00 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc_minute(wall_ms), expected);
        }
    }

    proptest! {
        #[test]
        fn a_window_is_the_same_when_it_is_read_again(
            days in 1u8..128, from_min in 0u16..1440, length_min in 1u16..=1440, wall_ms in 0u64..1 << 42,
        ) {
            prop_assume!(length_min < 1440 || from_min == 0);
            let window = Window { days, from_min, length_min };
            prop_assert_eq!(window.to_string().parse(), Ok(window));
            // When the wait is over it is open, and it was not open a moment before.
            let wait = wait_ms(&[window], wall_ms);
            prop_assert_eq!(wait_ms(&[window], wall_ms + wait), 0);
            prop_assert!(wait == 0 || wait_ms(&[window], wall_ms + wait - 1) == 1);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9:, -]{0,24}") {
            let _ = text.parse::<Window>();
        }
    }
}
