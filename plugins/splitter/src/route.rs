//! Names of routes: how they are made, and which are known.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::Values;
use crate::config::{Piece, Plan};

/// Longest name, as of a Kafka topic.
const MAX_NAME: usize = 249;

/// Version of the bytes that [`Routes::snapshot`] gives.
const SNAPSHOT_VERSION: u8 = 1;

/// The routes known so far, in the order in which they came up. Never more than `max_routes`.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    names: Vec<String>,
    // Without a random seed, which would be an import; there are at most `max_routes` names.
    index: HashMap<String, u16, BuildHasherDefault<DefaultHasher>>,
}

impl Routes {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, route: u16) -> &str {
        self.names.get(usize::from(route)).map_or("", String::as_str)
    }

    /// The route called `name`: known, or new if there is room.
    pub(crate) fn find_or_add(&mut self, name: &str, max: usize) -> Option<u16> {
        if let Some(route) = self.index.get(name) {
            return Some(*route);
        }
        let route = u16::try_from(self.names.len()).ok().filter(|_| self.names.len() < max)?;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), route);
        Some(route)
    }

    /// Version, template, names: each text with its length as a little-endian u16 before it.
    pub(crate) fn snapshot(&self, template: &str) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_VERSION];
        for text in std::iter::once(template).chain(self.names.iter().map(String::as_str)) {
            // A template too long for its length is a template that no snapshot is of.
            let Ok(length) = u16::try_from(text.len()) else { return vec![SNAPSHOT_VERSION] };
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    /// Reads a snapshot: `None` if it is of another version or of another template. Of more names than `max` the
    /// first ones count.
    ///
    /// # Errors
    /// If the bytes end early or hold something that is no name.
    pub(crate) fn restore(data: &[u8], template: &str, max: usize) -> Result<Option<Routes>, String> {
        let Some((&SNAPSHOT_VERSION, mut rest)) = data.split_first() else { return Ok(None) };
        let mut next = || -> Result<Option<&str>, String> {
            if rest.is_empty() {
                return Ok(None);
            }
            let (length, after) = rest.split_first_chunk().ok_or("the snapshot ends within a length")?;
            let (text, after) = after
                .split_at_checked(usize::from(u16::from_le_bytes(*length)))
                .ok_or("the snapshot ends within a name")?;
            rest = after;
            std::str::from_utf8(text).map(Some).map_err(|_| "the snapshot holds a name that is no text".into())
        };
        if next()? != Some(template) {
            return Ok(None);
        }
        let mut routes = Routes::default();
        while let Some(name) = next()? {
            if sanitize(name) != name {
                return Err(format!("the snapshot holds `{name}`, which is no name of a route"));
            }
            routes.find_or_add(name, max);
        }
        Ok(Some(routes))
    }
}

/// The name of the route of a group, not sanitized yet.
pub(crate) fn name(plan: &Plan, columns: &[Values], group: usize) -> String {
    let mut name = String::new();
    for piece in &plan.pieces {
        match piece {
            Piece::Text(text) => name.push_str(text),
            Piece::Column(at) => match columns.get(*at) {
                Some(Values::Texts(texts)) => match texts.get(group).map_or("", String::as_str) {
                    "" => name.push_str("none"),
                    text => name.push_str(text),
                },
                Some(Values::Numbers(numbers)) => {
                    let number = numbers.get(group).copied().unwrap_or_default();
                    write!(name, "{number}").expect("a String takes everything");
                }
                None => {}
            },
        }
    }
    name
}

/// `name` with everything but letters, digits, `.`, `_` and `-` replaced by `_`, and cut after 249 characters:
/// what Kafka takes as a topic, and what is safe as a file name.
pub(crate) fn sanitize(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = name.chars().take(MAX_NAME).map(fits).collect();
    match name.as_str() {
        // Kafka refuses both, and as paths they are not files.
        "." | ".." => "_".repeat(name.len()),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_topic_may_be_called() {
        assert_eq!(sanitize("a b/c.d-e_f"), "a_b_c.d-e_f");
        assert_eq!(sanitize("übel"), "_bel");
        assert_eq!(sanitize(".."), "__");
        assert_eq!(sanitize(&"x".repeat(300)).len(), 249);
    }

    #[test]
    fn a_snapshot_is_read_or_refused_whatever_its_bytes() {
        let mut routes = Routes::default();
        for name in ["a-1", "a-2"] {
            routes.find_or_add(name, 9);
        }
        let bytes = routes.snapshot("a-{proto}");
        let read = |bytes: &[u8], template: &str, max| {
            Routes::restore(bytes, template, max).map(|routes| routes.map(|routes| routes.names))
        };
        assert_eq!(read(&bytes, "a-{proto}", 9), Ok(Some(vec!["a-1".into(), "a-2".into()])));
        assert_eq!(read(&bytes, "a-{proto}", 1), Ok(Some(vec!["a-1".into()])));
        assert_eq!(read(&bytes, "b-{proto}", 9), Ok(None));
        assert_eq!(read(&[], "a-{proto}", 9), Ok(None));
        assert_eq!(read(&[9, 9], "a-{proto}", 9), Ok(None));
        let short = |length: usize| read(&bytes[..length], "a-{proto}", 9);
        let whole = [1, 12, 17, bytes.len()];
        for length in 2..bytes.len() {
            assert_eq!(short(length).is_err(), !whole.contains(&length), "{length}");
        }
        let bad = Routes { names: vec!["a/b".into()], index: HashMap::default() }.snapshot("t");
        assert_eq!(read(&bad, "t", 9), Err("the snapshot holds `a/b`, which is no name of a route".into()));
    }
}
