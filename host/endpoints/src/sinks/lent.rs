//! A sink's state that is lent to a blocking thread for the time of a call.

use sluice_pipeline::BoxError;

/// State of a sink whose calls block: files and terminals do, and a task that blocks holds up every
/// other sink of its thread.
///
/// A call that is given up before it ended keeps the state; calls after that are refused.
#[derive(Debug)]
pub(crate) struct Lent<T>(Option<T>);

/// The state is still with a call that was given up.
#[derive(Debug, thiserror::Error)]
#[error("an earlier write has not ended")]
pub(crate) struct Busy;

impl<T: Send + 'static> Lent<T> {
    pub(crate) fn new(state: T) -> Lent<T> {
        Lent(Some(state))
    }

    /// Runs `work` where it may block.
    pub(crate) async fn call<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, BoxError> {
        let mut state = self.0.take().ok_or(Busy)?;
        let (state, result) = tokio::task::spawn_blocking(move || {
            let result = work(&mut state);
            (state, result)
        })
        .await?;
        self.0 = Some(state);
        Ok(result)
    }
}
