//! Writing recordings into a directory, never more than it may hold.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::{
    About, AssetUsed, CustomColumn, Ended, GrantedNames, History, MAX_ENCLOSED_BYTES, PluginId, RecordSpec, Recorded,
    Recording, TableUsed, names,
};
use crate::admit::OURS;
use crate::hex;
use crate::shared::Shared;
use crate::spec::{ComponentSource, Grant};
use crate::state::Used;
use crate::version::Version;

/// What a recording's name ends with.
const SUFFIX: &str = ".recording";

/// Writes the recordings of one stage.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) spec: RecordSpec,
    /// Held while a file is written: the workers of a stage count the same files.
    writing: Mutex<()>,
}

impl Recorder {
    pub(crate) fn new(spec: RecordSpec) -> Recorder {
        Recorder { spec, writing: Mutex::new(()) }
    }

    /// Makes the directory, for its owner only.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.spec.dir)
    }

    /// Whether the `batches`th batch of an instance is one to record, however it ends.
    pub(crate) fn is_sampled(&self, batches: u64) -> bool {
        self.spec.every > 0 && batches.is_multiple_of(u64::from(self.spec.every))
    }

    /// Records the last call of `history`. What comes of it is counted and logged.
    pub(crate) fn record(&self, version: &Version, used: &Used, history: &History, ended: Ended) {
        let shared = &version.shared;
        match self.try_record(version, used, history, ended) {
            Ok(Some(file)) => {
                shared.meters.recordings.inc();
                tracing::info!(stage = %shared.name, file = %file.display(), "call recorded");
            }
            Ok(None) => drop(shared.meters.recordings_left_out.inc()),
            Err(error) => {
                shared.meters.recordings_left_out.inc();
                tracing::warn!(stage = %shared.name, dir = %self.spec.dir.display(), %error, "call not recorded");
            }
        }
    }

    /// The file; none where the same trap has one.
    fn try_record(
        &self,
        version: &Version,
        used: &Used,
        history: &History,
        ended: Ended,
    ) -> io::Result<Option<PathBuf>> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = &version.shared.name;
        let is_trap = ["trap", "deadline", "memory", "process"].contains(&ended.how.as_str());
        let kind = format!("{stage}.{}-", if is_trap { "trap" } else { "batch" });
        let path = match history.calls.back() {
            Some(Recorded::Process(batch)) if !is_trap => {
                self.spec.dir.join(format!("{kind}{}-{}{SUFFIX}", batch.now_ms(), batch.id()))
            }
            _ => self.spec.dir.join(format!("{kind}{}{SUFFIX}", place(version, &ended))),
        };
        if is_trap && path.exists() {
            return Ok(None);
        }
        self.prepare()?;
        let recording = recording(version, used, history, ended);
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let bytes = write(Path::new(&new), &recording)
            .and_then(|bytes| self.make_room(stage, &kind, bytes))
            .and_then(|()| fs::rename(&new, &path));
        if bytes.is_err() {
            // What is left of it helps nobody.
            fs::remove_file(&new).unwrap_or_default();
        }
        bytes.map(|()| Some(path))
    }

    /// Removes the oldest recordings of the stage, so that one of `bytes` bytes may come.
    fn make_room(&self, stage: &str, kind: &str, bytes: u64) -> io::Result<()> {
        let max = self.spec.max_bytes;
        if bytes > max {
            return Err(io::Error::other(format!(
                "it has {bytes} bytes, `max_bytes` of the stage's `record` is {max}"
            )));
        }
        let mut old: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in fs::read_dir(&self.spec.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_ours = name.strip_prefix(stage).is_some_and(|rest| rest.starts_with('.')) && name.ends_with(SUFFIX);
            if let Some(metadata) = is_ours.then(|| entry.metadata()).transpose()?.filter(fs::Metadata::is_file) {
                old.push((metadata.modified()?, name, metadata.len()));
            }
        }
        old.sort_unstable();
        let mut of_kind = old.iter().filter(|(_, name, _)| name.starts_with(kind)).count();
        let mut in_all: u64 = old.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, name, old_bytes) in old {
            let is_of_kind = name.starts_with(kind);
            if in_all + bytes > max || is_of_kind && of_kind >= self.spec.max_files {
                fs::remove_file(self.spec.dir.join(&name))?;
                in_all -= old_bytes;
                of_kind -= usize::from(is_of_kind);
            }
        }
        Ok(())
    }
}

