//! A plugin that runs in another process, as the host sees it. Nothing that process says is believed: an answer that
//! breaks a rule ends it.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{self, Frame, Kind};
use super::group::{Group, Live};
use super::material::Material;
use super::refusal::Refusal;
use super::report::{self, Outcome, Report};
use crate::abi::{self, Failure};
use crate::error::LoadErrorKind;
use crate::instance::{TrapKind, Trapped};
use crate::recording::batch::put_column;
use crate::recording::bytes::{Put, Take};
use crate::shared::Shared;
use crate::state::State;

/// Bytes that an answer may have, beside a snapshot.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Beyond the plugin's own deadline, which its process keeps: when that is over, so is the process.
///
/// A deadline is CPU time, and [`BUSY`] is how many times as long it may take on a machine that does much else.
const MARGIN: Duration = Duration::from_secs(2);
const BUSY: u64 = 4;
/// What sending code and tables, and making them usable, may take beyond the deadline of `init`.
const LOADING: Duration = Duration::from_secs(60);

/// A version of a stage's plugin that runs in a process of its group.
pub(crate) struct RemoteVersion {
    group: Arc<Group>,
    material: Material,
    /// Whether the plugin exports `timer`, and `state`.
    exports: (bool, bool),
    /// The tables that each process was sent last, by generation; for the process that runs now only.
    tables: Mutex<HashMap<String, u64>>,
}

/// One instance, in a process.
pub(crate) struct Remote {
    pub(crate) state: State,
    version: Arc<RemoteVersion>,
    live: Arc<Live>,
    pipe: UnixStream,
    /// Calls of `process` so far.
    pub(crate) batches: u32,
    /// Whether a call used the last of the budget.
    pub(crate) broke_budget: bool,
}

impl RemoteVersion {
    /// Sends a version to the process of `group` and asks it for its manifest.
    pub(crate) fn load(
        group: &Arc<Group>,
        shared: &Shared,
        component: String,
        code: Vec<u8>,
    ) -> Result<(Arc<RemoteVersion>, abi::Manifest), LoadErrorKind> {
        /// Each version has its own number in whichever process it is.
        static VERSIONS: AtomicU64 = AtomicU64::new(1);
        let material = Material::new(VERSIONS.fetch_add(1, Ordering::Relaxed), shared, component, code);
        let mut version =
            RemoteVersion { group: Arc::clone(group), material, exports: (false, false), tables: Mutex::default() };
        let live = group.live().map_err(process)?;
        let (manifest, exports) = version.send(&live, &shared.limits)?;
        version.exports = exports;
        Ok((Arc::new(version), manifest))
    }

    pub(crate) fn exports(&self) -> (bool, bool) {
        self.exports
    }

