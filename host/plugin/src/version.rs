//! One version of a stage's plugin: its code, its configuration and what it may do, tried once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_flow::{ADDRESSES, ColumnId, ColumnSet, Schema};
use wasmtime::component::{Component, InstancePre};

use crate::abi;
use crate::admit::{self, Exports};
use crate::engine::Host;
use crate::error::LoadErrorKind;
use crate::instance::{Instance, Local, NoInstance, TrapKind, Trapped};
use crate::load::Manifest;
use crate::memory::KEPT;
use crate::outside::RemoteVersion;
use crate::shared::Shared;
use crate::signature::Signer;
use crate::spec::{ComponentSource, Grant};
use crate::state::State;
use crate::trust::{Presented, Trust};

/// Bytes that a plugin's name and version may have: both are label values.
const MAX_NAME_BYTES: usize = 64;

/// What a version of a plugin can get at, whatever it does: for who has to know what can get where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether it is a part of the program, which no other version takes the place of.
    pub is_built_in: bool,
    /// Whether its stage is private.
    pub is_private: bool,
    /// Columns that it says it reads.
    pub says_reads: ColumnSet,
    /// Columns that it says it writes.
    pub says_writes: ColumnSet,
    /// Columns that the next version in its file may read.
    pub reads: ColumnSet,
    /// Columns that the next version in its file may write.
    pub writes: ColumnSet,
    /// Halves of the addresses that it hides: those of a private stage that it says it writes, both halves. The next version
    /// in its file says so too or does not take over, and a batch in which a call left one of them as it came is
    /// a failed batch.
    pub hides: ColumnSet,
    /// Whether it may raise alerts.
    pub alerts: bool,
}

/// One version of a stage's plugin. Another configuration or grant of the same component is another version.
pub(crate) struct Version {
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: ComponentSource,
    pub(crate) digest: [u8; 32],
    /// What has to stand beside the component, of this version and of the next one in its file.
    pub(crate) trust: Trust,
    /// Whose signature it has.
    pub(crate) signer: Option<Signer>,
    pub(crate) manifest: Manifest,
    /// What a private stage is there to hide: see [`Access`].
    pub(crate) hides: ColumnSet,
    /// Columns that it may read, and write: the grant, or for [`Grant::Requested`] what it asked for.
    pub(crate) ceiling: (ColumnSet, ColumnSet),
    code: Code,
    /// Instances that were started before anybody needed them.
    spares: Mutex<Vec<Instance>>,
}

/// Where a component comes from, and who vouches for it.
pub(crate) struct Papers {
    pub(crate) source: ComponentSource,
    pub(crate) digest: [u8; 32],
    pub(crate) trust: Trust,
    pub(crate) signer: Option<Signer>,
}

/// Where the code of a version is.
#[derive(Clone)]
enum Code {
    Here { host: Arc<Host>, pre: InstancePre<State>, exports: Exports },
    Outside(Arc<RemoteVersion>),
}

impl Version {
    /// Looks whether the component may run, compiles it, starts one instance and asks it for its manifest.
    pub(crate) fn prepare(
        host: &Arc<Host>,
        shared: &Arc<Shared>,
        trust: &Trust,
        presented: &Presented<'_>,
    ) -> Result<(Version, Instance), LoadErrorKind> {
        let signer = trust.judge(&shared.name, presented)?;
        let (source, digest) = (presented.source, presented.digest);
        let name = source.describe();
        let component = admit::component(&name, presented.bytes)?;
        let papers = Papers { source: source.clone(), digest, trust: trust.clone(), signer };
        if let Some(isolation) = &shared.isolation {
            let group = host.group(&isolation.group)?;
            let code = host.code(&name, &component)?;
            let (remote, manifest) = RemoteVersion::load(&group, shared, name, code)?;
            let manifest = checked(&shared.schema, manifest)?;
            let version = Version::checked(shared, papers, manifest, Code::Outside(remote))?;
            let instance = version.start()?;
            return Ok((version, instance));
        }
        let component = host.compile(&name, &component)?;
        Version::of(host, shared, papers, &component)
    }

