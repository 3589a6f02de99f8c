//! A process for plugins from within: it has what it was sent, and runs it.

use std::collections::HashMap;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sluice_flow::{Batch, Pool, Schema};
use sluice_pipeline::Metrics;

use super::confine::{self, Ration, confine};
use super::frame::{self, Frame, Kind};
use super::material;
use super::refusal::Refusal;
use super::report::{self, MAX_LINES, Outcome, Report};
use super::{RunOrder, compile};
use crate::cache::MAX_FILE_BYTES;
use crate::engine::{Host, HostSettings};
use crate::instance::{Instance, Trapped};
use crate::recording::batch::take_column;
use crate::recording::bytes::{Put, Take};
use crate::shared::{OwnMetric, Shared};
use crate::spec::{ComponentSource, LogOut};
use crate::trust::Trust;
use crate::version::{Papers, Version};

/// Stack of a thread that serves an instance.
const STACK_BYTES: usize = 2 << 20;

/// What all threads of the process share.
struct House {
    host: Arc<Host>,
    versions: Mutex<HashMap<u64, Arc<Tenant>>>,
}

/// A version, and what was reported of it.
struct Tenant {
    version: Version,
    /// The instance that was tried: the first to be started.
    first: Mutex<Option<Instance>>,
    reported: Mutex<Reported>,
    /// The tables that were sent last, by generation.
    tables: Mutex<HashMap<String, u64>>,
}

/// Counters as they were when they were reported last.
#[derive(Default)]
struct Reported {
    cpu_ns: u64,
    alerts_left_out: u64,
    metrics_refused: u64,
    own: HashMap<(String, bool), u64>,
}

/// Takes everything from the process that it does not need, then serves connections until the host is gone.
pub(super) fn serve(pipe: &mut UnixStream, order: &[u8]) -> io::Result<()> {
    let order: RunOrder = serde_json::from_slice(order)?;
    // What breaks in one thread may have broken what the others stand on.
    std::panic::set_hook(Box::new(|panicked| {
        // The host keeps the first line of it.
        io::stderr().write_all(panicked.to_string().as_bytes()).unwrap_or_default();
        std::process::abort();
    }));
    confine::outlive_signals();
    confine(&Ration::data(order.memory_bytes))?;
    let settings = HostSettings { cache_dir: None, fuel: order.fuel, outside: None };
    let host = Host::new(settings, Metrics::new()).map_err(|error| io::Error::other(sluice_pipeline::chain(&error)))?;
    let house = Arc::new(House { host, versions: Mutex::default() });
    frame::write(pipe, Kind::Answer, &[])?;
    while let Some(connection) = accept(pipe)? {
        let house = Arc::clone(&house);
        let serve = move || {
            // The host hears of what goes wrong by the end of the connection.
            house.serve(connection).unwrap_or_default();
        };
        thread::Builder::new().name("plugin".to_owned()).stack_size(STACK_BYTES).spawn(serve)?;
    }
    // Threads may still be within a plugin: with the host gone, nobody waits for them.
    std::process::exit(0);
}

/// The next connection; none when the host is gone.
fn accept(control: &UnixStream) -> io::Result<Option<UnixStream>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut files, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    for message in files.drain() {
        if let RecvAncillaryMessage::ScmRights(mut files) = message
            && let Some(file) = files.next()
        {
            return Ok(Some(UnixStream::from(file)));
        }
    }
    Err(io::Error::other("a connection without a socket"))
}

