//! What the decoder of a source knows of its exporters, asked for by another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_wire::{Decoder, KnownExporter};
use tokio::sync::watch;

/// Exporters of one decoder that are told of at most.
pub const MOST_EXPORTERS: usize = 4096;

/// What a decoder knew when it was asked.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Number of the question that this answers.
    number: u64,
    /// The exporters, of NetFlow and IPFIX that which sent last first.
    pub exporters: Arc<Vec<KnownExporter>>,
    /// Exporters beyond [`MOST_EXPORTERS`].
    pub left_out: usize,
}

/// Asks the thread that owns a decoder, which answers between two datagrams: it never waits, and while nobody asks it
/// costs the thread a load now and then.
#[derive(Debug)]
pub struct Roster {
    /// Number of the last question, and of the last that was answered.
    asked: AtomicU64,
    answered: AtomicU64,
    told: watch::Sender<Told>,
}

impl Roster {
    pub(crate) fn new() -> Arc<Roster> {
        Arc::new(Roster { asked: AtomicU64::new(0), answered: AtomicU64::new(0), told: watch::Sender::default() })
    }

    /// What the decoder knows now. If its thread does not answer within `patience`, because it waits for the pipeline
    /// or has not begun, what it said last.
    pub async fn ask(&self, patience: Duration) -> Told {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut told = self.told.subscribe();
        // Either way the newest answer is the best there is.
        drop(tokio::time::timeout(patience, told.wait_for(|told| told.number >= number)).await);
        told.borrow().clone()
    }

    /// Answers, if somebody asked since the last time.
    #[inline]
    pub(crate) fn answer(&self, decoder: &Decoder) {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked != self.answered.load(Ordering::Relaxed) {
            self.answered.store(asked, Ordering::Relaxed);
            self.tell(asked, decoder);
        }
    }

    /// Says what the decoder knew at its end, which answers every later question.
    pub(crate) fn end(&self, decoder: &Decoder) {
        self.tell(u64::MAX, decoder);
    }

    #[cold]
    fn tell(&self, number: u64, decoder: &Decoder) {
        let (exporters, left_out) = decoder.known(MOST_EXPORTERS);
        self.told.send_replace(Told { number, exporters: Arc::new(exporters), left_out });
    }
}
