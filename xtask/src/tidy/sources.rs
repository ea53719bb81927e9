//! Rules about the text of files.

use super::Source;

/// No file of code is longer, its own tests aside: it would hold more than one idea.
const MAX_LINES: usize = 400;

/// What pure crates must not say outside of tests; `clippy.toml` there forbids the calls, this the imports.
const IMPURE: [&str; 7] =
    ["std::fs", "std::thread", "std::time", "tokio::", "TcpStream", "UdpSocket", "Instant::now"];

/// Marks of something unfinished, and of one person's machine. In two parts, so that this file passes.
const NOT_ANYWHERE: [(&str, &str); 6] =
    [("todo", "!("), ("unimplemented", "!("), ("TO", "DO"), ("FIX", "ME"), ("/ro", "ot/"), ("/wo", "rk/")];

pub(super) fn check(files: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let code = file.path.ends_with(".rs");
        if code {
            check_length(file, &mut wrong);
            check_first_line(file, &mut wrong);
            check_purity(file, &mut wrong);
        }
        check_marks(file, &mut wrong);
    }
    check_map(files, &mut wrong);
    check_fuzz(files, &mut wrong);
    wrong
}

fn check_length(file: &Source, wrong: &mut Vec<String>) {
    let lines = before_tests(&file.text).count();
    if lines > MAX_LINES {
        wrong.push(format!("{}: {lines} lines, more than {MAX_LINES}; split it by ideas", file.path));
    }
}

/// The first line of a file says why it exists.
fn check_first_line(file: &Source, wrong: &mut Vec<String>) {
    // A test fixture or a fuzz target begins with an attribute.
    let first = file.text.lines().find(|line| !line.starts_with("#!["));
    let tests = file.path.ends_with("/tests.rs");
    if !tests && !first.is_some_and(|line| line.starts_with("//! ")) {
        wrong.push(format!("{}:1: the first line does not say why the file exists (`//! ...`)", file.path));
    }
}

fn check_purity(file: &Source, wrong: &mut Vec<String>) {
    if !["actors/src/", "config/src/"].iter().any(|folder| file.path.starts_with(folder)) {
        return;
    }
    for (number, line) in before_tests(&file.text) {
        let line = line.split("//").next().unwrap_or_default();
        for word in IMPURE.iter().filter(|word| line.contains(*word)) {
            wrong.push(format!("{}:{number}: `{word}` in a pure crate", file.path));
        }
    }
}

/// The lines with their numbers up to the file's own tests. Where those have a file of their own it is all lines.
fn before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let next = text.lines().skip(1).chain([""]);
    let lines = text.lines().zip(next).enumerate();
    let before =
        lines.take_while(|(_, (line, next))| !line.starts_with("#[cfg(test)]") || next.ends_with(';'));
    before.map(|(index, (line, _))| (index + 1, line))
}

fn check_marks(file: &Source, wrong: &mut Vec<String>) {
    if file.path == "Cargo.lock" || file.path.ends_with(".csv") {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        for (start, end) in NOT_ANYWHERE {
            let mark = format!("{start}{end}");
            if line.contains(&mark) {
                wrong.push(format!("{}:{}: `{mark}`", file.path, index + 1));
            }
        }
    }
}

/// ARCHITECTURE.md names every folder of the root.
fn check_map(files: &[Source], wrong: &mut Vec<String>) {
    let Some(map) = files.iter().find(|file| file.path == "ARCHITECTURE.md") else {
        wrong.push("ARCHITECTURE.md is missing".into());
        return;
    };
    let mut folders: Vec<&str> = files.iter().filter_map(|file| Some(file.path.split_once('/')?.0)).collect();
    folders.dedup();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders.into_iter().filter(|folder| !folder.starts_with('.')) {
        if !map.text.contains(&format!("{folder}/")) {
            wrong.push(format!("ARCHITECTURE.md does not mention `{folder}/`"));
        }
    }
}

/// Every fuzz target is listed in its manifest, for cargo would ignore it otherwise; and only hands its bytes on, so that all it does
/// is built and run by tests, too.
fn check_fuzz(files: &[Source], wrong: &mut Vec<String>) {
    for file in files {
        let Some((folder, target)) = file.path.split_once("fuzz_targets/") else { continue };
        let manifest = format!("{folder}Cargo.toml");
        let listed = files.iter().find(|file| file.path == manifest);
        if !listed.is_some_and(|manifest| manifest.text.contains(&format!("fuzz_targets/{target}"))) {
            wrong.push(format!("{}: not listed in {manifest}", file.path));
        }
        let hands_on = |line: &str| {
            let begins =
                ["//! ", "#![no_main]", "#[path = ", "mod ", "libfuzzer_sys::fuzz_target!(|bytes: &[u8]| "];
            line.is_empty() || begins.iter().any(|begin| line.starts_with(begin)) && !line.ends_with('{')
        };
        if let Some(number) = file.text.lines().position(|line| !hands_on(line)) {
            wrong.push(format!(
                "{}:{}: a fuzz target only hands its bytes to what tests run, too",
                file.path,
                number + 1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    fn complaints(files: &[Source]) -> String {
        check(files).join("\n")
    }

    #[test]
    fn a_good_tree_is_silent() {
        let files = [
            source("ARCHITECTURE.md", "`actors/` decides"),
            source("actors/src/a.rs", "//! Why.\n#[cfg(test)]\nmod tests { use std::time::Instant; }\n"),
        ];
        assert_eq!(complaints(&files), "");
    }

    #[test]
    fn each_rule_names_file_and_reason() {
        let long = format!("//! Why.\n{}", "\n".repeat(MAX_LINES));
        let files = [
            source("ARCHITECTURE.md", ""),
            source("actors/src/a.rs", "use std::time::Instant;\n"),
            source("mesh/src/long.rs", &long),
            source(
                "actors/src/b.rs",
                "//! Why.\n#[cfg(test)]\nmod tests;\nuse std::time::Instant;\n#[cfg(test)]\nmod more {\nuse std::fs;\n",
            ),
            source("mesh/src/mark.rs", concat!("//! Why.\nto", "do!()\n")),
            source("mesh/fuzz/fuzz_targets/x.rs", "//! Why.\nfn x() {}\n"),
        ];
        let said = complaints(&files);
        for part in [
            "actors/src/a.rs:1: the first line",
            "actors/src/a.rs:1: `std::time` in a pure crate",
            "actors/src/b.rs:4: `std::time` in a pure crate",
            "mesh/src/long.rs: 401 lines",
            "mesh/src/mark.rs:2:",
            "does not mention `mesh/`",
            "mesh/fuzz/fuzz_targets/x.rs: not listed",
            "mesh/fuzz/fuzz_targets/x.rs:2: a fuzz target only",
        ] {
            assert!(said.contains(part), "no `{part}` in\n{said}");
        }
        assert!(!said.contains("b.rs:7"), "{said}");
    }
}
