//! Topic aliases of one connection, in both directions: numbers that stand for topics that were named before.

use std::collections::BTreeMap;

use super::{encode::Alias, fault::Fault, window::TOPIC_ALIASES};

/// What the client has set, and what was set for it.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    set: BTreeMap<u16, String>,
    given: BTreeMap<String, u16>,
    /// How many the client takes.
    most: u16,
}

impl Aliases {
    /// For a client that takes so many.
    pub(super) fn new(most: u16) -> Self {
        Self { most: most.min(TOPIC_ALIASES), ..Self::default() }
    }

    /// The topic that a client means.
    pub(super) fn resolve(&mut self, topic: String, alias: Option<u16>) -> Result<String, Fault> {
        match alias {
            None if topic.is_empty() => Err(Fault::Protocol("a publish without a topic")),
            None => Ok(topic),
            Some(alias) if !(1..=TOPIC_ALIASES).contains(&alias) => Err(Fault::TopicAlias),
            Some(alias) if topic.is_empty() => self.set.get(&alias).cloned().ok_or(Fault::TopicAlias),
            Some(alias) => {
                self.set.insert(alias, topic.clone());
                Ok(topic)
            }
        }
    }

    /// What stands for a topic, or is set to: the first topics get one, and keep it.
    pub(super) fn give(&mut self, topic: &str) -> Option<Alias> {
        if self.most == 0 {
            return None;
        }
        if let Some(alias) = self.given.get(topic) {
            return Some(Alias::Known(*alias));
        }
        let alias = u16::try_from(self.given.len() + 1).ok().filter(|alias| *alias <= self.most)?;
        self.given.insert(topic.to_owned(), alias);
        Some(Alias::New(alias))
    }

    /// The client did not get to know the alias of this topic.
    pub(super) fn take_back(&mut self, topic: &str) {
        self.given.remove(topic);
        // Numbers are given in order: a gap would be filled by a number that is in use.
        self.most = self.most.min(u16::try_from(self.given.len()).unwrap_or(u16::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_aliases_stand_for_what_it_named() {
        let mut aliases = Aliases::new(0);
        assert_eq!(aliases.resolve("a".to_owned(), Some(1)), Ok("a".to_owned()));
        assert_eq!(aliases.resolve(String::new(), Some(1)), Ok("a".to_owned()));
        assert_eq!(aliases.resolve("b".to_owned(), Some(1)), Ok("b".to_owned()));
        assert_eq!(aliases.resolve(String::new(), Some(1)), Ok("b".to_owned()));
        for alias in [0, 2, TOPIC_ALIASES + 1] {
            assert_eq!(aliases.resolve(String::new(), Some(alias)), Err(Fault::TopicAlias));
        }
        assert!(matches!(aliases.resolve(String::new(), None), Err(Fault::Protocol(_))));
        assert_eq!(aliases.give("a"), None, "it takes none");
    }

    #[test]
    fn the_first_topics_get_aliases_as_many_as_the_client_takes() {
        let mut aliases = Aliases::new(2);
        assert_eq!(aliases.give("a"), Some(Alias::New(1)));
        assert_eq!(aliases.give("b"), Some(Alias::New(2)));
        assert_eq!((aliases.give("c"), aliases.give("a")), (None, Some(Alias::Known(1))));
        let mut aliases = Aliases::new(u16::MAX);
        aliases.give("a");
        aliases.give("b");
        aliases.take_back("b");
        assert_eq!((aliases.give("b"), aliases.give("a")), (None, Some(Alias::Known(1))));
    }
}
