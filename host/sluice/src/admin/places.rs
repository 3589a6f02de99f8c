//! Places that there are few of, shared out so that nobody takes those of all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// So many places, of which each who asks may have some.
#[derive(Debug)]
pub(super) struct Places {
    of_one: usize,
    of_all: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    who: String,
}

impl Places {
    /// `of_all` places, `of_one` of them for each.
    pub(super) fn new(of_one: usize, of_all: usize) -> Arc<Places> {
        Arc::new(Places { of_one, of_all, taken: Mutex::default() })
    }

    /// A place for `who`; none if there is none left, or it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, who: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(who).copied().unwrap_or(0);
        if own >= self.of_one || taken.values().sum::<usize>() >= self.of_all {
            return None;
        }
        taken.insert(who.to_owned(), own + 1);
        Some(Place { of: Arc::clone(self), who: who.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.who) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_as_long_as_there_are_any() {
        let places = Places::new(2, 3);
        let mut a: Vec<Place> = (0..2).map(|_| places.take("a").unwrap()).collect();
        assert!(places.take("a").is_none(), "it has as many as it may");
        let b = places.take("b").unwrap();
        assert!(places.take("c").is_none(), "there are no more");
        drop(a.pop());
        let c = places.take("c").unwrap();
        drop((a, b, c));
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
