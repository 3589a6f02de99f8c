//! How much came of subjects that are not watched: a count-min sketch (Cormode, Muthukrishnan 2005).

use crate::addr::{Addr, hash};

/// Rows of counters: the estimate is wrong only if all of them collide.
const DEPTH: usize = 4;

/// Counters of each row in a block. A subject has one block, which is one line of the cache, and not a line for each row.
const WIDTH: usize = 4;

/// Counters, at least: a flood of light subjects must not make every estimate high.
const MIN_COUNTERS: usize = 4096;

/// Estimates that are never too low. Its size does not depend on how many subjects there are.
#[derive(Debug)]
pub(crate) struct Sketch {
    blocks: Vec<[f32; DEPTH * WIDTH]>,
}

impl Sketch {
    /// For about `subjects` of weight.
    pub(crate) fn new(subjects: usize) -> Sketch {
        let counters = (subjects * 2 * DEPTH).next_power_of_two().max(MIN_COUNTERS);
        Sketch { blocks: vec![[0.0; DEPTH * WIDTH]; counters / (DEPTH * WIDTH)] }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.blocks.fill([0.0; DEPTH * WIDTH]);
    }

    /// Adds `weight` to a subject and returns its estimate.
    pub(crate) fn add(&mut self, subject: Addr, seed: u64, weight: f32) -> f32 {
        let hash = hash(subject, !seed);
        let mask = self.blocks.len() - 1;
        let Some(block) = self.blocks.get_mut(hash as usize & mask) else { return weight };
        let mut estimate = f32::INFINITY;
        for (row, counters) in block.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            // The upper bits, which say nothing about the block.
            let counter = &mut counters[(hash >> (56 + 2 * row)) as usize % WIDTH];
            *counter += weight;
            estimate = if *counter < estimate { *counter } else { estimate };
        }
        estimate
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
