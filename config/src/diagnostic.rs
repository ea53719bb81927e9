//! Errors in what people wrote, shown with the lines they wrote.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// The most findings that are shown; the rest are counted.
pub const SHOWN: usize = 50;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; the author should know.
    Warning,
}

/// One thing found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, naming what it is about.
    pub message: String,
    /// Byte range in the text.
    pub span: Range<usize>,
    /// The way out; empty when the message says it all.
    pub help: String,
}

/// Everything found in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    text: String,
    /// In the order of the text.
    diagnostics: Vec<Diagnostic>,
}

/// A finding for programs: what `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// As the file was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The way out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

impl Report {
    /// A report over `text`. Spans beyond it are brought back to its end.
    #[must_use]
    pub fn new(file: &str, text: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut diagnostics {
            let start = text.floor_char_boundary(diagnostic.span.start);
            diagnostic.span = start..text.ceil_char_boundary(diagnostic.span.end).max(start);
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        Self { file: file.to_owned(), text: text.to_owned(), diagnostics }
    }

    /// What was found, in the order of the text.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// For programs.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.diagnostics
            .iter()
            .map(|diagnostic| {
                let before = &self.text[..diagnostic.span.start];
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                Finding {
                    severity: diagnostic.severity,
                    file: self.file.clone(),
                    line: before.matches('\n').count() + 1,
                    column: before[line_start..].chars().count() + 1,
                    message: diagnostic.message.clone(),
                    help: diagnostic.help.clone(),
                }
            })
            .collect()
    }

    /// For people, with the lines they wrote; in colour when `styled`.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut shown: Vec<String> = self
            .diagnostics
            .iter()
            .take(SHOWN)
            .map(|diagnostic| self.render_one(&renderer, diagnostic))
            .collect();
        if let Some(more) = self.diagnostics.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            shown.push(format!("and {more} more"));
        }
        shown.join("\n\n")
    }

    /// Only the first line of what is meant is shown: a whole service would hide the point.
    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let start = self.text[..diagnostic.span.start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let from = (diagnostic.span.start - start).min(line.len());
        let to = (diagnostic.span.end - start).clamp(from, line.len());
        let snippet = Snippet::source(line)
            .line_start(self.text[..start].matches('\n').count() + 1)
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(from..to));
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(diagnostic.message.as_str()).element(snippet);
        if !diagnostic.help.is_empty() {
            group = group.element(Level::HELP.message(diagnostic.help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// Collects findings while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(crate) fn error(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), help.into());
    }

    pub(crate) fn warning(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(crate) fn into_report(self, file: &str, text: &str) -> Report {
        Report::new(file, text, self.0)
    }

    fn push(&mut self, severity: Severity, span: &Range<usize>, message: String, help: String) {
        self.0.push(Diagnostic { severity, message, span: span.clone(), help });
    }
}

/// What a person wrote, in quotes, short, and without control characters.
pub(crate) fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    if text.chars().count() > MAX_CHARS {
        short.push_str("...");
    }
    format!("`{short}`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_finding_stands_under_its_line() {
        let text = "name: grid\nbuild: .\n";
        let report = Report::new(
            "compose.yaml",
            text,
            vec![Diagnostic {
                severity: Severity::Error,
                message: "`build` is not supported".into(),
                span: 11..16,
                help: "remove it".into(),
            }],
        );
        insta::assert_snapshot!(report, @r"
        error: `build` is not supported
         --> compose.yaml:2:1
          |
        2 | build: .
          | ^^^^^
          |
          = help: remove it
        ");
        assert_eq!(
            serde_json::to_string(&report.findings()).unwrap(),
            r#"[{"severity":"error","file":"compose.yaml","line":2,"column":1,"message":"`build` is not supported","help":"remove it"}]"#
        );
    }

    #[test]
    fn many_findings_are_counted() {
        let one =
            Diagnostic { severity: Severity::Warning, message: "m".into(), span: 0..0, help: String::new() };
        let report = Report::new("f", "", vec![one; SHOWN + 3]);
        assert!(report.to_string().ends_with("and 3 more"));
        assert_eq!(report.findings().len(), SHOWN + 3);
    }

    proptest! {
        #[test]
        fn any_text_and_span_can_be_shown(text in any::<String>(), start in 0usize..80, len in 0usize..80) {
            let span = start..start + len;
            let finding =
                Diagnostic { severity: Severity::Error, message: text.clone(), span, help: text.clone() };
            let report = Report::new(&text, &text, vec![finding]);
            prop_assert!(!report.render(true).is_empty());
            prop_assert_eq!(report.findings().len(), 1);
        }
    }
}
