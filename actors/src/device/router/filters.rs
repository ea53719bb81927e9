//! Topic filters as a tree: what a topic costs grows with the filters that match it, not with all there are.

use std::collections::BTreeMap;

/// Filters, each with a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters {
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Filters that end here.
    ends: Vec<usize>,
    /// Filters that end here in `#`.
    rest: Vec<usize>,
    any: Option<Box<Node>>,
    levels: BTreeMap<String, Node>,
}

impl Filters {
    /// Adds a filter; `topic::is_filter` holds for it.
    pub(super) fn add(&mut self, filter: &str, number: usize) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return node.rest.push(number),
                "+" => node.any.get_or_insert_default(),
                level => node.levels.entry(level.to_owned()).or_default(),
            };
        }
        node.ends.push(number);
    }

    /// The numbers of all filters that match, ascending.
    pub(super) fn matching(&self, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        // Wildcards in the first level match no topic that begins with `$` (MQTT 5, 4.7.2).
        let is_special = topic.starts_with('$');
        if !is_special {
            self.root.collect(topic, &mut found);
        } else if let Some((node, rest)) = self.root.step(topic) {
            collect_rest(node, rest, &mut found);
        }
        found.sort_unstable();
        found
    }
}

impl Node {
    fn collect(&self, topic: &str, found: &mut Vec<usize>) {
        found.extend(&self.rest);
        if let Some(any) = &self.any {
            let rest = topic.split_once('/').map(|(_, rest)| rest);
            collect_rest(any, rest, found);
        }
        if let Some((node, rest)) = self.step(topic) {
            collect_rest(node, rest, found);
        }
    }

    fn step<'a, 't>(&'a self, topic: &'t str) -> Option<(&'a Self, Option<&'t str>)> {
        let (level, rest) = topic.split_once('/').map_or((topic, None), |(level, rest)| (level, Some(rest)));
        Some((self.levels.get(level)?, rest))
    }
}

fn collect_rest(node: &Node, rest: Option<&str>, found: &mut Vec<usize>) {
    match rest {
        Some(rest) => node.collect(rest, found),
        None => {
            found.extend(&node.ends);
            // `a/#` matches `a` too.
            found.extend(&node.rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wayside_config::topic;

    use super::*;

    proptest! {
        #[test]
        fn the_tree_finds_what_the_plain_rule_finds(
            filters in prop::collection::vec("(\\$?[ab]|\\+)?(/([ab]|\\+)?){0,3}(/#)?|#", 1..20),
            topic in "\\$?[abc]?(/[abc]?){0,4}",
        ) {
            let filters: Vec<_> = filters.into_iter().filter(|filter| topic::is_filter(filter)).collect();
            let mut tree = Filters::default();
            for (number, filter) in filters.iter().enumerate() {
                tree.add(filter, number);
            }
            let plain: Vec<usize> =
                (0..filters.len()).filter(|number| topic::matches(&filters[*number], &topic)).collect();
            prop_assert_eq!(tree.matching(&topic), plain);
        }
    }
}
