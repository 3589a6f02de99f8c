//! CPU time that the plugins of a stage, or of several, may use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What becomes of rows while a budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverBudget {
    /// They go by the stage's `on_error`, at once.
    #[default]
    Shed,
    /// They wait, as far as there is room to wait; what comes then goes by `on_error`.
    Delay,
}

/// CPU time by the second, for all instances of every stage that shares it.
///
/// A bucket of one second's worth: what was not used in one second may be used in the next. A call is paid for when it is
/// over, so the bucket can be in debt by what one call took; as long as it is, none of these plugins is called.
#[derive(Debug)]
pub struct Budget {
    name: String,
    policy: OverBudget,
    ns_per_s: i64,
    tokens: Mutex<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    left_ns: i64,
    filled: Option<Instant>,
}

impl Budget {
    /// A budget of so many milliseconds of CPU time a second; at least one. The name is for messages.
    #[must_use]
    pub fn new(name: &str, cpu_ms_per_s: u32, policy: OverBudget) -> Arc<Budget> {
        let ns_per_s = i64::from(cpu_ms_per_s.max(1)) * 1_000_000;
        let tokens = Mutex::new(Tokens { left_ns: ns_per_s, filled: None });
        Arc::new(Budget { name: name.to_owned(), policy, ns_per_s, tokens })
    }

    /// Another one that allows as much.
    pub(crate) fn alike(&self) -> Arc<Budget> {
        Budget::new(&self.name, self.cpu_ms_per_s(), self.policy)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What becomes of rows while it is used up.
    #[must_use]
    pub fn policy(&self) -> OverBudget {
        self.policy
    }

    /// Milliseconds of CPU time a second.
    #[must_use]
    pub fn cpu_ms_per_s(&self) -> u32 {
        u32::try_from(self.ns_per_s / 1_000_000).unwrap_or(u32::MAX)
    }

    fn tokens(&self, now: Instant) -> MutexGuard<'_, Tokens> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let since = tokens.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        tokens.filled = Some(tokens.filled.map_or(now, |filled| filled.max(now)));
        let more = since.as_nanos().saturating_mul(self.ns_per_s as u128) / 1_000_000_000;
        let more = i64::try_from(more).unwrap_or(i64::MAX);
        tokens.left_ns = tokens.left_ns.saturating_add(more).min(self.ns_per_s);
        tokens
    }

    /// How long until there is some left; none if there is.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        let left_ns = self.tokens(now).left_ns;
        if left_ns > 0 {
            return None;
        }
        let debt = u128::from(left_ns.unsigned_abs()) + 1;
        let wait = debt.saturating_mul(1_000_000_000).div_ceil(self.ns_per_s as u128);
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Takes what a call has used: whether that was the last of it.
    pub(crate) fn spend(&self, cpu_ns: u64, now: Instant) -> bool {
        let mut tokens = self.tokens(now);
        let was_left = tokens.left_ns > 0;
        tokens.left_ns = tokens.left_ns.saturating_sub(i64::try_from(cpu_ns).unwrap_or(i64::MAX));
        was_left && tokens.left_ns <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_second_of_it_can_be_used_at_once_and_then_as_fast_as_it_comes() {
        let (budget, start) = (Budget::new("x", 200, OverBudget::Shed), Instant::now());
        assert!(!budget.spend(150 * MS, start));
        assert_eq!(budget.wait(start), None);
        assert!(budget.spend(150 * MS, start), "the last of it");
        assert!(!budget.spend(0, start), "it is over once");
        // 100 ms of debt at 200 ms a second, and a nanosecond that has to be left.
        assert_eq!(budget.wait(start), Some(Duration::from_nanos(500 * MS + 5)));
        assert_eq!(budget.wait(start + Duration::from_millis(499)), Some(Duration::from_nanos(MS + 5)));
        assert_eq!(budget.wait(start + Duration::from_millis(501)), None);
        assert!(budget.spend(20 * MS, start + Duration::from_millis(501)));
    }

    #[test]
    fn what_was_not_used_for_long_is_one_second_of_it() {
        let (budget, start) = (Budget::new("x", 200, OverBudget::Shed), Instant::now());
        assert_eq!(budget.wait(start + Duration::from_secs(3600)), None);
        assert!(!budget.spend(199 * MS, start + Duration::from_secs(3600)));
        assert!(budget.spend(MS, start + Duration::from_secs(3600)));
        // A clock that is read by two threads can seem to go back.
        assert!(budget.wait(start).is_some());
        assert!(budget.wait(start + Duration::from_secs(3600)).is_some());
    }
}