    /// Sends the version, unless the process has it.
    fn ensure(&self, live: &Live, limits: &crate::Limits) -> Result<(), LoadErrorKind> {
        let is_there = live.versions.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.material.version());
        if is_there { Ok(()) } else { self.send(live, limits).map(drop) }
    }

    fn send(&self, live: &Live, limits: &crate::Limits) -> Result<(abi::Manifest, (bool, bool)), LoadErrorKind> {
        // One at a time: who comes second finds it there, or hears the same.
        let mut versions = live.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let until = answered_by(limits.init_deadline_ms) + LOADING;
        let generations = self.generations();
        let exchange = || -> io::Result<Frame> {
            let pipe = live.connect()?;
            self.material.send(&mut frame::Until { pipe: &pipe, until })?;
            frame::read(&mut frame::Until { pipe: &pipe, until }, MAX_ANSWER_BYTES)
        };
        let answer = exchange().map_err(|error| process(ended(live, &error)))?;
        match answer.kind {
            Kind::Answer => {
                let loaded = report::read(&answer.bytes, take_manifest);
                let loaded = loaded.map_err(|problem| process(lied(live, &problem)))?;
                versions.insert(self.material.version());
                *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = generations;
                Ok(loaded)
            }
            Kind::Failed => Err(Refusal::read(&answer.bytes)),
            _ => Err(process(lied(live, "an answer of another kind"))),
        }
    }

    fn generations(&self) -> HashMap<String, u64> {
        let lent = self.material.lent();
        let generation = |name: &str| Some((name.to_owned(), lent.get(name)?.generation()));
        self.material.tables().filter_map(generation).collect()
    }

    /// Starts an instance.
    pub(crate) fn start(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<Remote, LoadErrorKind> {
        let live = self.group.live().map_err(process)?;
        self.ensure(&live, &shared.limits)?;
        let pipe = live.connect().map_err(|error| process(ended(&live, &error)))?;
        let (state, version) = (State::new(Arc::clone(shared)), Arc::clone(self));
        let mut remote = Remote { state, version, live, pipe, batches: 0, broke_budget: false };
        let until = answered_by(shared.limits.init_deadline_ms);
        let number = self.material.version().to_le_bytes();
        let answer = remote.exchange(Kind::Start, &number, until, MAX_ANSWER_BYTES);
        match answer.map_err(|trapped| process(trapped.text))? {
            Frame { kind: Kind::Answer, bytes } => {
                let taken = report::read(&bytes, Report::take);
                taken.map_err(|problem| process(lied(&remote.live, &problem)))?.apply(&mut remote.state);
                Ok(remote)
            }
            Frame { bytes, .. } => Err(Refusal::read(&bytes)),
        }
    }

    /// Sends the tables that were exchanged since; not in the way of the batch, which is looked up in the old ones.
    fn refresh_tables(self: &Arc<Self>, live: &Arc<Live>) {
        for name in self.material.tables() {
            let Some(table) = self.material.lent().get(name) else { continue };
            let mut sent = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if sent.get(name).is_some_and(|generation| *generation >= table.generation()) {
                continue;
            }
            sent.insert(name.to_owned(), table.generation());
            let (version, live, name) = (Arc::clone(self), Arc::clone(live), name.to_owned());
            let send = move || {
                if let Err(error) = version.send_table(&live, &name) {
                    tracing::warn!(table = name, %error, "table not sent to the process for plugins, the old one goes on there");
                }
            };
            if let Err(error) = thread::Builder::new().name("plugin-table".to_owned()).spawn(send) {
                tracing::warn!(%error, "no thread to send a table with");
            }
        }
    }

    fn send_table(&self, live: &Live, name: &str) -> io::Result<()> {
        let (table, contents) = self.material.lent().contents(name).map_err(io::Error::other)?;
        let until = Instant::now() + LOADING;
        let pipe = live.connect()?;
        let mut head = Vec::new();
        head.put_u64(self.material.version());
        head.put_u64(table.generation());
        head.put_text(name);
        frame::write(&mut frame::Until { pipe: &pipe, until }, Kind::Table, &[&head, &contents])?;
        let answer = frame::read(&mut frame::Until { pipe: &pipe, until }, MAX_ANSWER_BYTES)?;
        if answer.kind == Kind::Answer {
            Ok(())
        } else {
            Err(io::Error::other(Refusal::read(&answer.bytes).to_string()))
        }
    }
}

impl Drop for RemoteVersion {
    /// The process lets go of the code and the tables when the last instance has.
    fn drop(&mut self) {
        let Some(live) = self.group.running() else { return };
        let number = self.material.version();
        if !live.versions.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
            return;
        }
        let until = Instant::now() + MARGIN;
        let forgotten = live.connect().and_then(|pipe| {
            frame::write(&mut frame::Until { pipe: &pipe, until }, Kind::Forget, &[&number.to_le_bytes()])
        });
        // A process that is gone has forgotten all the more.
        forgotten.unwrap_or_default();
    }
}

