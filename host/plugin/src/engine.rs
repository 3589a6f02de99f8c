//! The WebAssembly engine: one per process, with the thread that its deadlines run on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sluice_pipeline::Metrics;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, MemoryCreator, Strategy};

use crate::cache::Cache;
use crate::error::{LoadErrorKind, PluginError};
use crate::memory::Memories;
use crate::outside::{self, Group, Outside};

/// Milliseconds between two ticks of the clock that deadlines are counted in. Each wakes a thread, in an idle collector too.
const TICK_MS: u64 = 10;

/// A deadline in ticks of the clock: at least so long, since the running tick is partly gone.
pub(crate) fn ticks(deadline_ms: u64) -> u64 {
    deadline_ms.div_ceil(TICK_MS).saturating_add(1)
}

/// Ticks until a call that has so much CPU time left is looked at again: then it is looked again, so the running tick may count.
pub(crate) fn ticks_left(cpu_ns: u64) -> u64 {
    cpu_ns.div_ceil(TICK_MS * 1_000_000).max(1)
}

/// Stack of a plugin.
const STACK_BYTES: usize = 512 << 10;

/// How the host is set up.
#[derive(Clone, Debug, Default)]
pub struct HostSettings {
    /// Directory for compiled code. Made with mode 0700; refused if somebody else could write there.
    /// None: every start compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Count the work of plugins in fuel, which is the same on every machine: for tests, benchmarks and
    /// replay. Costs a third of the speed, so the collector does not.
    pub fuel: bool,
    /// Where components are compiled that are not in the cache: in processes of their own. None: in this one, where one
    /// that explodes the compiler explodes the program.
    pub outside: Option<Outside>,
}

/// What all plugins of a process share: engine, compiled-code cache and metrics.
pub struct Host {
    engine: Engine,
    cache: Option<Cache>,
    fuel: bool,
    outside: Option<Outside>,
    /// Those that have a process, or may start one.
    groups: Mutex<HashMap<String, Weak<Group>>>,
    metrics: Arc<Metrics>,
    memories: Arc<Memories>,
    /// What was compiled last: a run of tests loads the same component for every case.
    last: Option<Mutex<Option<Compiled>>>,
}

/// A component with the SHA-256 of its bytes.
type Compiled = ([u8; 32], Component);

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Host {
    /// Sets up the engine and starts the thread that ends calls past their deadline; that thread ends
    /// when the last plugin and the host are gone.
    ///
    /// # Errors
    /// If the engine does not work here, or the cache directory is not safe to use.
    pub fn new(settings: HostSettings, metrics: Arc<Metrics>) -> Result<Arc<Host>, PluginError> {
        let memories = Arc::default();
        let engine =
            Engine::new(&config(settings.fuel, &memories)).map_err(|error| PluginError::Engine(error.into()))?;
        let cache = settings.cache_dir.clone().map(|path| Cache::open(path, &engine)).transpose()?;
        let weak = engine.weak();
        let clock = move || {
            // An engine that is gone has no calls to end.
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(Duration::from_millis(TICK_MS));
            }
        };
        std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(clock).map_err(PluginError::Thread)?;
        // A collector would hold on to a component that it exchanged long ago.
        let last = settings.fuel.then(Mutex::default);
        let HostSettings { fuel, outside, .. } = settings;
        Ok(Arc::new(Host { engine, cache, fuel, outside, groups: Mutex::default(), metrics, memories, last }))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn memories(&self) -> &Memories {
        &self.memories
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Compiles a component, or takes it from the cache.
    pub(crate) fn compile(&self, name: &str, bytes: &[u8]) -> Result<Component, LoadErrorKind> {
        // Of the component itself: a core module gives another one with another version of the packing.
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        // Locked while it compiles: whoever wants the same one waits for it.
        let mut last = self.last.as_ref().map(|last| last.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some((known, component)) = last.as_ref().and_then(|last| last.as_ref())
            && *known == digest
        {
            return Ok(component.clone());
        }
        let component = self.compile_anew(name, bytes, &digest)?;
        if let Some(last) = &mut last {
            **last = Some((digest, component.clone()));
        }
        Ok(component)
    }

    fn compile_anew(&self, name: &str, bytes: &[u8], digest: &[u8; 32]) -> Result<Component, LoadErrorKind> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok(component);
        }
        let failed = |error| failed(name, &error);
        if let Some(outside) = &self.outside {
            let code = outside::compile(outside, self.fuel, name, bytes)?;
            self.store(digest, &code);
            return outside::load(&self.engine, &code).map_err(failed);
        }
        let component = Component::from_binary(&self.engine, bytes).map_err(failed)?;
        if self.cache.is_some() {
            self.store(digest, &component.serialize().map_err(failed)?);
        }
        Ok(component)
    }

    fn store(&self, digest: &[u8; 32], code: &[u8]) {
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(digest, code)
        {
            // Costs time at the next start, nothing else.
            tracing::warn!(cache = %cache.path().display(), %error, "compiled code not stored");
        }
    }

    /// The code of a component, for another process: compiled or from the cache, and not loaded here.
    pub(crate) fn code(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, LoadErrorKind> {
        let outside = self.outside.as_ref().ok_or(LoadErrorKind::NoProcesses)?;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.read(&digest)) {
            return Ok(code);
        }
        let code = outside::compile(outside, self.fuel, name, bytes)?;
        self.store(&digest, &code);
        Ok(code)
    }

    /// The stages that share a process under this name.
    pub(crate) fn group(&self, name: &str) -> Result<Arc<Group>, LoadErrorKind> {
        let outside = self.outside.as_ref().ok_or(LoadErrorKind::NoProcesses)?;
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(name).and_then(Weak::upgrade) {
            return Ok(group);
        }
        let group = Arc::new(Group::new(name, outside.clone(), self.fuel));
        groups.insert(name.to_owned(), Arc::downgrade(&group));
        Ok(group)
    }
}

fn failed(name: &str, error: &wasmtime::Error) -> LoadErrorKind {
    LoadErrorKind::Compile { component: name.to_owned(), error: format!("{error:#}") }
}

/// What is switched off is attack surface or a source of different results; `reference` numbers in
/// `docs/explanation` say what each costs.
pub(crate) fn config(fuel: bool, memories: &Arc<Memories>) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        // A synchronous call costs 150 ns instead of 800, and the asynchronous ABI is not compiled in.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .max_wasm_stack(STACK_BYTES)
        // Of instances whose memory is not the engine's the first contents are copied.
        .with_host_memory(Arc::clone(memories) as Arc<dyn MemoryCreator>)
        .memory_init_cow(false)
        // The same input gives the same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_tail_call(true);
    config
}
