//! Splits a command line into words as Compose does: quotes and backslashes, and no shell.

/// Why a command line cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadWords {
    /// A quote is not closed, or a backslash ends the text.
    Unfinished,
    /// An operator that only a shell understands.
    NeedsShell(char),
}

/// The words of `text`.
pub(super) fn split(text: &str) -> Result<Vec<String>, BadWords> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            c if c.is_whitespace() => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(characters.next().ok_or(BadWords::Unfinished)?),
            quote @ ('"' | '\'') => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or(BadWords::Unfinished)? {
                        c if c == quote => break,
                        '\\' if quote == '"' => word.push(characters.next().ok_or(BadWords::Unfinished)?),
                        c => word.push(c),
                    }
                }
            }
            operator @ (';' | '&' | '|' | '<' | '>' | '`') => return Err(BadWords::NeedsShell(operator)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_compose_splits_them() {
        let split_all = |text| split(text).unwrap();
        assert_eq!(split_all("a  b"), ["a", "b"]);
        assert_eq!(split_all(r#"sh -c "echo 'x y' \"z\"""#), ["sh", "-c", r#"echo 'x y' "z""#]);
        assert_eq!(split_all(r"a\ b ''"), ["a b", ""]);
        assert_eq!(split_all(" \n"), Vec::<String>::new());
        assert_eq!(split("a 'b"), Err(BadWords::Unfinished));
        assert_eq!(split("a \\"), Err(BadWords::Unfinished));
        assert_eq!(split("a && b"), Err(BadWords::NeedsShell('&')));
        assert_eq!(split_all("a '&&' b"), ["a", "&&", "b"]);
    }
}
