//! How fast the processor is meanwhile: where others use the same cores, as on a shared machine, a second of CPU time does half the
//! work that it does alone, and no clock tells.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often the loop runs: it takes about half a millisecond, a fiftieth of a core.
const EVERY: Duration = Duration::from_millis(25);

/// Rounds of the loop.
const ROUNDS: u64 = 2_000;

/// A thread that runs the same loop again and again.
pub(crate) struct Yardstick {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// Nanoseconds of CPU time that the loop took, every time since the last reading.
    taken: Mutex<Vec<u64>>,
    /// The least that it ever took.
    least: AtomicU64,
}

impl Yardstick {
    pub(crate) fn start() -> Yardstick {
        let shared = Arc::new(Shared { least: AtomicU64::new(u64::MAX), ..Shared::default() });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            while !own.is_over.load(Ordering::Relaxed) {
                let ns = time();
                own.least.fetch_min(ns, Ordering::Relaxed);
                own.taken.lock().unwrap_or_else(PoisonError::into_inner).push(ns);
                thread::sleep(EVERY);
            }
        });
        Yardstick { shared }
    }

    /// What the loop took since it was asked last, on average, in nanoseconds.
    pub(crate) fn read(&self) -> f64 {
        let taken = std::mem::take(&mut *self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner));
        taken.iter().sum::<u64>() as f64 / taken.len().max(1) as f64
    }

    /// The least that it took since the start.
    pub(crate) fn least(&self) -> f64 {
        self.shared.least.load(Ordering::Relaxed) as f64
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// CPU time of arithmetic in the nearest cache, as much at a time as the processor can.
fn time() -> u64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
    };
    let began = now();
    let mut numbers = [1_u64; 512];
    for round in 0..black_box(ROUNDS) {
        for number in &mut numbers {
            *number = number.rotate_left(5) ^ (*number >> 3) ^ round;
        }
    }
    black_box(numbers);
    now().saturating_sub(began)
}
