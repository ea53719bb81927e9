//! What commands print: tables for people, JSON for programs.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

use super::{
    failure::Failure,
    visible::{one_line, visible, visible_json},
};

/// Prints a line or several.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{}", harmless(text.trim_end(), io::stdout().is_terminal()))?)
}

/// Prints a line or several on stderr: what a person should know, and no program reads.
pub(super) fn note(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr(), "{}", harmless(text.trim_end(), io::stderr().is_terminal()));
}

/// Prints one JSON document on one line.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let json = serde_json::to_string(value).expect("what commands print is plain JSON");
    Ok(writeln!(io::stdout(), "{}", visible_json(&json))?)
}

/// What may be written: to a file or another program every byte, to a terminal nothing that it obeys.
fn harmless(text: &str, to_terminal: bool) -> Cow<'_, str> {
    if to_terminal { visible(text) } else { Cow::Borrowed(text) }
}

/// Columns as wide as their widest cell. Control characters of cells are escaped.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &str| one_line(cell).into_owned();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head)
        .chain(rows)
        .map(|row: &Vec<String>| row.iter().map(|cell| clean(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(line, "{cell:<width$}  ", width = width(column).unwrap_or(0));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// `3d 4h`, `5m 6s`: the two largest units.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `12:34:56.789`, in UTC.
pub(super) fn time_of_day(wall_ms: u64) -> String {
    let (seconds, ms) = (wall_ms / 1000, wall_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["ewr".to_owned(), "1".to_owned()], vec!["a\x1b[31mlong".to_owned(), String::new()]];
        insta::assert_snapshot!(table(&["NAME", "N"], &rows), @r"
        NAME             N
        ewr              1
        a\u{1b}[31mlong
        ");
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_obeys_and_a_file_gets_everything() {
        let text = "title\u{1b}]0;mine\u{7}\tx\n\u{9b}2Jy";
        assert_eq!(harmless(text, false), text);
        assert_eq!(harmless(text, true), "title\\u{1b}]0;mine\\u{7}\tx\n\\u{9b}2Jy");
    }

    #[test]
    fn units_are_readable() {
        assert_eq!([59_999, 61_000, 3_660_000, 90_000_000].map(duration), ["59s", "1m 1s", "1h 1m", "1d 1h"]);
        assert_eq!([10, 1536, 5 << 20].map(bytes), ["10 B", "1.5 KiB", "5.0 MiB"]);
        assert_eq!(time_of_day(1_700_000_000_123), "22:13:20.123");
    }
}
