//! Alerts, one clear line each: to the log, to standard output, or to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use sluice_pipeline::{Event, EventQueue, Metrics};
use tracing::{error, info, warn};

use crate::Invalid;
use crate::format::text;

/// `[sinks.NAME]` with `type = "events"`: writes the alerts of its inputs, one line each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsConfig {
    /// `"text"` for people or `"json"`, one object a line, for programs. Default `"text"`. In the log,
    /// alerts are text with fields whatever this says.
    #[serde(default)]
    pub format: EventFormat,
    /// `"log"`, `"stdout"`, or a file to append to, e.g. `"/var/log/sluice/alerts.json"`. Default `"log"`.
    #[serde(default)]
    pub to: EventTarget,
}

/// How an alert is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where alerts go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum EventTarget {
    /// The collector's own log: severities 0 to 4 (RFC 5424) as warnings, the others as information.
    #[default]
    Log,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

impl From<String> for EventTarget {
    fn from(text: String) -> EventTarget {
        match text.as_str() {
            "log" => EventTarget::Log,
            "stdout" => EventTarget::Stdout,
            _ => EventTarget::File(text.into()),
        }
    }
}

impl EventsConfig {
    /// Checks what the types cannot. Opens nothing.
    ///
    /// # Errors
    /// A target that is empty.
    pub fn validate(&self) -> Result<(), Invalid> {
        match &self.to {
            EventTarget::File(path) if path.file_name().is_none() => {
                let problem = format!("`{}` names no file", path.display());
                Err(Invalid::new("to", problem, "use \"log\", \"stdout\" or the path of a file"))
            }
            _ => Ok(()),
        }
    }

    /// Makes a relative path relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        if let EventTarget::File(path) = &mut self.to {
            *path = base.join(&path);
        }
    }
}

/// Writes alerts on a thread of its own until every stage that raises them is gone.
///
/// *Loss*: stages never wait for it; the queue counts what finds it full. A line that cannot be written
/// is counted as `sluice_sink_events_failed_total`, logged once, and the next one is tried.
#[derive(Debug)]
pub struct EventsSink {
    name: String,
    format: EventFormat,
    target: Target,
    written: Counter,
    failed: Counter,
}

#[derive(Debug)]
enum Target {
    Log,
    Stdout,
    File(File),
}

impl EventsSink {
    /// Opens the file, if there is one.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(name: &str, config: &EventsConfig, metrics: &Metrics) -> io::Result<EventsSink> {
        let target = match &config.to {
            EventTarget::Log => Target::Log,
            EventTarget::Stdout => Target::Stdout,
            EventTarget::File(path) => Target::File(OpenOptions::new().append(true).create(true).open(path)?),
        };
        let labels = || vec![("sink", name.to_owned())];
        Ok(EventsSink {
            name: name.to_owned(),
            format: config.format,
            target,
            written: metrics.counter("sluice_sink_events", "Alerts written.", labels()),
            failed: metrics.counter("sluice_sink_events_failed", "Alerts that could not be written.", labels()),
        })
    }

    /// Starts the thread that takes alerts from `queue`; it ends when the last stage that feeds the
    /// queue is gone and the queue is empty.
    ///
    /// # Errors
    /// If the system has no room for a thread.
    pub fn start(self, queue: EventQueue) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name(self.name.clone()).spawn(move || self.run(&queue))
    }

    fn run(mut self, queue: &EventQueue) {
        let mut line = Vec::new();
        for event in queue {
            line.clear();
            let written = match (&mut self.target, self.format) {
                (Target::Log, _) => {
                    log(&event);
                    Ok(())
                }
                (target, format) => {
                    match format {
                        EventFormat::Text => write_text(&event, &mut line),
                        EventFormat::Json => write_json(&event, &mut line),
                    }
                    target.write(&line)
                }
            };
            match written {
                Ok(()) => {
                    self.written.inc();
                }
                Err(cause) => {
                    if self.failed.inc() == 0 {
                        error!(sink = self.name, error = &cause as &dyn std::error::Error, "alert not written");
                    }
                }
            }
        }
    }
}

impl Target {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Target::Log => Ok(()),
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Target::File(file) => file.write_all(line),
        }
    }
}

fn log(event: &Event) {
    let mut note = Vec::new();
    text::shown(&mut note, &event.note);
    let note = String::from_utf8_lossy(&note);
    let (stage, kind, subject) = (&*event.stage, event.kind.as_str(), event.subject.as_str());
    let (value, threshold) = (event.value, event.threshold);
    if event.severity <= 4 {
        warn!(stage, kind, subject, value, threshold, "alert: {note}");
    } else {
        info!(stage, kind, subject, value, threshold, "alert: {note}");
    }
}

/// `TIME SEVERITY KIND SUBJECT: NOTE (STAGE)`, and a note that says nothing is made of the numbers.
fn write_text(event: &Event, out: &mut Vec<u8>) {
    const SEVERITIES: [&str; 8] = ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];
    text::date_time(out, event.time_ms);
    out.push(b' ');
    out.extend_from_slice(SEVERITIES.get(usize::from(event.severity)).unwrap_or(&"DEBUG").as_bytes());
    out.push(b' ');
    text::shown(out, &event.kind);
    out.push(b' ');
    text::shown(out, &event.subject);
    out.extend_from_slice(b": ");
    if event.note.is_empty() {
        text::display(out, format_args!("{} (threshold {})", event.value, event.threshold));
    } else {
        text::shown(out, &event.note);
    }
    out.extend_from_slice(b" (");
    text::shown(out, &event.stage);
    out.extend_from_slice(b")\n");
}

/// An alert as JSON; the names are part of the interface.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    stage: &'a str,
    kind: &'a str,
    severity: u8,
    subject: &'a str,
    value: f64,
    threshold: f64,
    note: &'a str,
}

fn write_json(event: &Event, out: &mut Vec<u8>) {
    let mut time = Vec::new();
    text::date_time(&mut time, event.time_ms);
    let line = Line {
        time: &String::from_utf8_lossy(&time),
        stage: &event.stage,
        kind: &event.kind,
        severity: event.severity,
        subject: &event.subject,
        value: event.value,
        threshold: event.threshold,
        note: &event.note,
    };
    serde_json::to_writer(&mut *out, &line).expect("text and numbers are JSON, and memory takes them");
    out.push(b'\n');
}
