//! What brings rows in, one module each.

mod capture;
mod counts;
mod kafka;
mod limits;
mod receive;
mod roster;
mod udp;

pub use capture::{CaptureConfig, CaptureSource, Timing};
pub use kafka::{Assignment, KafkaSource, KafkaSourceConfig, KafkaSourceDelivery, Reading, Start};
pub use limits::LimitsConfig;
pub use roster::{MOST_EXPORTERS, Roster, Told};
pub use udp::{BindError, UdpConfig, UdpSockets, UdpSource};
