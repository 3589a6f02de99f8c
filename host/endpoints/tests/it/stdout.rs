//! The stdout sink: readers that go away, writers that fail, limits.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use sluice_endpoints::sinks::{StdoutConfig, StdoutSink};
use sluice_flow::{ColumnSet, Schema, col};
use sluice_pipeline::{Sink, SinkError, Stop};

use crate::rows::{numbered, two_flows};

/// Takes so many bytes, then answers with an error, then takes as many again.
#[derive(Clone, Default)]
struct Reader {
    taken: Arc<Mutex<Vec<u8>>>,
    room: usize,
    left: usize,
    error: Option<io::ErrorKind>,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.error {
            if self.left == 0 {
                self.left = self.room;
                return Err(kind.into());
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..taken]);
            return Ok(taken);
        }
        self.taken.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bytes_only() -> StdoutConfig {
    StdoutConfig { fields: vec!["bytes".into()], ..StdoutConfig::default() }
}

fn sink(reader: &Reader, config: &StdoutConfig, stop: &Stop) -> StdoutSink<Reader> {
    StdoutSink::to(reader.clone(), "screen", config, &Schema::standard(), stop.clone()).unwrap()
}

fn lines(reader: &Reader) -> Vec<String> {
    String::from_utf8(reader.taken.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn every_row_is_a_line() {
    let reader = Reader::default();
    let stop = Stop::new();
    let mut sink = sink(&reader, &bytes_only(), &stop);
    sink.write(&two_flows()).await.unwrap();
    sink.write(&numbered(2, 600)).await.unwrap();
    sink.close().await.unwrap();
    let lines = lines(&reader);
    assert_eq!(lines.len(), 602);
    assert_eq!(lines[..2], [r#"{"bytes":18000}"#, r#"{"bytes":1280}"#]);
    assert_eq!(lines[601], r#"{"bytes":599}"#);
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_the_run_and_the_rest_is_counted() {
    let reader = Reader { room: 5000, left: 5000, error: Some(io::ErrorKind::BrokenPipe), ..Reader::default() };
    let stop = Stop::new();
    let mut sink = sink(&reader, &bytes_only(), &stop);
    let answer = sink.write(&numbered(1, 600)).await;
    // Two blocks of 256 lines would not fit 5000 bytes: one arrived in whole.
    assert!(matches!(answer, Err(SinkError::LeftOut { rows: 344, reason: "reader_gone", .. })), "{answer:?}");
    assert!(stop.is_cancelled());
    let answer = sink.write(&numbered(2, 10)).await;
    assert!(matches!(answer, Err(SinkError::LeftOut { rows: 10, reason: "reader_gone", .. })), "{answer:?}");
    sink.close().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_is_written_again_goes_on_where_it_stopped() {
    let reader = Reader { room: 777, left: 777, error: Some(io::ErrorKind::StorageFull), ..Reader::default() };
    let mut sink = sink(&reader, &bytes_only(), &Stop::new());
    let batch = numbered(1, 600);
    let mut failures = 0;
    while let Err(error) = sink.write(&batch).await {
        assert!(matches!(error, SinkError::Unavailable { .. }), "{error:?}");
        failures += 1;
    }
    assert!(failures > 5, "{failures}");
    let expected: Vec<String> = (0..600).map(|row| format!("{{\"bytes\":{row}}}")).collect();
    assert_eq!(lines(&reader), expected);
}

#[tokio::test]
async fn rows_beyond_the_limit_are_counted_as_not_shown() {
    let reader = Reader::default();
    let config = StdoutConfig { limit_per_s: Some(300), ..bytes_only() };
    let mut sink = sink(&reader, &config, &Stop::new());
    let answer = sink.write(&numbered(1, 600)).await;
    let Err(SinkError::LeftOut { rows, reason: "not_shown", .. }) = answer else { panic!("{answer:?}") };
    // More than a second may have gone by in between, on a machine that is that busy.
    assert_eq!(rows + lines(&reader).len(), 600);
    assert!(rows > 0 && lines(&reader).len() >= 300);
}

#[test]
fn a_sink_reads_the_columns_it_shows() {
    let reads = bytes_only().reads(&Schema::standard()).unwrap();
    assert_eq!(reads, [col::BYTES].into_iter().collect::<ColumnSet>());
    let all = StdoutConfig::default().reads(&Schema::standard()).unwrap();
    assert_eq!(all, Schema::standard().all());
}

#[test]
fn what_cannot_work_is_refused_with_a_remedy() {
    let refused = |config: StdoutConfig| config.validate().unwrap_err().to_string();
    let format = sluice_endpoints::format::Format::Flowdump;
    assert_eq!(
        refused(StdoutConfig { limit_per_s: Some(0), ..StdoutConfig::default() }),
        "limit_per_s: 0 rows a second show nothing; use 1 or more, or leave it out"
    );
    assert_eq!(
        refused(StdoutConfig { format, ..bytes_only() }),
        "fields: the format has fields of its own; leave `fields` out, or use the format json or table"
    );
}
