//! A recording, played again: the same calls, in an instance that had the same state.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_flow::{Batch, Schema};
use sluice_plugin::keys::{KeySpec, Keys};
use sluice_plugin::recording::{Ended, Recorded, Recording};
use sluice_plugin::tables::{TableSpec, Tables};
use sluice_plugin::{
    Answer, Called, ComponentSource, FailurePolicy, Host, Limits, LoadError, Loaded, LogLine, LogOut, Manifest,
    OnError, Services, StageSpec, Trap, Trial, Trust,
};
use tempfile::TempDir;

/// How a replay ended.
#[derive(Debug)]
pub struct Replayed {
    /// What runs: name, version.
    pub manifest: Manifest,
    /// SHA-256 of it, in hexadecimal.
    pub sha256: String,
    /// How the last call ended.
    pub ended: Ended,
    /// Fuel of the last call, if the host counts it.
    pub fuel: Option<u64>,
    /// Time of the last call.
    pub time: Duration,
    /// Calls that came before it.
    pub calls_before: usize,
    /// What was logged in the last call.
    pub log: Vec<LogLine>,
    /// What may make it come out otherwise than it did.
    pub doubts: Vec<String>,
}

/// What became of what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as it did, at the same place.
    Reproduced,
    /// It ended in the same way, at another place.
    OtherPlace,
    /// It ended otherwise.
    Differs,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A table or an asset is not in it, and was not given.
    #[error("the {what} `{name}` (SHA-256 {sha256}) is too large to be in the recording: give it with --with")]
    NotEnclosed {
        /// `table` or `asset`.
        what: &'static str,
        /// Its name.
        name: String,
        /// SHA-256 of the file.
        sha256: String,
    },
    /// What the recording says does not fit together.
    #[error("the recording makes no sense: {0}")]
    Nonsense(String),
    /// A temporary file could not be written.
    #[error("the tables of the recording cannot be unpacked")]
    Unpack(#[from] io::Error),
    /// The plugin does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An instance ended before the call that was recorded.
    #[error("{function} ended the instance before the call that was recorded: {}", trap.text)]
    Earlier {
        /// What was called.
        function: String,
        /// How it ended.
        trap: Box<Trap>,
    },
}

/// What a call did, in the words of a recording.
#[must_use]
pub fn ended(called: &Called) -> Ended {
    let said = |how: &str, text: &str| Ended { how: how.to_owned(), text: text.to_owned(), ..Ended::default() };
    match &called.answer {
        Answer::Done(batch) => Ended { rows_kept: batch.as_ref().map(|(batch, _)| batch.rows()), ..said("done", "") },
        Answer::RetryLater(text) => said("retry-later", text),
        Answer::Refused(text) => said("refused", text),
        Answer::Trapped(trap) => Ended { backtrace: trap.backtrace.clone(), ..said(trap.kind, &trap.text) },
    }
}

/// What became of what was recorded.
#[must_use]
pub fn verdict(recorded: &Ended, replayed: &Ended) -> Verdict {
    let is_same = recorded.how == replayed.how
        && recorded.rows_kept.is_none_or(|rows| replayed.rows_kept == Some(rows))
        // What the engine says of a deadline or of memory is the same everywhere; plugins say what they like.
        && recorded.text == replayed.text;
    // Where a call was when its time or memory ended is chance, and how deep a stack was depends on the machine.
    let is_place_known = recorded.how == "trap" && !recorded.text.contains("stack exhausted");
    match is_same {
        false => Verdict::Differs,
        true if is_place_known && functions(recorded) != functions(replayed) => Verdict::OtherPlace,
        true => Verdict::Reproduced,
    }
}

/// The functions of a backtrace. Within one, code that counts fuel has other offsets than code that does not.
fn functions(ended: &Ended) -> Vec<&str> {
    ended.backtrace.iter().map(|frame| frame.split(" (offset ").next().unwrap_or(frame)).collect()
}

/// Makes the calls of `recording` with `component`. `given` has tables and assets that are not enclosed, by name.
///
/// # Errors
/// If something that the plugin used is missing, the component does not load, or an earlier call ends it.
pub fn replay(
    recording: &Recording,
    host: &Arc<Host>,
    component: ComponentSource,
    given: &Given,
) -> Result<Replayed, ReplayError> {
    let unpacked = tempfile::tempdir()?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let services = services(recording, given, &unpacked, &lines)?;
    let about = &recording.about;
    let schema = Arc::new(about.schema().map_err(ReplayError::Nonsense)?);
    let spec = StageSpec {
        name: about.stage.clone(),
        component,
        trust: Trust::default(),
        config_json: about.config.clone(),
        grant: about.grant(&schema).map_err(ReplayError::Nonsense)?,
        on_error: OnError::Drop,
        limits: within_reason(&about.limits),
        is_private: about.private,
        state: None,
        failure: FailurePolicy::default(),
        budget: None,
        rollback_window: std::time::Duration::ZERO,
        isolation: None,
        record: None,
        services,
        schema,
    };
    let loaded = Loaded::load(host, spec)?;
    let mut doubts = doubts(recording, &loaded);
    let mut trial = Trial::new(&loaded)?;
    if let Some(snapshot) = &recording.snapshot {
        let earlier = |trap| ReplayError::Earlier { function: "restore".to_owned(), trap: Box::new(trap) };
        match trial.restore(snapshot.clone()).map_err(earlier)? {
            Ok(true) => {}
            Ok(false) => {
                doubts.push("the plugin does not understand the state in the recording: it began empty".to_owned())
            }
            Err(problem) => {
                doubts.push(format!("the plugin refuses the state in the recording, and began empty: {problem}"));
                trial = Trial::new(&loaded)?;
            }
        }
    }
    let (last, before) = recording.calls.split_last().ok_or_else(|| ReplayError::Nonsense("no call".to_owned()))?;
    for (at, call) in before.iter().enumerate() {
        if let Answer::Trapped(trap) = make(&mut trial, call).answer {
            let function = format!("call {} of {}", at + 1, recording.calls.len());
            return Err(ReplayError::Earlier { function, trap: Box::new(trap) });
        }
    }
    lock(&lines).clear();
    let began = Instant::now();
    let called = make(&mut trial, last);
    let time = began.elapsed();
    Ok(Replayed {
        manifest: loaded.manifest(),
        sha256: hex(&loaded.digest()),
        ended: ended(&called),
        fuel: called.fuel,
        time,
        calls_before: before.len(),
        log: std::mem::take(&mut *lock(&lines)),
        doubts,
    })
}

