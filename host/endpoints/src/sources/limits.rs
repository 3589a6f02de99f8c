//! The decoder's limits as an operator writes them.

use serde::Deserialize;
use sluice_wire::Limits;

use crate::Invalid;

/// `[sources.NAME.limits]`: what exporters may make a decoder keep. They hold for each socket's decoder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Exporters (address, protocol and observation domain) that are remembered, e.g. `20000`; one too
    /// many costs the one that was silent longest. Default 8192; 1 to 1000000.
    pub exporters: usize,
    /// Templates of one exporter, e.g. `1000`. Default 512; 1 to 65536.
    pub templates_per_exporter: usize,
    /// Fields of one template, e.g. `128`; a template of more is refused. Default 512; 1 to 4096.
    pub template_fields: usize,
    /// Bytes for the templates of all exporters, e.g. `33554432`. Default 67108864 (64 MiB); 65536 to
    /// 4294967296.
    pub template_bytes: usize,
    /// Bytes of data that wait for their template, of all exporters, e.g. `0` to keep none. Default
    /// 8388608 (8 MiB); at most 1073741824.
    pub pending_bytes: usize,
    /// Bytes of data of one exporter that wait for their template. Default 524288 (512 KiB); at most
    /// 1073741824.
    pub pending_bytes_per_exporter: usize,
    /// Milliseconds that data waits for its template, e.g. `60000`. Default 300000; at most 86400000.
    pub pending_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        let limits = Limits::default();
        LimitsConfig {
            exporters: limits.exporters,
            templates_per_exporter: limits.templates_per_exporter,
            template_fields: limits.template_fields,
            template_bytes: limits.template_bytes,
            pending_bytes: limits.pending_bytes,
            pending_bytes_per_exporter: limits.pending_bytes_per_exporter,
            pending_ms: limits.pending_ms,
        }
    }
}

impl LimitsConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A number out of its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let within = |key, value: usize, lowest, highest| Invalid::unless_within(key, value as u64, lowest, highest);
        within("limits.exporters", self.exporters, 1, 1_000_000)?;
        within("limits.templates_per_exporter", self.templates_per_exporter, 1, 1 << 16)?;
        within("limits.template_fields", self.template_fields, 1, 1 << 12)?;
        within("limits.template_bytes", self.template_bytes, 1 << 16, 1 << 32)?;
        within("limits.pending_bytes", self.pending_bytes, 0, 1 << 30)?;
        within("limits.pending_bytes_per_exporter", self.pending_bytes_per_exporter, 0, 1 << 30)?;
        Invalid::unless_within("limits.pending_ms", self.pending_ms, 0, 86_400_000)
    }

    /// The decoder's limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            exporters: self.exporters,
            templates_per_exporter: self.templates_per_exporter,
            template_fields: self.template_fields,
            template_bytes: self.template_bytes,
            pending_bytes: self.pending_bytes,
            pending_bytes_per_exporter: self.pending_bytes_per_exporter,
            pending_ms: self.pending_ms,
        }
    }
}