    /// Links a component, starts one instance and asks it for its manifest.
    pub(crate) fn of(
        host: &Arc<Host>,
        shared: &Arc<Shared>,
        papers: Papers,
        component: &Component,
    ) -> Result<(Version, Instance), LoadErrorKind> {
        let exports = admit::exports(host, &papers.source.describe(), component)?;
        let linker = admit::link(host, component, shared.grant.linkable())?;
        let misfit = |error: wasmtime::Error| LoadErrorKind::Link { error: format!("{error:#}") };
        let pre = linker.instantiate_pre(component).map_err(misfit)?;
        let (instance, manifest) = start(host, shared, &pre, &exports, true)?;
        let code = Code::Here { host: Arc::clone(host), pre, exports };
        let version = Version::checked(shared, papers, manifest, code)?;
        let instance = version.granted(instance);
        Ok((version, instance))
    }

    /// A version whose manifest is within its grant.
    fn checked(shared: &Arc<Shared>, papers: Papers, manifest: Manifest, code: Code) -> Result<Version, LoadErrorKind> {
        let ceiling = match &shared.grant {
            Grant::Listed(granted) => (granted.read, granted.write),
            Grant::Requested => (manifest.reads, manifest.writes),
        };
        check_grant(&shared.schema, &manifest, ceiling)?;
        let hides = if shared.is_private { whole_addresses(manifest.writes) } else { ColumnSet::EMPTY };
        let (shared, Papers { source, digest, trust, signer }) = (Arc::clone(shared), papers);
        let spares = Mutex::default();
        Ok(Version { shared, source, digest, trust, signer, manifest, hides, ceiling, code, spares })
    }

    /// The same code, tried already, in another surrounding with the same configuration and grant.
    pub(crate) fn with(&self, shared: Arc<Shared>, source: ComponentSource) -> Version {
        Version {
            shared,
            source,
            digest: self.digest,
            trust: self.trust.clone(),
            signer: self.signer.clone(),
            manifest: self.manifest.clone(),
            hides: self.hides,
            ceiling: self.ceiling,
            code: self.code.clone(),
            spares: Mutex::default(),
        }
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            is_built_in: matches!(self.source, ComponentSource::Embedded { .. }),
            is_private: self.shared.is_private,
            says_reads: self.manifest.reads,
            says_writes: self.manifest.writes,
            reads: self.ceiling.0,
            writes: self.ceiling.1,
            hides: self.hides,
            alerts: self.shared.grant.linkable().events,
        }
    }

    /// Whose signature it has, as a label: `built-in` ones need none, `unsigned` ones have none.
    pub(crate) fn signed_by(&self) -> String {
        match (&self.signer, &self.source) {
            (Some(signer), _) => signer.to_string(),
            (None, ComponentSource::Embedded { .. }) => "built-in".to_owned(),
            (None, ComponentSource::File { .. }) => "unsigned".to_owned(),
        }
    }

    /// Starts an instance; its manifest is within the grant or it is refused, for a plugin may answer differently each
    /// time.
    pub(crate) fn start(&self) -> Result<Instance, LoadErrorKind> {
        match &self.code {
            Code::Here { host, pre, exports } => {
                let (instance, manifest) = start(host, &self.shared, pre, exports, false)?;
                check_grant(&self.shared.schema, &manifest, self.ceiling)?;
                Ok(self.granted(instance))
            }
            // What it says it wants is its own affair: what it writes is held to the grant.
            Code::Outside(remote) => Ok(self.granted(Instance::Outside(Box::new(remote.start(&self.shared)?)))),
        }
    }

    /// Starts instances until there are `count` that nobody has taken: whoever exchanges one then need not wait for `init`, nor
    /// for pages where it is given a state.
    ///
    /// # Errors
    /// As [`start`](Self::start), with the first that could not be started.
    pub(crate) fn start_spares(&self, count: usize) -> Result<(), LoadErrorKind> {
        let there = self.spares().len();
        for spare in there..count {
            // What instances of the stage took up before, the new one will too. Not for many: few of them are so large.
            if let Code::Here { host, .. } = &self.code
                && self.exports().1
                && spare < KEPT
            {
                host.memories().make_ready(self.shared.memory.largest().min(self.shared.limits.memory));
            }
            let instance = self.start()?;
            self.spares().push(instance);
        }
        Ok(())
    }

    /// An instance that was started before, or a new one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn take(&self) -> Result<Instance, LoadErrorKind> {
        let spare = self.spares().pop();
        spare.map_or_else(|| self.start(), Ok)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the instance have its columns, and no others as they came.
    fn granted(&self, mut instance: Instance) -> Instance {
        let state = instance.data_mut();
        (state.read, state.write) = self.ceiling;
        state.hides = self.hides;
        instance
    }

    /// Whether the plugin exports `timer` and whether it exports `state`.
    pub(crate) fn exports(&self) -> (bool, bool) {
        match &self.code {
            Code::Here { exports, .. } => {
                (exports.tick.is_some(), exports.snapshot.is_some() && exports.restore.is_some())
            }
            Code::Outside(remote) => remote.exports(),
        }
    }

    /// `stateful` if the plugin exports `timer` or `state`, else `plugin`.
    pub(crate) fn world(&self) -> &'static str {
        if self.exports() == (false, false) { "plugin" } else { "stateful" }
    }
}

