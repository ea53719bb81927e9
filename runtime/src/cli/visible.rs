//! Text from elsewhere on a terminal: what a module logs, what it publishes, and how devices are called may hold
//! sequences that move the cursor, change the title, or answer as if somebody typed.

use std::borrow::Cow;

/// Escapes control characters (C0, DEL, C1) except line breaks and tabs: `\u{1b}`.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    escape(text, &['\n', '\t'])
}

/// As [`visible`], and line breaks and tabs too: for a cell, or a value after its name.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, &[])
}

fn escape<'a>(text: &'a str, harmless: &[char]) -> Cow<'a, str> {
    let is_harmful = |c: char| c.is_control() && !harmless.contains(&c);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same for JSON, whose writer escapes C0 only: there such characters stand in strings alone.
pub(super) fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(char::is_control) {
        return Cow::Borrowed(json);
    }
    let escape = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.into() };
    Cow::Owned(json.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_is_escaped_and_nothing_else() {
        for c in (0..=0xa0).filter_map(char::from_u32) {
            let text = format!("a{c}b");
            let is_kept = matches!(c, '\n' | '\t' | ' '..='~' | '\u{a0}');
            assert_eq!(visible(&text) == text, is_kept, "{c:?}");
            assert!(!one_line(&text).contains(char::is_control), "{c:?}");
        }
        assert_eq!(visible("\u{1b}]0;x\u{7}\u{9b}2J\r\n"), "\\u{1b}]0;x\\u{7}\\u{9b}2J\\r\n");
        assert_eq!(one_line("a\tb\nc"), "a\\tb\\nc");
        assert!(matches!(visible("Zürich ☀ 24 °C"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "line": "a\u{1b}[2J\u{7f}\u{9b}31m\n", "Zürich": "☀" });
        let text = serde_json::to_string(&value).unwrap();
        let safe = visible_json(&text);
        assert!(!safe.contains(char::is_control) && safe.contains("\\u009b31m"), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
