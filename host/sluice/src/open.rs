//! From what was prepared to what runs: sockets, files, and the wiring.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use sluice_endpoints::kafka::Transactions;
use sluice_endpoints::sinks::{EventsSink, FileFormat, FileSink, KafkaSink, NullSink, StdoutSink};
use sluice_endpoints::sources::{CaptureSource, KafkaSource, Reading, Roster, UdpSockets, UdpSource};
use sluice_flow::ColumnSet;
use sluice_pipeline::{
    Change, EventTarget, Kind, Part, SinkEntry, Source, SourceEntry, StageEntry, StageSet, Stop, event_queue,
};

use crate::build::{Prepared, Way, hides, instances};
use crate::collector::Running;
use crate::config::{Config, Instances, SinkKind, SourceKind};
use crate::differs::Differs;
use crate::failure::Failure;
use crate::transaction::Scope;

/// Alerts that may wait for an `events` sink; more are counted as lost.
const EVENT_QUEUE: usize = 1024;

/// What was opened for a configuration.
pub(crate) struct Opened {
    pub(crate) change: Change,
    /// The sockets of UDP sources, to be given to what may come after them.
    pub(crate) sockets: BTreeMap<String, UdpSockets>,
    /// What tells of the exporters of a source, one a socket.
    pub(crate) rosters: BTreeMap<String, Vec<Arc<Roster>>>,
    /// Queues of the sinks that take alerts.
    pub(crate) listeners: BTreeMap<String, EventTarget>,
    /// Threads of those that are new.
    pub(crate) event_threads: Vec<JoinHandle<()>>,
    /// Columns that the sources decode.
    pub(crate) wanted: ColumnSet,
    pub(crate) reading: Reading,
}

/// Opens what a configuration names and does not run yet.
pub(crate) struct Opening<'a> {
    pub(crate) prepared: &'a Prepared,
    /// What runs, and what of it is another one now.
    pub(crate) running: Option<(&'a Running, &'a Differs)>,
    pub(crate) stop: &'a Stop,
}