/// The limits of a recording, which may be a stranger's, as far as this machine should go.
fn within_reason(limits: &Limits) -> Limits {
    const MEMORY: usize = 1 << 30;
    const TIME_MS: u64 = 60_000;
    const AT_ONCE: usize = 256 << 20;
    Limits {
        memory: limits.memory.min(MEMORY),
        deadline_ms: limits.deadline_ms.min(TIME_MS),
        init_deadline_ms: limits.init_deadline_ms.min(TIME_MS),
        hostcall_bytes: limits.hostcall_bytes.min(AT_ONCE),
        snapshot_bytes: limits.snapshot_bytes.min(AT_ONCE),
        handles: limits.handles.min(1 << 16),
        table_elements: limits.table_elements.min(10_000_000),
        ..limits.clone()
    }
}

/// What a recording does not have and the operator does.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Tables by name.
    pub tables: Vec<(String, TableSpec)>,
    /// Assets by name.
    pub assets: Vec<(String, Arc<Vec<u8>>)>,
}

fn make(trial: &mut Trial, call: &Recorded) -> Called {
    match call {
        Recorded::Process(batch) => trial.process(Batch::clone(batch)),
        Recorded::Tick(now_ms) => trial.tick(*now_ms),
    }
}

fn doubts(recording: &Recording, loaded: &Loaded) -> Vec<String> {
    let about = &recording.about;
    let mut doubts = Vec::new();
    if about.calls_left_out > 0 {
        let calls = about.calls_left_out;
        doubts.push(format!("{calls} earlier calls had no room in the recording, and the plugin keeps state"));
    }
    for key in &about.keys {
        doubts.push(format!("the key `{key}` is not in the recording: a made-up one stands for it"));
    }
    let schema = about.schema().unwrap_or_else(|_| Schema::standard());
    let manifest = loaded.manifest();
    let unread = manifest.reads.iter().filter_map(|column| schema.name(column).map(str::to_owned));
    let unread: Vec<String> = unread.filter(|name| !about.reads.contains(name)).collect();
    if !unread.is_empty() {
        doubts.push(format!("the plugin reads what was not recorded, and finds it absent: {}", unread.join(", ")));
    }
    doubts
}

/// The tables, keys and assets that were used, as far as they are known.
fn services(
    recording: &Recording,
    given: &Given,
    unpacked: &TempDir,
    lines: &Arc<Mutex<Vec<LogLine>>>,
) -> Result<Services, ReplayError> {
    let about = &recording.about;
    let missing = |what, name: &str, sha256: &str| ReplayError::NotEnclosed {
        what,
        name: name.to_owned(),
        sha256: sha256.to_owned(),
    };
    let mut specs = Vec::new();
    for (number, table) in about.tables.iter().enumerate() {
        let enclosed = recording.tables.iter().find(|(name, _)| *name == table.name);
        let spec = given.tables.iter().find(|(name, _)| *name == table.name).map(|(_, spec)| spec.clone());
        let spec = match (spec, enclosed) {
            (Some(spec), _) => spec,
            (None, Some((_, contents))) => {
                // Its name is a stranger's: the file has another.
                let path = unpacked.path().join(format!("table-{number}"));
                fs::write(&path, contents)?;
                table.spec(path).map_err(ReplayError::Nonsense)?
            }
            (None, None) => return Err(missing("table", &table.name, &table.sha256)),
        };
        specs.push((table.name.clone(), spec));
    }
    let tables =
        Tables::load(specs).map_err(|(name, error)| ReplayError::Nonsense(format!("table `{name}`: {error}")))?;
    let keys = about.keys.iter().map(|name| (name.clone(), KeySpec::literal(made_up_key(name))));
    let keys = Keys::load(keys).map_err(|(name, error)| ReplayError::Nonsense(format!("key `{name}`: {error}")))?;
    let mut assets = sluice_plugin::Assets::new();
    for asset in &about.assets {
        let enclosed = recording.assets.iter().find(|(name, _)| *name == asset.name);
        let known = given.assets.iter().find(|(name, _)| *name == asset.name);
        let contents = match (known, enclosed) {
            (Some((_, contents)), _) => Arc::clone(contents),
            (None, Some((_, contents))) => Arc::new(contents.clone()),
            (None, None) => return Err(missing("asset", &asset.name, &asset.sha256)),
        };
        assets.insert(asset.name.clone(), contents);
    }
    Ok(Services {
        tables: Arc::new(tables),
        keys: Arc::new(keys),
        assets: Arc::new(assets),
        log: LogOut::Kept(Arc::clone(lines)),
        ..Services::default()
    })
}

/// A key that is nobody's: 64 hexadecimal digits of its name.
#[must_use]
pub fn made_up_key(name: &str) -> String {
    name.bytes().chain(std::iter::repeat(0)).take(32).map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
