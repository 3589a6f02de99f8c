//! How much came of subjects that are not watched: a count-min sketch (Cormode, Muthukrishnan 2005).

use crate::aggregate::{Addr, hash};

/// Rows of counters: the estimate is wrong only if all of them collide.
const DEPTH: u64 = 4;

/// Counters of a row, at least: a flood of light subjects must not make every estimate high.
const MIN_WIDTH: usize = 1024;

/// Estimates that are never too low. Its size does not depend on how many subjects there are.
#[derive(Debug)]
pub(crate) struct Sketch {
    counters: Vec<f32>,
    width: u64,
}

impl Sketch {
    /// For about `subjects` of weight.
    pub(crate) fn new(subjects: usize) -> Sketch {
        let width = (subjects * 2).next_power_of_two().max(MIN_WIDTH) as u64;
        Sketch { counters: vec![0.0; (width * DEPTH) as usize], width }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counters.fill(0.0);
    }

    /// Adds `weight` to a subject and returns its estimate.
    pub(crate) fn add(&mut self, subject: Addr, seed: u64, weight: f32) -> f32 {
        let hash = hash(subject, !seed);
        let (start, step) = (hash, hash >> 32 | 1);
        (0..DEPTH).fold(f32::INFINITY, |estimate, row| {
            let at = row * self.width + (start.wrapping_add(row.wrapping_mul(step)) & (self.width - 1));
            match self.counters.get_mut(at as usize) {
                Some(counter) => {
                    *counter += weight;
                    estimate.min(*counter)
                }
                None => estimate,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_never_too_low_and_seldom_far_too_high() {
        let mut sketch = Sketch::new(1000);
        let mut far = 0;
        for round in 1..=3 {
            for lo in 0..1000 {
                let estimate = sketch.add(Addr { hi: 1, lo }, 7, 1.0);
                assert!(estimate >= round as f32);
                far += u32::from(estimate > round as f32 + 2.0);
            }
        }
        assert!(far < 30, "{far} of 3000");
        sketch.clear();
        assert_eq!(sketch.add(Addr { hi: 1, lo: 1 }, 7, 2.0), 2.0);
    }
}