/// Instantiates and calls `init`, the first of the version or a later one.
fn start(
    host: &Host,
    shared: &Arc<Shared>,
    pre: &InstancePre<State>,
    exports: &Exports,
    is_first: bool,
) -> Result<(Instance, Manifest), LoadErrorKind> {
    let mut instance = Local::new(host.engine(), pre, exports, shared).map_err(|error| match error {
        NoInstance::Misfit(error) => LoadErrorKind::Link { error },
        NoInstance::Trapped(trapped) => LoadErrorKind::Start { error: trapped.text, backtrace: trapped.backtrace },
    })?;
    let manifest = match instance.init(is_first) {
        Ok(Ok(manifest)) => checked(&shared.schema, manifest)?,
        Ok(Err(message)) => return Err(LoadErrorKind::Config { message }),
        Err(trapped) => return Err(init_trapped(shared, trapped)),
    };
    Ok((Instance::Here(Box::new(instance)), manifest))
}

/// How `init` trapped, and for a limit which one.
fn init_trapped(shared: &Shared, trapped: Trapped) -> LoadErrorKind {
    let limits = &shared.limits;
    let error = match trapped.kind {
        TrapKind::Deadline => format!("init did not return within {} ms", limits.init_deadline_ms),
        TrapKind::Memory => format!("init wanted more than {} bytes of memory", limits.memory),
        TrapKind::Trap | TrapKind::Process => format!("init: {}", trapped.text),
    };
    LoadErrorKind::Start { error, backtrace: trapped.backtrace }
}

fn checked(schema: &Schema, manifest: abi::Manifest) -> Result<Manifest, LoadErrorKind> {
    let bad = |problem: String| Err(LoadErrorKind::Manifest { problem });
    for (what, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        let is_good = (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if !is_good {
            return bad(format!("has a {what} that is not 1 to {MAX_NAME_BYTES} visible ASCII characters"));
        }
    }
    if let Some(unknown) = manifest.reads.iter().chain(&manifest.writes).find(|column| schema.width(**column).is_none())
    {
        return bad(format!("names column {unknown}, which does not exist"));
    }
    Ok(Manifest {
        name: manifest.name,
        version: manifest.version,
        reads: manifest.reads.into_iter().collect(),
        writes: manifest.writes.into_iter().collect(),
        stateful: manifest.stateful,
        tick_ms: manifest.tick_ms.filter(|tick_ms| *tick_ms > 0),
    })
}

fn check_grant(schema: &Schema, manifest: &Manifest, granted: (ColumnSet, ColumnSet)) -> Result<(), LoadErrorKind> {
    for (access, asked, granted) in [("read", manifest.reads, granted.0), ("write", manifest.writes, granted.1)] {
        let missing = asked.minus(granted);
        if !missing.is_empty() {
            let names = grant_names(schema, missing);
            let (word, them) = if names.len() == 1 { ("column", "it") } else { ("columns", "them") };
            return Err(LoadErrorKind::NotGranted { access, columns: format!("{word} {}", names.join(", ")), them });
        }
    }
    Ok(())
}

/// The halves of the addresses of which both are in `columns`.
fn whole_addresses(columns: ColumnSet) -> ColumnSet {
    let whole = ADDRESSES.iter().filter(|address| columns.contains(address.hi) && columns.contains(address.lo));
    whole.flat_map(|address| [address.hi, address.lo]).collect()
}

/// What columns are called in a grant: the halves of an address are granted by its name.
#[must_use]
pub fn grant_names(schema: &Schema, columns: ColumnSet) -> Vec<String> {
    let name = |column: ColumnId| {
        let address = ADDRESSES.iter().find(|address| address.hi == column || address.lo == column);
        address.map_or_else(|| schema.name(column).unwrap_or("?").to_owned(), |address| address.name.to_owned())
    };
    let mut names: Vec<String> = columns.iter().map(name).collect();
    names.dedup();
    names
}