impl Remote {
    /// `stage.process`, on the batch that the state was given.
    pub(crate) fn process(&mut self, deadline_ms: u64) -> Result<Result<(), Failure>, Trapped> {
        self.version.refresh_tables(&self.live);
        let shared = Arc::clone(&self.state.shared);
        shared.meters.calls.inc();
        self.batches = self.batches.saturating_add(1);
        let until = answered_by(deadline_ms);
        let request = self.batch(deadline_ms);
        let answer = self.exchange(Kind::Process, &request, until, MAX_ANSWER_BYTES)?;
        let state = &mut self.state;
        let taken = report::read(&answer.bytes, |from| {
            let outcome = report::take_outcome(from)?;
            let report = Report::take(from)?;
            if matches!(outcome, Outcome::Done) {
                report::take_changes(from, state)?;
            }
            let cpu_ns = report.cpu_ns;
            report.apply(state);
            Ok((outcome, cpu_ns))
        });
        match taken {
            Ok((outcome, cpu_ns)) => {
                self.spend(cpu_ns);
                outcome.into()
            }
            Err(problem) => Err(trapped(lied(&self.live, &problem))),
        }
    }

    /// The batch with the columns that the plugin may read or write.
    fn batch(&self, deadline_ms: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(current) = &self.state.current else { return out };
        let batch = current.batch();
        let granted = self.state.read.union(self.state.write);
        let columns = || batch.columns().filter(|(number, _)| granted.contains(*number));
        out.reserve(columns().map(|(_, column)| column.bytes() + 16).sum::<usize>() + 36);
        out.put_u64(deadline_ms);
        // What is over the rate stays there: it would be decoded at the expense of others.
        out.put_u32(self.state.room_for_alerts() as u32);
        out.put_u64(batch.id());
        out.put_u64(batch.now_ms());
        out.put_u32(batch.rows() as u32);
        out.put_u16(columns().count() as u16);
        for (number, column) in columns() {
            out.put_u16(number);
            put_column(column, &mut out);
        }
        out
    }