impl Opening<'_> {
    /// Opens sockets and files and wires everything. `on_bound` is told where each new UDP source listens.
    ///
    /// # Errors
    /// A port that is taken, a file that cannot be opened.
    pub(crate) fn open(&self, mut on_bound: impl FnMut(&str, SocketAddr)) -> Result<Opened, Failure> {
        let (prepared, config) = (self.prepared, &self.prepared.config);
        let mut wanted = prepared.wanted()?;
        if let Some((running, _)) = self.running {
            // What is decoded already goes on being so: nobody is the worse for it.
            wanted = wanted.union(running.wanted);
        }
        let by_partition = config.stages.iter().any(|stage| stage.value.instances == Some(Instances::PerPartition));
        let mut opened = Opened {
            change: Change::default(),
            sockets: BTreeMap::new(),
            rosters: BTreeMap::new(),
            listeners: BTreeMap::new(),
            event_threads: Vec::new(),
            wanted,
            reading: Reading { keep_unknown: keeps_unknown(config), by_partition },
        };
        let transactions = self.transactions()?;
        for at in 0..config.sources.len() {
            let part = self.source(at, &mut opened, &transactions, &mut on_bound)?;
            if let (Part::Kept(name, _), Some((running, _))) = (&part, self.running) {
                let rosters = running.rosters.get(name).map(|rosters| (name.clone(), rosters.clone()));
                opened.rosters.extend(rosters);
            }
            opened.change.sources.push(part);
        }
        for stage in config.stages.iter().filter(|stage| stage.value.record.is_some()) {
            if hides(&stage.value) {
                tracing::warn!(stage = %stage.name, "recordings of this stage hold what it is there to hide");
            }
        }
        for (at, edges) in prepared.plan.stages.iter().enumerate() {
            let (name, edges) = (&config.stages[at].name, edges.clone());
            opened.change.stages.push(match prepared.ways[at] {
                Way::Kept | Way::Changed(_) => Part::Kept(name.clone(), edges),
                Way::New => {
                    let account = prepared.metrics.account(Kind::Stage, name);
                    Part::New(StageEntry { stages: self.instances(at), account, edges })
                }
            });
        }
        for at in &prepared.plan.row_sinks {
            let name = &config.sinks[*at].name;
            let part = if self.keeps("sinks", name) {
                Part::Kept(name.clone(), Vec::new())
            } else {
                let open = transactions_of(&prepared.scopes, &transactions, |scope| scope.sinks.contains(at));
                Part::New(self.sink(*at, open)?)
            };
            opened.change.sinks.push(part);
        }
        for (at, _) in &prepared.plan.event_sinks {
            self.listener(*at, &mut opened)?;
        }
        Ok(opened)
    }

    /// Whether a source or sink goes on as it is.
    fn keeps(&self, kind: &str, name: &str) -> bool {
        self.running.is_some_and(|(running, differs)| running.has(kind, name) && !differs.endpoint(kind, name))
    }

    fn source(
        &self,
        at: usize,
        opened: &mut Opened,
        transactions: &[Arc<Transactions>],
        on_bound: &mut impl FnMut(&str, SocketAddr),
    ) -> Result<Part<SourceEntry>, Failure> {
        let source = &self.prepared.config.sources[at];
        let (name, metrics) = (&source.name, &self.prepared.metrics);
        let what = || format!("sources.{name}");
        let edges = self.prepared.plan.sources[at].clone();
        let schema = Arc::clone(&self.prepared.config.schema);
        let wanted = opened.wanted;
        let before = self.running.map(|(running, _)| running);
        let reads_alike = before.is_none_or(|running| running.reading == opened.reading);
        let is_kept = self.keeps("sources", name);
        let runners: Vec<Box<dyn Source>> = match &source.value.kind {
            SourceKind::Udp(config) => {
                let own = before.and_then(|running| running.sockets.get(name)).filter(|own| own.are_of(config));
                let sockets = match own {
                    Some(own) => own.again(name, config).map_err(|error| Failure::running(what(), error))?,
                    None => UdpSockets::bind(name, config).map_err(|error| Failure::running(what(), error))?,
                };
                let spare = sockets.again(name, config).map_err(|error| Failure::running(what(), error))?;
                opened.sockets.insert(name.clone(), spare);
                if is_kept {
                    return Ok(Part::Kept(name.clone(), edges));
                }
                if own.is_none() {
                    on_bound(name, sockets.local_addr());
                }
                let sources = sockets.sources(&schema, wanted, metrics);
                opened.rosters.insert(name.clone(), sources.iter().map(UdpSource::roster).collect());
                boxed(sources)
            }
            SourceKind::Capture(_) if is_kept => return Ok(Part::Kept(name.clone(), edges)),
            SourceKind::Capture(config) => {
                let source = CaptureSource::open(name, config, &schema, wanted, metrics)
                    .map_err(|error| Failure::running(what(), error))?;
                opened.rosters.insert(name.clone(), vec![source.roster()]);
                vec![Box::new(source)]
            }
            SourceKind::Kafka(_) if is_kept && reads_alike => return Ok(Part::Kept(name.clone(), edges)),
            SourceKind::Kafka(config) => {
                let open = transactions_of(&self.prepared.scopes, transactions, |scope| scope.source == at);
                let sources = KafkaSource::open(name, config, (&schema, wanted), opened.reading, open, metrics);
                boxed(sources.map_err(|error| Failure::running(what(), error))?)
            }
        };
        let account = metrics.account(Kind::Source, name);
        Ok(Part::New(SourceEntry { runners, account, queue: source.value.queue, edges }))
    }

    fn instances(&self, at: usize) -> StageSet {
        let (config, loaded) = (&self.prepared.config, &self.prepared.stages[at]);
        match instances(&config.stages[at], loaded) {
            Instances::One => StageSet::one(loaded.instance()),
            Instances::PerPartition => StageSet::one(loaded.instance_per_partition()),
            Instances::PerWorker => StageSet::each((0..config.workers).map(|_| loaded.instance()).collect()),
        }
    }

    /// The queue of a sink that takes alerts, with the thread of a new one.
    fn listener(&self, at: usize, opened: &mut Opened) -> Result<(), Failure> {
        let sink = &self.prepared.config.sinks[at];
        let SinkKind::Events(config) = &sink.value.kind else { return Ok(()) };
        let known = self.running.and_then(|(running, _)| running.listeners.get(&sink.name));
        if let Some(known) = known.filter(|_| self.keeps("sinks", &sink.name)) {
            opened.listeners.insert(sink.name.clone(), known.clone());
            return Ok(());
        }
        let metrics = &self.prepared.metrics;
        let labels = vec![("sink", sink.name.clone())];
        let lost = metrics.counter("sluice_sink_events_lost", "Alerts that found the queue full.", labels);
        let (target, queue) = event_queue(EVENT_QUEUE, lost);
        let started = EventsSink::open(&sink.name, config, metrics).and_then(|opened| opened.start(queue));
        let started = started.map_err(|error| Failure::running(format!("sinks.{}", sink.name), error))?;
        opened.event_threads.push(started);
        opened.listeners.insert(sink.name.clone(), target);
        Ok(())
    }

    /// A transactional producer for each scope. While the collector runs they stay as they are.
    fn transactions(&self) -> Result<Vec<Arc<Transactions>>, Failure> {
        if self.running.is_some() {
            return Ok(Vec::new());
        }
        let config = &self.prepared.config;
        let open = |scope: &Scope| {
            let source = &config.sources[scope.source];
            let sink = scope.sinks.first().map(|sink| &config.sinks[*sink]);
            let (SourceKind::Kafka(from), Some(sink)) = (&source.value.kind, sink) else {
                unreachable!("a scope is of a Kafka source and has sinks")
            };
            let SinkKind::Kafka(to) = &sink.value.kind else { unreachable!("a scope has Kafka sinks only") };
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let id = from.transactional_id.clone().unwrap_or_else(|| format!("{}-{}-{host}", from.group, source.name));
            KafkaSink::transactions(&sink.name, to, &id, &self.prepared.metrics)
                .map_err(|error| Failure::running(format!("sources.{}", source.name), error))
        };
        self.prepared.scopes.iter().map(open).collect()
    }

    fn sink(&self, at: usize, transactions: Option<&Arc<Transactions>>) -> Result<SinkEntry, Failure> {
        let (config, metrics) = (&self.prepared.config, &self.prepared.metrics);
        let sink = &config.sinks[at];
        let (name, schema, queue) = (&sink.name, &config.schema, sink.value.queue);
        let account = metrics.account(Kind::Sink, name);
        let what = || format!("sinks.{name}");
        Ok(match &sink.value.kind {
            SinkKind::Stdout(config) => {
                let opened = StdoutSink::new(name, config, schema, self.stop.clone());
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::File(config) => {
                let opened = FileSink::open(name, config, schema);
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::Kafka(config) => {
                let opened = match transactions {
                    Some(transactions) => KafkaSink::open_in(name, config, schema, transactions),
                    None => KafkaSink::open(name, config, schema, metrics),
                };
                SinkEntry::new(opened.map_err(|error| Failure::running(what(), error))?, account, queue)
            }
            SinkKind::Null(_) => SinkEntry::new(NullSink, account, queue),
            SinkKind::Events(_) => unreachable!("the plan keeps sinks of alerts apart"),
        })
    }
}

fn boxed<S: Source>(sources: Vec<S>) -> Vec<Box<dyn Source>> {
    sources.into_iter().map(|source| Box::new(source) as Box<dyn Source>).collect()
}

fn transactions_of<'t>(
    scopes: &[Scope],
    open: &'t [Arc<Transactions>],
    is_it: impl Fn(&Scope) -> bool,
) -> Option<&'t Arc<Transactions>> {
    scopes.iter().zip(open).find(|(scope, _)| is_it(scope)).map(|(_, open)| open)
}

/// Whether some sink can write fields that sluice does not know.
fn keeps_unknown(config: &Config) -> bool {
    config.sinks.iter().any(|sink| match &sink.value.kind {
        SinkKind::Kafka(config) => config.keeps_unknown(),
        SinkKind::File(config) => config.format == FileFormat::Protobuf,
        SinkKind::Stdout(_) | SinkKind::Null(_) | SinkKind::Events(_) => false,
    })
}
