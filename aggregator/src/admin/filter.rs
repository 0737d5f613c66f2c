//! Which dead letters are meant. Pure.

use serde::{Deserialize, Serialize};

use crate::queue::{Letter, LetterId};

/// All that it says must hold; one that says nothing takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LetterFilter {
    /// These numbers only; any when there are none.
    pub(super) numbers: Vec<String>,
    /// The index; a `*` at its end stands for anything.
    pub(super) index: Option<String>,
    /// The namespace of the container.
    pub(super) namespace: Option<String>,
    /// A part of the reason.
    pub(super) reason: Option<String>,
    /// The last attempt was at this time or later, milliseconds since 1970.
    pub(super) from_ms: Option<i64>,
    /// It was before this time.
    pub(super) to_ms: Option<i64>,
}

impl LetterFilter {
    /// Whether it says nothing.
    pub(super) fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn takes(&self, id: LetterId, letter: &Letter) -> bool {
        let number = || self.numbers.iter().any(|number| number.parse() == Ok(id));
        let index = |index: &String| match index.strip_suffix('*') {
            Some(prefix) => letter.index.starts_with(prefix),
            None => letter.index == *index,
        };
        (self.numbers.is_empty() || number())
            && self.index.as_ref().is_none_or(index)
            && self.namespace.as_deref().is_none_or(|name| letter.namespace() == Some(name))
            && self.reason.as_ref().is_none_or(|part| letter.reason.contains(part))
            && self.from_ms.is_none_or(|from| from <= letter.last_ms)
            && self.to_ms.is_none_or(|to| letter.last_ms < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Content, Sequence};

    #[test]
    fn each_part_has_a_say() {
        let letter = Letter {
            content: Content::Bytes { bytes: bytes::Bytes::new(), file_id: [0; 12], offset: 0 },
            node: "n".into(),
            index: "logstash-2026.11.22".into(),
            document_id: String::new(),
            reason: "400 mapper_parsing_exception: failed".into(),
            attempts: 1,
            first_ms: 1,
            last_ms: 1000,
        };
        let id = LetterId { sequence: Sequence(3), place: 2 };
        let check = |change: &dyn Fn(&mut LetterFilter), expected: bool| {
            let mut filter = LetterFilter::default();
            change(&mut filter);
            assert_eq!(filter.takes(id, &letter), expected, "{filter:?}");
            assert!(expected || !filter.is_all());
        };
        check(&|_| (), true);
        check(&|filter| filter.numbers = vec!["1.0".into(), "3.2".into()], true);
        check(&|filter| filter.numbers = vec!["3.1".into()], false);
        check(&|filter| filter.index = Some("logstash-*".into()), true);
        check(&|filter| filter.index = Some("logstash-".into()), false);
        check(&|filter| filter.index = Some("logstash-2026.11.22".into()), true);
        check(&|filter| filter.namespace = Some("shop".into()), false);
        check(&|filter| filter.reason = Some("mapper_parsing".into()), true);
        check(&|filter| filter.reason = Some("blocked".into()), false);
        check(&|filter| filter.from_ms = Some(1000), true);
        check(&|filter| filter.from_ms = Some(1001), false);
        check(&|filter| filter.to_ms = Some(1000), false);
        check(&|filter| filter.to_ms = Some(1001), true);
    }
}
