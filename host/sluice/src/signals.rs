//! Signals: the first SIGINT or SIGTERM stops in order, a second one ends at once, SIGHUP reloads.

use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sluice_pipeline::Stop;
use tracing::info;

/// What a SIGHUP does.
pub(crate) type Reload = Arc<dyn Fn() + Send + Sync>;

/// Handles signals on a thread of its own until the process ends.
///
/// # Errors
/// If the system does not let us.
pub(crate) fn handle(stop: Stop, reload: Option<Reload>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match (signal, &reload) {
                (SIGHUP, Some(reload)) => reload(),
                (SIGHUP, None) => {}
                _ if stop.is_cancelled() => {
                    // The shell's convention for a process that a signal ended.
                    signal_hook::low_level::exit(128 + signal);
                }
                _ => {
                    info!("stopping: draining what is in flight; a second signal ends at once");
                    stop.cancel();
                }
            }
        }
    })?;
    Ok(())
}