impl House {
    /// Serves one connection: an instance, or a single request.
    fn serve(&self, mut pipe: UnixStream) -> io::Result<()> {
        let mut seat: Option<Seat> = None;
        loop {
            let Frame { kind, bytes } = match frame::read(&mut pipe, MAX_FILE_BYTES as usize) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                read => read?,
            };
            if kind == Kind::Forget {
                self.forget(&bytes);
                continue;
            }
            let mut out = Vec::new();
            let answered = match (kind, &mut seat) {
                (Kind::Load, _) => self.load(&bytes, &mut pipe, &mut out),
                (Kind::Table, _) => self.table(&bytes).map_err(Refusal::from),
                (Kind::Start, _) => self.start(&bytes).map(|started| {
                    started.tenant.report(&started.instance, Vec::new()).put(&mut out);
                    seat = Some(started);
                }),
                (_, Some(seat)) => seat.call(kind, bytes, &mut out).map_err(Refusal::from),
                (_, None) => Err(Refusal::from("there is no instance".to_owned())),
            };
            match answered {
                Ok(()) => frame::write(&mut pipe, Kind::Answer, &[&out])?,
                Err(problem) => frame::write(&mut pipe, Kind::Failed, &[&problem.bytes()])?,
            }
        }
    }

    fn tenant(&self, version: u64) -> Result<Arc<Tenant>, String> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.get(&version).cloned().ok_or_else(|| format!("there is no version {version}"))
    }

    /// Sets up a version and tries it.
    fn load(&self, head: &[u8], pipe: &mut impl Read, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let sent = material::receive(head, pipe).map_err(|error| error.to_string())?;
        let component = compile::load(self.host.engine(), &sent.code).map_err(|error| format!("{error:#}"))?;
        let shared = Arc::new(Shared::new(&sent.spec, self.host.metrics()));
        // The collector has looked at the rest before it sent this.
        let source = ComponentSource::File { path: sent.component.into(), sha256: None };
        let papers = Papers { source, digest: [0; 32], trust: Trust::default(), signer: None };
        let loaded = Version::of(&self.host, &shared, papers, &component);
        let (version, instance) = loaded?;
        let manifest = &version.manifest;
        out.put_text(&manifest.name);
        out.put_text(&manifest.version);
        for columns in [manifest.reads, manifest.writes] {
            out.put_u16(columns.iter().count() as u16);
            columns.iter().for_each(|column| out.put_u16(column));
        }
        out.put_u8(u8::from(manifest.stateful));
        out.put_u32(manifest.tick_ms.unwrap_or(0));
        out.put_u8(u8::from(version.exports().0));
        out.put_u8(u8::from(version.exports().1));
        let tenant =
            Tenant { version, first: Mutex::new(Some(instance)), reported: Mutex::default(), tables: Mutex::default() };
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(sent.version, Arc::new(tenant));
        Ok(())
    }

    /// Exchanges a table.
    fn table(&self, bytes: &[u8]) -> Result<(), String> {
        let mut room = usize::MAX;
        let mut from = Take { rest: bytes, room: &mut room };
        let (version, generation, name) = (from.u64()?, from.u64()?, from.text()?);
        let tenant = self.tenant(version)?;
        // Locked to the end: a later one waits, and an earlier one that comes late is not taken up.
        let mut tables = tenant.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.get(name).is_some_and(|newest| *newest >= generation) {
            return Ok(());
        }
        let lent = &tenant.version.shared.services.tables;
        lent.replace(name, from.rest).map_err(|error| sluice_pipeline::chain(&error))?;
        tables.insert(name.to_owned(), generation);
        Ok(())
    }

    fn forget(&self, version: &[u8]) {
        if let Ok(version) = version.try_into() {
            self.versions.lock().unwrap_or_else(PoisonError::into_inner).remove(&u64::from_le_bytes(version));
        }
    }

    fn start(&self, version: &[u8]) -> Result<Seat, Refusal> {
        let version = u64::from_le_bytes(version.try_into().map_err(|_| "a number of another length".to_owned())?);
        let tenant = self.tenant(version)?;
        let first = tenant.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut instance = match first {
            Some(first) => first,
            None => tenant.version.start()?,
        };
        // The rate is the collector's affair: it is that of all instances, and the collector says what is left of it.
        instance.data_mut().keeps_all_alerts = true;
        Ok(Seat { tenant, instance })
    }
}

impl Tenant {
    /// What happened since the last report, of this instance or another.
    fn report(&self, instance: &Instance, alerts: Vec<crate::abi::Alert>) -> Report {
        let shared = &self.version.shared;
        let state = instance.data();
        let mut report = Report {
            memory: state.limiter.used() as u64,
            used: state.used.clone(),
            denied: state.denied.get(),
            alerts,
            ..Report::default()
        };
        if let LogOut::Kept(lines) = &shared.services.log {
            let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
            report.lines_left_out = lines.len().saturating_sub(MAX_LINES) as u64;
            report.lines = lines.into_iter().take(MAX_LINES).map(|line| (line.level, line.text)).collect();
        }
        let mut last = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |now: u64, last: &mut u64| now.saturating_sub(std::mem::replace(last, now));
        report.cpu_ns = since(shared.meters.cpu_ns.get(), &mut last.cpu_ns);
        report.alerts_left_out = since(shared.meters.alerts_suppressed.get(), &mut last.alerts_left_out);
        report.metrics_refused = since(shared.meters.metrics_refused.get(), &mut last.metrics_refused);
        for (key, metric) in shared.own_metrics() {
            let bits = match &metric {
                OwnMetric::Counter(counter) => counter.get(),
                OwnMetric::Gauge(gauge) => gauge.get().to_bits(),
            };
            // A gauge that was never set is 0, whose bits are 0.
            let before = last.own.insert(key.clone(), bits).unwrap_or(0);
            match metric {
                _ if bits == before => {}
                OwnMetric::Counter(_) => report.counted.push((key.0, bits.saturating_sub(before))),
                OwnMetric::Gauge(gauge) => report.gauges.push((key.0, gauge.get())),
            }
        }
        report
    }
}

