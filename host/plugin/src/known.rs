//! Texts that a plugin gives again and again.

use std::collections::HashSet;
use std::str::Utf8Error;
use std::sync::Arc;

use crate::limits::{MAX_ROUTE_BYTES, MAX_ROUTES};
use crate::words::Words;

/// As many as are remembered: twice what one call of `route` may give.
const MAX_TEXTS: usize = 2 * MAX_ROUTES;

/// Texts of earlier batches, which are not copied again: most are the same in each. The hash is seeded: plugins choose the texts, and
/// may make them of rows.
#[derive(Debug, Default)]
pub(crate) struct KnownTexts {
    texts: HashSet<Arc<str>, ahash::RandomState>,
    /// The last list: the next often is the same, of another column.
    last: Vec<Arc<str>>,
}

impl KnownTexts {
    /// The texts of a list.
    ///
    /// # Errors
    /// If one is not UTF-8.
    pub(crate) fn all(&mut self, words: &Words) -> Result<Vec<Arc<str>>, Utf8Error> {
        if words.len() > MAX_ROUTES {
            // So many are seldom the same in the next batch.
            return words.iter().map(|word| std::str::from_utf8(word).map(Arc::from)).collect();
        }
        if self.texts.len() + words.len() > MAX_TEXTS {
            self.texts.clear();
        }
        let last = std::mem::take(&mut self.last);
        let mut is_same = last.len() == words.len();
        let texts: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(at, word)| match last.get(at) {
                Some(known) if known.as_bytes() == word => Ok(Arc::clone(known)),
                _ => {
                    is_same = false;
                    std::str::from_utf8(word).map(|text| self.get(text))
                }
            })
            .collect::<Result<_, _>>()?;
        self.last = if is_same { last } else { texts.clone() };
        Ok(texts)
    }

    /// The text, remembered if it is short.
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new = Arc::<str>::from(text);
        if text.len() <= MAX_ROUTE_BYTES {
            self.texts.insert(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(known: &mut KnownTexts, texts: &[String]) -> Vec<Arc<str>> {
        let found = known.all(&texts.iter().map(String::as_bytes).collect()).unwrap();
        assert!(found.iter().map(|text| &**text).eq(texts));
        found
    }

    #[test]
    fn a_text_is_copied_once_and_no_more_are_kept_than_there_is_room_for() {
        let numbers =
            |from: usize, count: usize| (from..from + count).map(|number| number.to_string()).collect::<Vec<_>>();
        let mut known = KnownTexts::default();
        let first = all(&mut known, &numbers(0, 10));
        // The same list, another order, and some of it among others.
        assert!(first.iter().zip(all(&mut known, &numbers(0, 10))).all(|(a, b)| Arc::ptr_eq(a, &b)));
        let mut others = numbers(5, 10);
        others.reverse();
        assert!(Arc::ptr_eq(&first[7], &all(&mut known, &others)[7]));
        let long = ["x".repeat(MAX_ROUTE_BYTES + 1), "y".to_owned()];
        assert!(!Arc::ptr_eq(&all(&mut known, &long)[0], &all(&mut known, &[long[1].clone(), long[0].clone()])[1]));
        for from in (0..4 * MAX_TEXTS).step_by(MAX_ROUTES) {
            all(&mut known, &numbers(from, MAX_ROUTES));
            assert!(known.texts.len() <= MAX_TEXTS);
        }
        // More than there is room for: not remembered.
        all(&mut known, &numbers(0, 2 * MAX_TEXTS));
        assert!(known.texts.len() <= MAX_TEXTS && known.last.len() <= MAX_ROUTES);
    }

    #[test]
    fn what_is_not_utf_8_is_an_error_and_nothing_is_remembered_of_its_list() {
        let mut known = KnownTexts::default();
        assert!(known.all(&[&b"good"[..], b"\xff"].into_iter().collect()).is_err());
        assert!(known.last.is_empty());
        all(&mut known, &["good".to_owned()]);
    }
}