    /// `timer.tick`, if there is one.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<(), Trapped> {
        if !self.version.exports.0 {
            return Ok(());
        }
        self.version.refresh_tables(&self.live);
        self.state.now_ms = now_ms;
        self.state.begin_call();
        let shared = Arc::clone(&self.state.shared);
        shared.meters.calls.inc();
        let until = answered_by(shared.limits.deadline_ms);
        let answer = self.exchange(Kind::Tick, &now_ms.to_le_bytes(), until, MAX_ANSWER_BYTES)?;
        match self.outcome(&answer, |_| Ok(()))? {
            (Outcome::Trapped(trapped), ()) => Err(trapped),
            (_, ()) => Ok(()),
        }
    }

    /// Whether there is a `timer.tick`.
    pub(crate) fn ticks(&self) -> bool {
        self.version.exports.0
    }

    /// Whether the state can be taken out and put in again.
    pub(crate) fn keeps_state(&self) -> bool {
        self.version.exports.1
    }

    /// `state.snapshot`, if there is one.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Trapped> {
        if !self.keeps_state() {
            return Ok(None);
        }
        let limits = self.state.shared.limits.clone();
        let until = answered_by(limits.init_deadline_ms);
        let max = limits.snapshot_bytes;
        let answer = self.exchange(Kind::Snapshot, &[], until, max.saturating_add(MAX_ANSWER_BYTES))?;
        let (outcome, bytes) = self.outcome(&answer, |from| {
            let bytes = from.u32()? as usize;
            if bytes > max {
                return Err(format!("a snapshot of {bytes} bytes, more than {max}"));
            }
            Ok(from.take(bytes)?.to_vec())
        })?;
        match outcome {
            Outcome::Trapped(trapped) => Err(trapped),
            _ => Ok(Some(bytes)),
        }
    }

    /// `state.restore`, if there is one: whether the state was understood.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<Result<bool, String>, Trapped> {
        if !self.keeps_state() {
            return Ok(Ok(false));
        }
        let limits = &self.state.shared.limits;
        let until = answered_by(limits.init_deadline_ms);
        let answer = self.exchange(Kind::Restore, state, until, MAX_ANSWER_BYTES)?;
        match self.outcome(&answer, |from| Ok(from.u8()? != 0))? {
            (Outcome::Trapped(trapped), _) => Err(trapped),
            (Outcome::Refused(message) | Outcome::RetryLater(message), _) => Ok(Err(message)),
            (Outcome::Done, is_understood) => Ok(Ok(is_understood)),
        }
    }

    /// Takes an answer apart: how it ended, what it reports, and what is its own.
    fn outcome<T: Default>(
        &mut self,
        answer: &Frame,
        take: impl FnOnce(&mut Take<'_>) -> Result<T, String>,
    ) -> Result<(Outcome, T), Trapped> {
        let taken = report::read(&answer.bytes, |from| {
            let outcome = report::take_outcome(from)?;
            let report = Report::take(from)?;
            let own = if matches!(outcome, Outcome::Done) { take(from)? } else { T::default() };
            Ok((outcome, report, own))
        });
        let (outcome, report, own) = taken.map_err(|problem| trapped(lied(&self.live, &problem)))?;
        let cpu_ns = report.cpu_ns;
        report.apply(&mut self.state);
        self.spend(cpu_ns);
        Ok((outcome, own))
    }

    /// Pays for a call.
    fn spend(&mut self, cpu_ns: u64) {
        if let Some(budget) = &self.state.shared.budget {
            self.broke_budget |= budget.spend(cpu_ns, Instant::now());
        }
    }

    fn exchange(&self, kind: Kind, bytes: &[u8], until: Instant, max: usize) -> Result<Frame, Trapped> {
        let mut pipe = frame::Until { pipe: &self.pipe, until };
        let answer = frame::write(&mut pipe, kind, &[bytes]).and_then(|()| frame::read(&mut pipe, max));
        match answer {
            Ok(answer) if answer.kind == Kind::Answer || kind == Kind::Start && answer.kind == Kind::Failed => {
                Ok(answer)
            }
            Ok(_) => Err(trapped(lied(&self.live, "an answer of another kind"))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(trapped(lied(&self.live, &error.to_string())))
            }
            Err(error) => Err(trapped(ended(&self.live, &error))),
        }
    }
}

/// When a process has to have answered a call with that deadline.
fn answered_by(deadline_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(deadline_ms.saturating_mul(BUSY)) + MARGIN
}

/// Name, version, columns read and written, whether it is stateful, its interval; and what it exports.
fn take_manifest(from: &mut Take<'_>) -> Result<(abi::Manifest, (bool, bool)), String> {
    let columns = |from: &mut Take<'_>| -> Result<Vec<u16>, String> {
        let count = from.u16()?;
        Ok((0..count).map(|_| from.u16()).collect::<Result<_, _>>()?)
    };
    let manifest = abi::Manifest {
        name: from.text()?.to_owned(),
        version: from.text()?.to_owned(),
        reads: columns(from)?,
        writes: columns(from)?,
        stateful: from.u8()? != 0,
        tick_ms: Some(from.u32()?),
    };
    Ok((manifest, (from.u8()? != 0, from.u8()? != 0)))
}

/// What became of a process that did not answer; it is ended if it did not end.
fn ended(live: &Live, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::TimedOut {
        live.bury("did not answer in time");
        return "the process did not answer in time and was ended".to_owned();
    }
    format!("the process {}", live.bury("did not answer"))
}

/// Ends a process that gave an answer against the rules.
fn lied(live: &Live, problem: &str) -> String {
    live.bury("broke a rule");
    format!("the process broke a rule and was ended: {problem}")
}

fn trapped(text: String) -> Trapped {
    Trapped { kind: TrapKind::Process, text, backtrace: Vec::new() }
}

fn process(problem: String) -> LoadErrorKind {
    LoadErrorKind::Process { problem }
}