/// Writes a file that nobody else can read.
fn write(path: &Path, recording: &Recording) -> io::Result<u64> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A new file: what somebody else may have put there is not written to.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    let bytes = recording.write(&mut out)?;
    out.flush()?;
    Ok(bytes)
}

/// What tells a trap from others: the code, the kind, and where. Where a call was when its time or memory
/// ended is chance.
fn place(version: &Version, ended: &Ended) -> String {
    let mut hash = Sha256::new();
    hash.update(version.digest);
    hash.update(&ended.how);
    if ended.how == "trap" {
        hash.update(&ended.text);
        ended.backtrace.iter().for_each(|frame| hash.update(frame));
    }
    hex(&hash.finalize())[..12].to_owned()
}

fn recording(version: &Version, used: &Used, history: &History, ended: Ended) -> Recording {
    let shared = &version.shared;
    let (tables, table_contents) = tables(shared, used);
    let (assets, asset_contents) = assets(shared, used);
    let (file, built_in) = match &version.source {
        ComponentSource::File { path, .. } => (Some(std::path::absolute(path).unwrap_or_else(|_| path.clone())), None),
        ComponentSource::Embedded { name, .. } => (None, Some((*name).to_owned())),
    };
    let column = |column: &sluice_flow::CustomField| CustomColumn {
        name: column.name.clone(),
        width: column.width.name().to_owned(),
    };
    let about = About {
        written_by: concat!("sluice ", env!("CARGO_PKG_VERSION")).to_owned(),
        wit: OURS.to_owned(),
        stage: shared.name.to_string(),
        private: shared.is_private,
        plugin: PluginId {
            name: version.manifest.name.clone(),
            version: version.manifest.version.clone(),
            sha256: hex(&version.digest),
            file,
            built_in,
        },
        config: shared.config_json.clone(),
        grant: match &shared.grant {
            Grant::Requested => None,
            Grant::Listed(granted) => Some(GrantedNames::of(granted, &shared.schema)),
        },
        reads: names(&version.ceiling.0, &shared.schema),
        limits: shared.limits.clone(),
        columns: shared.schema.custom().map(|(_, custom)| column(custom)).collect(),
        tables,
        assets,
        keys: used.keys.iter().cloned().collect(),
        calls_left_out: history.left_out,
        ended,
    };
    Recording {
        about,
        snapshot: history.snapshot.as_deref().cloned(),
        calls: history.calls.iter().cloned().collect(),
        tables: table_contents,
        assets: asset_contents,
    }
}

/// Contents, by name.
type Enclosed = Vec<(String, Vec<u8>)>;

/// The tables that were used, and the contents of the small ones.
fn tables(shared: &Shared, used: &Used) -> (Vec<TableUsed>, Enclosed) {
    let (mut tables, mut contents) = (Vec::new(), Vec::new());
    let all = &shared.services.tables;
    for name in &used.tables {
        let (Some(table), Some(spec)) = (all.get(name), all.spec(name)) else { continue };
        let bytes = fs::metadata(spec.path()).ok().filter(|file| file.len() <= MAX_ENCLOSED_BYTES);
        let bytes = bytes.and_then(|_| fs::read(spec.path()).ok());
        // The file may be newer than the table.
        let bytes = bytes.filter(|bytes| <[u8; 32]>::from(Sha256::digest(bytes)) == table.digest());
        tables.push(TableUsed {
            name: name.clone(),
            kind: Some(spec.kind().to_owned()),
            field: spec.field().map(str::to_owned),
            key_columns: spec.key_columns(),
            file: std::path::absolute(spec.path()).unwrap_or_else(|_| spec.path().to_owned()),
            sha256: hex(&table.digest()),
            enclosed: bytes.is_some(),
        });
        contents.extend(bytes.map(|bytes| (name.clone(), bytes)));
    }
    (tables, contents)
}

/// The assets that were used, and the contents of the small ones.
fn assets(shared: &Shared, used: &Used) -> (Vec<AssetUsed>, Enclosed) {
    let (mut assets, mut contents) = (Vec::new(), Vec::new());
    for name in &used.assets {
        let Some(bytes) = shared.services.assets.get(name) else { continue };
        let enclosed = bytes.len() as u64 <= MAX_ENCLOSED_BYTES;
        assets.push(AssetUsed { name: name.clone(), sha256: hex(&Sha256::digest(bytes.as_slice())), enclosed });
        if enclosed {
            contents.push((name.clone(), bytes.to_vec()));
        }
    }
    (assets, contents)
}
