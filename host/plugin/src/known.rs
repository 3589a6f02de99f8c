//! Texts that a plugin gives again and again.

use std::collections::HashSet;
use std::sync::Arc;

use crate::limits::{MAX_ROUTE_BYTES, MAX_ROUTES};

/// As many as are remembered: twice what one call of `route` may give.
const MAX_TEXTS: usize = 2 * MAX_ROUTES;

/// Texts of earlier batches, which are not copied again: most are the same in each. The hash is seeded: plugins choose the texts, and
/// may make them of rows.
#[derive(Debug, Default)]
pub(crate) struct KnownTexts(HashSet<Arc<str>, ahash::RandomState>);

impl KnownTexts {
    /// Before a call gives `count` texts: forgets all where they would be too many.
    pub(crate) fn make_room(&mut self, count: usize) {
        if self.0.len() + count > MAX_TEXTS {
            self.0.clear();
        }
    }

    /// The text, remembered if it is short and there is room.
    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if text.len() > MAX_ROUTE_BYTES {
            return Arc::from(text);
        }
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new = Arc::<str>::from(text);
        if self.0.len() < MAX_TEXTS {
            self.0.insert(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_once_and_no_more_are_kept_than_there_is_room_for() {
        let mut known = KnownTexts::default();
        let first = known.get("first");
        assert!(Arc::ptr_eq(&first, &known.get("first")));
        let long = "x".repeat(MAX_ROUTE_BYTES + 1);
        assert!(!Arc::ptr_eq(&known.get(&long), &known.get(&long)));
        // More than there is room for at once, as a text column may have.
        known.make_room(2 * MAX_TEXTS);
        let all: Vec<_> = (0..2 * MAX_TEXTS).map(|number| known.get(&number.to_string())).collect();
        assert_eq!((known.0.len(), &*all[2 * MAX_TEXTS - 1]), (MAX_TEXTS, (2 * MAX_TEXTS - 1).to_string().as_str()));
        assert!(Arc::ptr_eq(&all[0], &known.get("0")));
        known.make_room(1);
        assert!(known.0.is_empty());
    }
}