/// An instance on its connection.
struct Seat {
    tenant: Arc<Tenant>,
    instance: Instance,
}

impl Seat {
    /// Calls the plugin.
    fn call(&mut self, kind: Kind, bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<(), String> {
        let instance = &mut self.instance;
        match kind {
            Kind::Process => {
                let schema = Arc::clone(&self.tenant.version.shared.schema);
                let (batch, deadline_ms, alert_room) = report::read(&bytes, |from| {
                    let (deadline_ms, alert_room) = (from.u64()?, from.u32()? as usize);
                    Ok((batch(from, schema)?, deadline_ms, alert_room))
                })?;
                drop(bytes);
                instance.data_mut().begin(batch);
                instance.data_mut().alert_room = Some(alert_room);
                let outcome = match instance.process(deadline_ms) {
                    Ok(Ok(())) => Outcome::Done,
                    Ok(Err(crate::abi::Failure::RetryLater(text))) => Outcome::RetryLater(text),
                    Ok(Err(crate::abi::Failure::Fatal(text))) => Outcome::Refused(text),
                    Err(trapped) => Outcome::Trapped(trapped),
                };
                let state = instance.data_mut();
                let current = state.current.take().ok_or("the batch is gone")?;
                let alerts = std::mem::take(&mut state.alerts);
                report::put_outcome(&outcome, out);
                self.tenant.report(&self.instance, alerts).put(out);
                if matches!(outcome, Outcome::Done) {
                    report::put_changes(&current, out);
                }
                drop(current.roll_back());
            }
            Kind::Tick => {
                let now_ms = u64::from_le_bytes(bytes.as_slice().try_into().map_err(|_| "a time of another length")?);
                let ended = instance.tick(now_ms);
                let alerts = std::mem::take(&mut instance.data_mut().alerts);
                self.answer(ended, alerts, out);
            }
            Kind::Snapshot => {
                let ended = instance.snapshot();
                if let Some(state) = self.answer(ended, Vec::new(), out).flatten() {
                    out.put_u32(state.len() as u32);
                    out.extend(state);
                }
            }
            Kind::Restore => match instance.restore(&bytes) {
                Ok(Err(message)) => {
                    report::put_outcome(&Outcome::Refused(message), out);
                    self.tenant.report(&self.instance, Vec::new()).put(out);
                }
                Ok(Ok(is_understood)) => {
                    self.answer(Ok(()), Vec::new(), out);
                    out.put_u8(u8::from(is_understood));
                }
                Err(trapped) => drop(self.answer::<()>(Err(trapped), Vec::new(), out)),
            },
            _ => return Err("a request of no kind".to_owned()),
        }
        Ok(())
    }

    /// Begins an answer: how the call ended, and what there is to report.
    fn answer<T>(&self, ended: Result<T, Trapped>, alerts: Vec<crate::abi::Alert>, out: &mut Vec<u8>) -> Option<T> {
        let (outcome, value) = match ended {
            Ok(value) => (Outcome::Done, Some(value)),
            Err(trapped) => (Outcome::Trapped(trapped), None),
        };
        report::put_outcome(&outcome, out);
        self.tenant.report(&self.instance, alerts).put(out);
        value
    }
}

/// The batch that the host sent.
fn batch(from: &mut Take<'_>, schema: Arc<Schema>) -> Result<Batch, String> {
    let (id, now_ms, rows) = (from.u64()?, from.u64()?, from.u32()? as usize);
    let mut batch = Batch::new(schema, Pool::default(), rows);
    batch.stamp(id, now_ms);
    for _ in 0..from.u16()? {
        let number = from.u16()?;
        let column = take_column(from, rows)?;
        batch.set(number, column).map_err(|error| format!("column {number}: {error}"))?;
    }
    Ok(batch)
}
