//! YAML as a tree with byte spans, built without recursion and within limits.
//!
//! Aliases are followed and merge keys (`<<`) applied here; what they multiply is counted against
//! the limits, so a small file cannot unfold into a large one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::{
    diagnostic::{Problems, quote},
    limits::{COMPOSE_BYTES, COMPOSE_NODES, DEPTH},
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text; `plain` when it has no quotes and so may mean a number, a boolean or nothing.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file; keys are unique.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

/// Reads one document. Findings go to `problems`; `None` when there is no usable tree.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let mut builder = Builder::new(text, problems);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let at = builder.byte(error.marker().index());
                builder.problems.error(&(at..at), format!("not YAML: {}", error.info()), "");
                return None;
            }
        }
    }
    builder.root
}

struct Builder<'a> {
    problems: &'a mut Problems,
    /// Byte offset of every character; empty for ASCII, where they are the same.
    offsets: Vec<usize>,
    len: usize,
    open: Vec<Frame>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    bytes: usize,
    root: Option<Node>,
}

/// A collection whose end has not come yet.
struct Frame {
    start: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: BTreeSet<String>, merged: Vec<Node>, key: Option<Key> },
}

enum Key {
    Name(String, Range<usize>),
    Merge,
    /// Its value is read and thrown away: the key was refused.
    Refused,
}

/// Nodes, bytes of text, nesting.
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Node {
    fn size(&self) -> Size {
        let sum = |total: Size, size: Size| Size {
            nodes: total.nodes + size.nodes,
            bytes: total.bytes + size.bytes,
            depth: total.depth.max(size.depth + 1),
        };
        let own = |bytes| Size { nodes: 1, bytes, depth: 1 };
        match &self.value {
            Value::Scalar { text, .. } => Size { depth: 0, ..own(text.len()) },
            Value::List(items) => items.iter().map(Self::size).fold(own(0), sum),
            Value::Map(entries) => entries.iter().fold(own(0), |total, entry| {
                let mut size = entry.value.size();
                size.nodes += 1;
                size.bytes += entry.key.len();
                sum(total, size)
            }),
        }
    }
}

impl<'a> Builder<'a> {
    fn new(text: &str, problems: &'a mut Problems) -> Self {
        let offsets =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self {
            problems,
            offsets,
            len: text.len(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            nodes: 0,
            bytes: 0,
            root: None,
        }
    }

    fn byte(&self, char_index: usize) -> usize {
        if self.offsets.is_empty() {
            char_index.min(self.len)
        } else {
            self.offsets.get(char_index).copied().unwrap_or(self.len)
        }
    }

    /// `None` when reading must stop.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let span = self.byte(span.start.index())..self.byte(span.end.index());
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) => self.document(&span),
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                self.spend(&span, 1, text.len())?;
                let value =
                    Value::Scalar { text: text.into_owned(), plain: matches!(style, ScalarStyle::Plain) };
                self.place(anchor, Node { span, value });
                Some(())
            }
            Event::Alias(anchor) => self.alias(anchor, &span),
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                self.open(anchor, &span, Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), &span);
                let (entries, seen, merged) = (Vec::new(), BTreeSet::new(), Vec::new());
                self.open(anchor, &span, Items::Map { entries, seen, merged, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close(span.end);
                Some(())
            }
        }
    }

    fn document(&mut self, span: &Range<usize>) -> Option<()> {
        if self.root.is_some() {
            self.problems.error(span, "the file has more than one YAML document", "keep one workload a file");
            return None;
        }
        Some(())
    }

    fn tag(&mut self, tag: Option<&saphyr_parser::Tag>, span: &Range<usize>) {
        if let Some(tag) = tag {
            let message = format!("the YAML tag {} is not supported", quote(&tag.to_string()));
            self.problems.error(span, message, "remove the tag; quote a value that must stay text");
        }
    }

    fn spend(&mut self, span: &Range<usize>, nodes: usize, bytes: usize) -> Option<()> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > COMPOSE_NODES || self.bytes > COMPOSE_BYTES {
            let message = format!(
                "the file unfolds to more than {COMPOSE_NODES} values or {COMPOSE_BYTES} bytes of text"
            );
            self.problems.error(span, message, "use fewer aliases, or split the workload");
            return None;
        }
        Some(())
    }

    fn check_depth(&mut self, span: &Range<usize>, below: usize) -> Option<()> {
        if self.open.len() + below > DEPTH {
            self.problems.error(span, format!("the file is nested more than {DEPTH} deep"), "");
            return None;
        }
        Some(())
    }

    fn open(&mut self, anchor: usize, span: &Range<usize>, items: Items) -> Option<()> {
        self.spend(span, 1, 0)?;
        self.check_depth(span, 1)?;
        self.open.push(Frame { start: span.start, anchor, items });
        Some(())
    }

    fn close(&mut self, end: usize) {
        let Some(Frame { start, anchor, items }) = self.open.pop() else { return };
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Map { mut entries, mut seen, merged, .. } => {
                for node in merged {
                    self.merge(node, &mut entries, &mut seen);
                }
                Value::Map(entries)
            }
        };
        self.place(anchor, Node { span: start..end.max(start), value });
    }

    /// What stands in the mapping itself wins, then what was merged first.
    fn merge(&mut self, node: Node, entries: &mut Vec<Entry>, seen: &mut BTreeSet<String>) {
        match node.value {
            Value::Map(merged) => {
                entries.extend(merged.into_iter().filter(|entry| seen.insert(entry.key.clone())));
            }
            Value::List(nodes) if nodes.iter().all(|node| matches!(node.value, Value::Map(_))) => {
                for node in nodes {
                    self.merge(node, entries, seen);
                }
            }
            Value::List(_) | Value::Scalar { .. } => {
                self.problems.error(&node.span, "`<<` needs a mapping or a list of mappings", "");
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: &Range<usize>) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.problems.error(span, "the alias refers to the value that it is part of", "");
            return None;
        };
        let size = node.size();
        self.spend(span, size.nodes, size.bytes)?;
        self.check_depth(span, size.depth)?;
        self.place(0, node);
        Some(())
    }

    fn place(&mut self, anchor: usize, node: Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.items {
            Items::List(items) => items.push(node),
            Items::Map { entries, seen, merged, key } => match key.take() {
                None => *key = Some(read_key(node, seen, self.problems)),
                Some(Key::Name(key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                Some(Key::Merge) => merged.push(node),
                Some(Key::Refused) => {}
            },
        }
    }
}

fn read_key(node: Node, seen: &mut BTreeSet<String>, problems: &mut Problems) -> Key {
    let Value::Scalar { text, plain } = node.value else {
        problems.error(&node.span, "a key must be text", "");
        return Key::Refused;
    };
    if plain && text == "<<" {
        return Key::Merge;
    }
    if !seen.insert(text.clone()) {
        problems.error(&node.span, format!("the key {} comes twice", quote(&text)), "keep one of them");
        return Key::Refused;
    }
    Key::Name(text, node.span)
}
