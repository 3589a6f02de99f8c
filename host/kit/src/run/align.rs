//! Which of two lists' entries belong together.

/// Entries that are compared one with every other at most; longer lists are compared place by place.
const MAX_ALIGNED: usize = 400;

/// A place where two lists differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The expected entry and the one that came instead.
    Other(usize, usize),
    /// An expected entry that did not come.
    Missing(usize),
    /// An entry that was not expected.
    Extra(usize),
}

/// Where `expected` entries differ from `actual` ones; few differences rather than many, so that one entry that is
/// missing does not make all behind it wrong.
pub(super) fn differences(expected: usize, actual: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Difference> {
    if expected == actual || expected.max(actual) > MAX_ALIGNED {
        return by_place(expected, actual, fits);
    }
    // longest[e][a]: pairs that fit among the entries from e and a on (longest common subsequence).
    let mut longest = vec![vec![0_usize; actual + 1]; expected + 1];
    for e in (0..expected).rev() {
        for a in (0..actual).rev() {
            longest[e][a] =
                if fits(e, a) { longest[e + 1][a + 1] + 1 } else { longest[e + 1][a].max(longest[e][a + 1]) };
        }
    }
    let (mut e, mut a) = (0, 0);
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    while e < expected || a < actual {
        if e < expected && a < actual && fits(e, a) {
            flush(&mut missing, &mut extra, &mut found);
            (e, a) = (e + 1, a + 1);
        } else if a < actual && (e == expected || longest[e][a + 1] >= longest[e + 1][a]) {
            extra.push(a);
            a += 1;
        } else {
            missing.push(e);
            e += 1;
        }
    }
    flush(&mut missing, &mut extra, &mut found);
    found
}

/// What lies between two entries that fit: as many as possible are one that came instead of the other.
fn flush(missing: &mut Vec<usize>, extra: &mut Vec<usize>, found: &mut Vec<Difference>) {
    let pairs = missing.len().min(extra.len());
    let others = missing.drain(..pairs).zip(extra.drain(..pairs));
    found.extend(others.map(|(e, a)| Difference::Other(e, a)));
    found.extend(missing.drain(..).map(Difference::Missing));
    found.extend(extra.drain(..).map(Difference::Extra));
}

fn by_place(expected: usize, actual: usize, fits: impl Fn(usize, usize) -> bool) -> Vec<Difference> {
    let both = expected.min(actual);
    let others = (0..both).filter(|at| !fits(*at, *at)).map(|at| Difference::Other(at, at));
    others.chain((both..expected).map(Difference::Missing)).chain((both..actual).map(Difference::Extra)).collect()
}

#[cfg(test)]
mod tests {
    use super::Difference::{Extra, Missing, Other};
    use super::*;

    fn check(expected: &str, actual: &str, found: &[Difference]) {
        let (e, a) = (expected.as_bytes(), actual.as_bytes());
        assert_eq!(differences(e.len(), a.len(), |at, other| e[at] == a[other]), found, "{expected} {actual}");
    }

    #[test]
    fn one_that_is_missing_does_not_make_all_behind_it_wrong() {
        check("abc", "abc", &[]);
        check("abcd", "acd", &[Missing(1)]);
        check("acd", "abcd", &[Extra(1)]);
        check("abc", "axc", &[Other(1, 1)]);
        check("abcd", "axd", &[Other(1, 1), Missing(2)]);
        check("", "ab", &[Extra(0), Extra(1)]);
    }
}
