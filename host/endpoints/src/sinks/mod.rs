//! What takes rows and alerts out, one module each.

mod events;
mod file;
mod kafka;
mod lent;
mod null;
mod stdout;

pub use events::{EventFormat, EventTarget, EventsConfig, EventsSink};
pub use file::{FileConfig, FileFormat, FileSink, OpenError};
pub use kafka::{BufferConfig, Compression, CreateTopics, KafkaSink, KafkaSinkConfig, Key};
pub use null::{NullConfig, NullSink};
pub use stdout::{StdoutConfig, StdoutSink};
