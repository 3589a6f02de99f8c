//! What a process needs to run a version of a stage's plugin: the code, and what it was granted and lent, and nothing else.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_flow::{ColumnSet, CustomField, Schema, Width};
use zeroize::Zeroizing;

use super::frame::{self, Kind};
use crate::budget::{Budget, OverBudget};
use crate::cache::MAX_FILE_BYTES;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::shared::Shared;
use crate::spec::{ComponentSource, FailurePolicy, Grant, Granted, LogOut, OnError, Services, StageSpec};
use crate::tables::{TableError, TableSpec, Tables};
use crate::trust::Trust;

/// The head of a load: what comes after it, and how it is to be run.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    /// Number of the version, given by the host.
    pub(super) version: u64,
    stage: String,
    /// What messages call the component.
    component: String,
    config: String,
    grant: Option<GrantIds>,
    limits: Limits,
    /// Whether each call is to be measured: it is paid for.
    is_paid_for: bool,
    /// Columns that the operator added: name and width.
    columns: Vec<(String, String)>,
    /// Tables whose contents follow the code: name, type, field, and columns of the key.
    tables: Vec<(String, String, Option<String>, Option<usize>)>,
    /// Keys that follow the tables.
    keys: Vec<String>,
    /// Assets that follow the keys.
    assets: Vec<String>,
}

/// [`Granted`], with columns by number.
#[derive(Serialize, Deserialize)]
struct GrantIds {
    read: Vec<u16>,
    write: Vec<u16>,
    events: bool,
    tables: BTreeSet<String>,
    keys: BTreeSet<String>,
    assets: BTreeSet<String>,
}

/// One version of a stage's plugin, to be sent to a process.
pub(super) struct Material {
    head: Head,
    code: Vec<u8>,
    services: Services,
}

impl Material {
    pub(super) fn new(version: u64, shared: &Shared, component: String, code: Vec<u8>) -> Material {
        let services = shared.services.clone();
        let grant = match &shared.grant {
            Grant::Requested => None,
            Grant::Listed(granted) => Some(GrantIds {
                read: granted.read.iter().collect(),
                write: granted.write.iter().collect(),
                events: granted.events,
                tables: granted.tables.clone(),
                keys: granted.keys.clone(),
                assets: granted.assets.clone(),
            }),
        };
        let tables = services.tables.names().filter(|name| shared.grant.allows_table(name)).filter_map(|name| {
            let spec = services.tables.spec(name)?;
            Some((name.to_owned(), spec.kind().to_owned(), spec.field().map(str::to_owned), spec.key_columns()))
        });
        let columns = shared.schema.custom();
        let head = Head {
            version,
            stage: shared.name.to_string(),
            component,
            config: shared.config_json.clone(),
            grant,
            limits: shared.limits.clone(),
            is_paid_for: shared.budget.is_some(),
            columns: columns.map(|(_, custom)| (custom.name.clone(), custom.width.name().to_owned())).collect(),
            tables: tables.collect(),
            keys: services.keys.names().filter(|name| shared.grant.allows_key(name)).map(str::to_owned).collect(),
            assets: services.assets.keys().filter(|name| shared.grant.allows_asset(name)).cloned().collect(),
        };
        Material { head, code, services }
    }

    pub(super) fn version(&self) -> u64 {
        self.head.version
    }

    /// Names of the tables that are lent.
    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        self.head.tables.iter().map(|(name, ..)| name.as_str())
    }

    /// Where the tables are.
    pub(super) fn lent(&self) -> &Arc<Tables> {
        &self.services.tables
    }

    /// Sends all of it. Returns the digests of the tables as they were sent.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<Vec<[u8; 32]>> {
        let unreadable = |error: TableError| io::Error::other(sluice_pipeline::chain(&error));
        let tables = self.tables().map(|name| self.services.tables.contents(name).map_err(unreadable));
        let tables = tables.collect::<io::Result<Vec<_>>>()?;
        frame::write(to, Kind::Load, &[&serde_json::to_vec(&self.head)?])?;
        frame::write(to, Kind::Part, &[&self.code])?;
        for (_, contents) in &tables {
            frame::write(to, Kind::Part, &[contents])?;
        }
        for name in &self.head.keys {
            let key = self.services.keys.get(name);
            frame::write(to, Kind::Part, &[key.as_ref().map_or(&[], |key| key.bytes())])?;
        }
        for name in &self.head.assets {
            frame::write(to, Kind::Part, &[self.services.assets.get(name).map_or(&[], |asset| asset.as_slice())])?;
        }
        Ok(tables.iter().map(|(table, _)| table.digest()).collect())
    }
}

/// What a process was sent: a stage to set up, and its code.
pub(super) struct Sent {
    pub(super) version: u64,
    pub(super) component: String,
    pub(super) spec: StageSpec,
    pub(super) code: Vec<u8>,
}

/// Takes what follows a head.
pub(super) fn receive(head: &[u8], from: &mut impl Read) -> io::Result<Sent> {
    let head: Head = serde_json::from_slice(head)?;
    let mut part = || frame::read(from, MAX_FILE_BYTES as usize).map(|frame| frame.bytes);
    let code = part()?;
    let mut tables = Vec::new();
    for (name, kind, field, key_columns) in head.tables {
        // What messages call it.
        let path = PathBuf::from(&name);
        let spec = TableSpec::of(&kind, field.as_deref(), key_columns, path);
        let spec = spec.ok_or_else(|| io::Error::other(format!("a table of the type `{kind}`")))?;
        tables.push((name, spec, part()?));
    }
    let mut keys = Vec::new();
    for name in head.keys {
        keys.push((name, Zeroizing::new(part()?)));
    }
    let mut assets = std::collections::BTreeMap::new();
    for name in head.assets {
        assets.insert(name, Arc::new(part()?));
    }
    let services = Services {
        tables: Arc::new(Tables::of(tables).map_err(io::Error::other)?),
        keys: Arc::new(Keys::of(keys).map_err(io::Error::other)?),
        assets: Arc::new(assets),
        log: LogOut::Kept(Arc::new(Mutex::default())),
        ..Services::default()
    };
    let custom = head.columns.into_iter().map(|(name, width)| {
        let width = Width::of_name(&width).ok_or_else(|| io::Error::other("a column of no width"))?;
        Ok(CustomField { name, width, element: None })
    });
    let schema = Schema::with_custom(custom.collect::<io::Result<_>>()?).map_err(io::Error::other)?;
    let columns = |ids: Vec<u16>| ids.into_iter().collect::<ColumnSet>();
    let grant = head.grant.map_or(Grant::Requested, |grant| {
        Grant::Listed(Granted {
            read: columns(grant.read),
            write: columns(grant.write),
            events: grant.events,
            tables: grant.tables,
            keys: grant.keys,
            assets: grant.assets,
        })
    });
    let spec = StageSpec {
        name: head.stage,
        trust: Trust::default(),
        component: ComponentSource::File { path: PathBuf::new(), sha256: None },
        config_json: head.config,
        grant,
        // What comes of a failure is decided where the rows are.
        on_error: OnError::Drop,
        limits: head.limits,
        // The books of it are where the rows are.
        budget: head.is_paid_for.then(|| Budget::new("", u32::MAX, OverBudget::default())),
        failure: FailurePolicy::default(),
        is_private: false,
        state: None,
        rollback_window: Duration::ZERO,
        record: None,
        services,
        isolation: None,
        schema: Arc::new(schema),
    };
    Ok(Sent { version: head.version, component: head.component, spec, code })
}
