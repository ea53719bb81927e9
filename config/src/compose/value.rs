//! What a YAML value means where text, a number or a list is wanted.

use std::{collections::BTreeMap, ops::Range};

use super::yaml::{Entry, Node, Value};
use crate::diagnostic::{Problems, quote};

impl Node {
    /// Whether nothing is written here.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Text, with `$$` resolved. `what` is the key that it stands under.
    pub(super) fn text(&self, what: &str, problems: &mut Problems) -> Option<String> {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => {
                problems.error(
                    &self.span,
                    format!("{} has no value", quote(what)),
                    "write one, or remove the key",
                );
                None
            }
            Value::Scalar { text, .. } => resolve_dollars(text, &self.span, problems),
            Value::List(_) | Value::Map(_) => {
                problems.error(&self.span, format!("{} must be text, not {}", quote(what), self.shape()), "");
                None
            }
        }
    }

    /// Text that satisfies `is_valid`; `expected` says what that is.
    pub(super) fn text_that(
        &self,
        what: &str,
        expected: &str,
        problems: &mut Problems,
        is_valid: impl Fn(&str) -> bool,
    ) -> Option<String> {
        self.parsed(what, expected, problems, |text| is_valid(text).then(|| text.to_owned()))
    }

    /// Text that `parse` reads; `expected` says what it takes.
    pub(super) fn parsed<T>(
        &self,
        what: &str,
        expected: &str,
        problems: &mut Problems,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(what, problems)?;
        let value = parse(&text);
        if value.is_none() {
            let message = format!("{} is not a valid {}", quote(&text), quote(what));
            problems.error(&self.span, message, format!("write {expected}"));
        }
        value
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, what: &str, problems: &mut Problems) -> Option<bool> {
        self.parsed(what, "`true` or `false`", problems, |text| text.parse().ok())
    }

    /// A list of text.
    pub(super) fn texts(&self, what: &str, problems: &mut Problems) -> Option<Vec<String>> {
        let items = self.list(what, problems)?;
        items.iter().map(|item| item.literal(what, problems)).collect()
    }

    /// A list.
    pub(super) fn list(&self, what: &str, problems: &mut Problems) -> Option<&[Self]> {
        if let Value::List(items) = &self.value {
            return Some(items);
        }
        problems.error(&self.span, format!("{} must be a list, not {}", quote(what), self.shape()), "");
        None
    }

    /// A mapping.
    pub(super) fn map(&self, what: &str, problems: &mut Problems) -> Option<&[Entry]> {
        if let Value::Map(entries) = &self.value {
            return Some(entries);
        }
        problems.error(&self.span, format!("{} must be a mapping, not {}", quote(what), self.shape()), "");
        None
    }

    /// Compose's map-or-list: `{NAME: value}` or `[NAME=value]`.
    pub(super) fn pairs(
        &self,
        what: &str,
        problems: &mut Problems,
    ) -> BTreeMap<String, (String, Range<usize>)> {
        let mut pairs = BTreeMap::new();
        match &self.value {
            Value::Map(entries) => {
                for Entry { key, key_span, value } in entries {
                    if value.is_null() {
                        no_value(key, key_span, problems);
                    } else if let Some(text) = value.literal(key, problems) {
                        pairs.insert(key.clone(), (text, key_span.clone()));
                    }
                }
            }
            Value::List(items) => {
                for item in items {
                    let Some(text) = item.literal(what, problems) else { continue };
                    match text.split_once('=') {
                        None => no_value(&text, &item.span, problems),
                        Some((key, value)) => {
                            let pair = (value.to_owned(), item.span.clone());
                            if pairs.insert(key.to_owned(), pair).is_some() {
                                let message = format!("{} comes twice", quote(key));
                                problems.error(&item.span, message, "keep one of them");
                            }
                        }
                    }
                }
            }
            Value::Scalar { .. } => {
                let message = format!("{} must be a mapping or a list, not text", quote(what));
                problems.error(&self.span, message, "");
            }
        }
        pairs
    }

    /// Text that reaches the container. A plain number must look as Compose would write it, so that
    /// a laptop and a device give a container the same.
    pub(super) fn literal(&self, what: &str, problems: &mut Problems) -> Option<String> {
        if let Value::Scalar { text, plain: true } = &self.value
            && changes_in_compose(text)
        {
            let message =
                format!("{} is a number or a boolean to YAML and would be written differently", quote(text));
            problems.error(&self.span, message, format!("put it in quotes: \"{text}\""));
            return None;
        }
        self.text(what, problems)
    }

    fn shape(&self) -> &'static str {
        match self.value {
            Value::Scalar { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

fn no_value(name: &str, span: &Range<usize>, problems: &mut Problems) {
    let message = format!("{} has no value, and a device has no shell to take it from", quote(name));
    problems.error(span, message, format!("write the value, or `{name}: \"\"` for an empty one"));
}

/// Compose reads these as numbers or booleans and writes them in its own way.
fn changes_in_compose(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['-', '+']);
    let other_base = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|base| unsigned.starts_with(base));
    if other_base || matches!(text, "True" | "TRUE" | "False" | "FALSE") {
        return true;
    }
    if matches!(unsigned.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = text.replace('_', "");
    digits.parse::<i64>().map_or_else(
        |_| digits.parse::<f64>().is_ok_and(|float| !is_written_alike(float, text)),
        |integer| integer.to_string() != text,
    )
}

/// Go's `%v` switches to exponents outside these bounds.
fn is_written_alike(float: f64, text: &str) -> bool {
    (1e-4..1e21).contains(&float.abs()) && float.to_string() == text
}

/// Resolves `$$`. Compose would fill in `$NAME` from the laptop's shell; a device has none.
fn resolve_dollars(text: &str, span: &Range<usize>, problems: &mut Problems) -> Option<String> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        resolved.push_str(before);
        let Some(after) = after.strip_prefix('$') else {
            let name: String = after
                .trim_start_matches('{')
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let (message, help) = if name.is_empty() {
                ("a single `$` has no meaning here".to_owned(), "write `$$` for a literal `$`")
            } else {
                (
                    format!(
                        "the variable {} cannot be filled in: a device has no shell environment",
                        quote(&name)
                    ),
                    "write the value itself, or `$$` for a literal `$`",
                )
            };
            problems.error(span, message, help);
            return None;
        };
        resolved.push('$');
        rest = after;
    }
    resolved.push_str(rest);
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_escapes_or_errors() {
        let mut problems = Problems::default();
        assert_eq!(resolve_dollars("a$$b$$", &(0..0), &mut problems), Some("a$b$".into()));
        assert!(!problems.has_errors());
        for text in ["$A", "${A:-b}", "$", "a$ b", "${"] {
            let mut problems = Problems::default();
            assert_eq!(resolve_dollars(text, &(0..0), &mut problems), None, "{text}");
            assert!(problems.has_errors());
        }
    }

    #[test]
    fn only_numbers_that_compose_leaves_alone_pass() {
        for text in ["1", "-5", "0", "1.5", "abc", "1.2.3", "10s", "true", "0.001", "127.0.0.1", "v1e3"] {
            assert!(!changes_in_compose(text), "{text}");
        }
        for text in ["0x1f", "1.0", "1e3", "007", "+1", "1_000", "True", ".5", "0o7", ".inf", "0.00001"] {
            assert!(changes_in_compose(text), "{text}");
        }
    }
}
