//! What the outside looks like to a plugin that asks for it.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use expect_test::expect;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::{Bench, batch};

/// Collects the lines that plugins log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            writeln!(self.0.lock().unwrap(), "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "plugin"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        write!(self.0.lock().unwrap(), "{} ", event.metadata().level()).unwrap();
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn clocks_stand_at_batch_time_chance_repeats_and_nothing_else_is_there() {
    let lines = Lines::default();
    let report = |lines: &Lines| tracing::subscriber::with_default(lines.clone(), || Bench::new("wasi", 0).report());
    let first = report(&lines);
    expect![[r#"
        INFO to standard output
        WARN to standard error, no end of line
    "#]]
    .assert_eq(&lines.0.lock().unwrap());
    assert_eq!(first, report(&lines), "the same batch gives the same answers");
    expect!["(1700000000123, 0ns, 14549892917010829647, 0, 0, Some(NotFound), Some(NotFound), Some(PermissionDenied), Some(0))"].assert_eq(&first);
}

#[test]
fn the_text_of_a_panic_is_in_the_log() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || Bench::new("trap", 20).process(batch()));
    let lines = lines.0.lock().unwrap();
    assert!(lines.contains("row of 20 bytes"), "{lines}");
}
