//! A version on its way to run: checked, and not published.

use std::sync::Arc;

use sluice_flow::ColumnSet;

use crate::load::Manifest;
use crate::signature::Signer;
use crate::spec::ComponentSource;
use crate::trust::Stamps;
use crate::version::{Access, Version};

/// A version that was checked, and is not published.
pub struct Candidate {
    pub(crate) version: Arc<Version>,
    pub(crate) stamps: Stamps,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let manifest = &self.version.manifest;
        write!(f, "Candidate({} {} {})", self.version.shared.name, manifest.name, manifest.version)
    }
}

impl Candidate {
    /// Columns that it may read.
    #[must_use]
    pub fn reads(&self) -> ColumnSet {
        self.version.ceiling.0
    }

    /// What it says it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.version.manifest
    }

    /// SHA-256 of its component.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.version.digest
    }

    /// Where its component comes from.
    #[must_use]
    pub fn source(&self) -> ComponentSource {
        self.version.source.clone()
    }

    /// Whose signature it has; none if it has none or nobody looked.
    #[must_use]
    pub fn signer(&self) -> Option<Signer> {
        self.version.signer.clone()
    }

    /// Whether its component is a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.version.source, ComponentSource::File { .. })
    }

    /// What it can get at.
    #[must_use]
    pub fn access(&self) -> Access {
        self.version.access()
    }
}
