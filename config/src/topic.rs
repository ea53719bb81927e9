//! MQTT topics and filters: validity and matching, as MQTT 3.1.1 section 4.7 has them.

use crate::limits::TOPIC_BYTES;

/// Where a module says how it is: the device takes it into the module's twin, and routes take the whole from there.
pub const TWIN_REPORTED: &str = "$wayside/twin/reported";

/// Where a module holds updates of its workload back.
pub const LOCK: &str = "$wayside/lock";

/// Whether a client may publish to `topic`: not empty, no wildcard, no NUL, at most [`TOPIC_BYTES`].
#[must_use]
pub fn is_topic(topic: &str) -> bool {
    has_valid_text(topic) && !topic.contains(['+', '#'])
}

/// Whether `filter` is a topic filter: `+` stands alone in its level, `#` alone in the last one.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    has_valid_text(filter)
        && std::iter::from_fn(|| levels.next().map(|level| (level, levels.peek().is_none()))).all(
            |(level, is_last)| match level {
                "+" => true,
                "#" => is_last,
                name => !name.contains(['+', '#']),
            },
        )
}

/// Whether a valid `filter` matches a valid `topic`. Topics that begin with `$` are not matched by
/// a filter that begins with a wildcard.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut found) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// Whether there may be a topic that two valid filters both match.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    let is_special = |filter: &str| filter.starts_with('$');
    if is_special(one) != is_special(other) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(other)) if level == other => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => return false,
        }
    }
}

fn has_valid_text(text: &str) -> bool {
    (1..=TOPIC_BYTES).contains(&text.len()) && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/uptime", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/uptime", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn wildcards_stand_alone() {
        for filter in ["#", "+", "a/#", "+/a/+", "a//b", "/", "a b"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "#/a", "a+", "+a", "a/+b/c", "a\0"] {
            assert!(!is_filter(filter), "{filter}");
        }
        assert!(!is_filter(&"a".repeat(TOPIC_BYTES + 1)));
        assert!(is_topic("a/b") && is_topic(&"a".repeat(TOPIC_BYTES)));
        assert!(!is_topic("") && !is_topic("a/+") && !is_topic("#"));
    }

    /// The standard's words as recursion over whole lists of levels.
    fn model(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([], _) | (_, []) => false,
            ([first, filter @ ..], [level, topic @ ..]) => {
                (*first == "+" || first == level) && model(filter, topic)
            }
        }
    }

    #[test]
    fn filters_overlap_where_a_topic_could_match_both() {
        for (one, other, expected) in [
            ("a/+", "+/b", true),
            ("a/#", "a", true),
            ("#", "a/b", true),
            ("+/sensor/#", "+/sensor/t/+", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/c", false),
            ("#", "$SYS/a", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} and {other}");
            assert_eq!(overlap(other, one), expected, "{other} and {one}");
        }
    }

    proptest! {
        #[test]
        fn what_both_match_overlaps(
            one in "(a|b|\\+)(/(a|b|\\+)){0,3}(/#)?",
            other in "(a|b|\\+)(/(a|b|\\+)){0,3}(/#)?",
            topic in "(a|b)(/(a|b)){0,4}",
        ) {
            if matches(&one, &topic) && matches(&other, &topic) {
                prop_assert!(overlap(&one, &other));
            }
        }

        #[test]
        fn matching_agrees_with_the_model(
            filter in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "+"]), 1..5),
            hash in any::<bool>(),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "", "$a"]), 1..6),
        ) {
            let mut filter = filter;
            if hash {
                filter.push("#");
            }
            let (filter_text, topic_text) = (filter.join("/"), topic.join("/"));
            prop_assume!(is_filter(&filter_text) && is_topic(&topic_text));
            let dollar = topic_text.starts_with('$') && filter_text.starts_with(['+', '#']);
            prop_assert_eq!(matches(&filter_text, &topic_text), !dollar && model(&filter, &topic));
        }
    }
}
