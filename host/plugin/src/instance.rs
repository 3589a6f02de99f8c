//! One instance of a plugin in its own store, and calls into it.

use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::component::{InstancePre, TypedFunc};
use wasmtime::{Engine, FrameInfo, FrameSymbol, Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::abi::{Failure, Manifest};
use crate::admit::Exports;
use crate::engine::{ticks, ticks_left};
use crate::hand_over::{self, Bytes, Handed};
use crate::outside::Remote;
use crate::shared::Shared;
use crate::state::State;

/// How a call ended its instance.
#[derive(Debug)]
pub(crate) struct Trapped {
    pub(crate) kind: TrapKind,
    /// What the engine says, on one line.
    pub(crate) text: String,
    /// Where it was, innermost first, as far as the component has names.
    pub(crate) backtrace: Vec<String>,
}

/// Why a call ended its instance; also the reason under which its rows are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrapKind {
    /// The code trapped, or broke a rule of the boundary.
    Trap,
    /// The call used more CPU time than its deadline allows.
    Deadline,
    /// The code wanted more memory than it may have.
    Memory,
    /// The process that it ran in died, did not answer, or broke a rule.
    Process,
}

impl TrapKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TrapKind::Trap => "trap",
            TrapKind::Deadline => "deadline",
            TrapKind::Memory => "memory",
            TrapKind::Process => "process",
        }
    }
}

/// `state.restore`: whether the state was understood.
type Restore<'a> = TypedFunc<(Bytes<'a>,), (Result<bool, String>,)>;

/// What came of a state that one instance was to hand over to another.
pub(crate) struct Given {
    /// The other one.
    pub(crate) heir: Instance,
    /// What it said; none if it was given nothing.
    pub(crate) answer: Option<Result<Result<bool, String>, Trapped>>,
    /// How the first one is: it may have trapped before it gave anything, or after.
    pub(crate) giver: Result<(), Trapped>,
}

/// A running instance, here or in another process.
pub(crate) enum Instance {
    Here(Box<Local>),
    Outside(Box<Remote>),
}

impl Instance {
    /// What it may see and has written.
    pub(crate) fn data(&self) -> &State {
        match self {
            Instance::Here(local) => local.store.data(),
            Instance::Outside(remote) => &remote.state,
        }
    }

    pub(crate) fn data_mut(&mut self) -> &mut State {
        match self {
            Instance::Here(local) => local.store.data_mut(),
            Instance::Outside(remote) => &mut remote.state,
        }
    }

    /// `stage.process`, on the batch that the state was given.
    pub(crate) fn process(&mut self, deadline_ms: u64) -> Result<Result<(), Failure>, Trapped> {
        match self {
            Instance::Here(local) => local.process(deadline_ms),
            Instance::Outside(remote) => remote.process(deadline_ms),
        }
    }

    /// `timer.tick`, if there is one.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<(), Trapped> {
        match self {
            Instance::Here(local) => local.tick(now_ms),
            Instance::Outside(remote) => remote.tick(now_ms),
        }
    }

    /// Calls of `process` so far.
    pub(crate) fn calls(&self) -> u32 {
        match self {
            Instance::Here(local) => local.batches,
            Instance::Outside(remote) => remote.batches,
        }
    }

    /// Bytes of linear memory.
    pub(crate) fn memory(&self) -> usize {
        self.data().limiter.used()
    }

    /// Whether a call used the last of the budget since this was last set to false.
    pub(crate) fn broke_budget(&mut self) -> &mut bool {
        match self {
            Instance::Here(local) => &mut local.broke_budget,
            Instance::Outside(remote) => &mut remote.broke_budget,
        }
    }

    /// Whether there is a `timer.tick`.
    pub(crate) fn ticks(&self) -> bool {
        match self {
            Instance::Here(local) => local.ticks(),
            Instance::Outside(remote) => remote.ticks(),
        }
    }

    /// Whether the state can be taken out and put in again.
    pub(crate) fn keeps_state(&self) -> bool {
        match self {
            Instance::Here(local) => local.keeps_state(),
            Instance::Outside(remote) => remote.keeps_state(),
        }
    }

    /// `state.snapshot`, if there is one.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Trapped> {
        match self {
            Instance::Here(local) => local.snapshot(),
            Instance::Outside(remote) => remote.snapshot(),
        }
    }

    /// `state.restore`, if there is one: whether the state was understood.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<Result<bool, String>, Trapped> {
        match self {
            Instance::Here(local) => local.restore(state),
            Instance::Outside(remote) => remote.restore(state),
        }
    }

    /// `state.snapshot` straight into `state.restore` of `heir`, without a copy of the state here.
    ///
    /// # Errors
    /// The heir as it was, if it has to have a copy: one of both is in another process, or keeps no state.
    pub(crate) fn hand_over(&mut self, heir: Instance) -> Result<Given, Instance> {
        match (self, heir) {
            (Instance::Here(local), Instance::Here(heir)) if local.keeps_state() && heir.keeps_state() => {
                Ok(local.hand_over(heir))
            }
            (_, heir) => Err(heir),
        }
    }

    /// Fuel used since the last time this was asked; none if the engine does not count, or is elsewhere.
    pub(crate) fn take_fuel(&mut self) -> Option<u64> {
        match self {
            Instance::Here(local) => local.take_fuel(),
            Instance::Outside(_) => None,
        }
    }
}

/// An instance in this process. Dropped with its store after a trap: what a trap leaves behind cannot be trusted.
pub(crate) struct Local {
    store: Store<State>,
    init: TypedFunc<(Arc<str>,), (Result<Manifest, String>,)>,
    process: TypedFunc<(), (Result<(), Failure>,)>,
    tick: Option<TypedFunc<(u64,), ()>>,
    snapshot: Option<TypedFunc<(), (Vec<u8>,)>>,
    restore: Option<Restore<'static>>,
    /// Calls of `process` so far.
    batches: u32,
    /// Whether a call used the last of the budget.
    broke_budget: bool,
}

/// Reading a thread's CPU clock is a system call and costs as much as passing a column. The deadline asks for one reading; for
/// the accounting, which asks for another, of the calls after the first so many one in as many is measured and counts for all.
const MEASURED_CALLS: u32 = 8;

/// More than any call can use before its deadline.
const FUEL: u64 = u64::MAX;

/// Why there is no instance.
#[derive(Debug)]
pub(crate) enum NoInstance {
    /// A function has another type than in `wit/`.
    Misfit(String),
    /// It trapped while starting.
    Trapped(Trapped),
}

impl Local {
    /// Instantiates the component. `init` is not called.
    pub(crate) fn new(
        engine: &Engine,
        pre: &InstancePre<State>,
        exports: &Exports,
        shared: &Arc<Shared>,
    ) -> Result<Local, NoInstance> {
        let limits = &shared.limits;
        let mut store = Store::new(engine, State::new(Arc::clone(shared)));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_max_component_handles(limits.handles);
        store.epoch_deadline_callback(|cx| Ok(at_deadline(cx.data())));
        let began = begin(&mut store, limits.init_deadline_ms);
        // Refused by an engine that does not count fuel. One that does counts down from here.
        store.set_fuel(FUEL).unwrap_or_default();
        let instance = pre.instantiate(&mut store);
        // What a start function does is done for the plugin, too.
        let broke_budget = pay(shared, cpu_ns().saturating_sub(began), 1);
        let instance = match instance {
            Ok(instance) => instance,
            Err(error) => return Err(NoInstance::Trapped(trapped(&store, &error))),
        };
        let misfit = |error: wasmtime::Error| NoInstance::Misfit(one_line(&error));
        Ok(Local {
            init: instance.get_typed_func(&mut store, exports.init).map_err(misfit)?,
            process: instance.get_typed_func(&mut store, exports.process).map_err(misfit)?,
            tick: exports
                .tick
                .as_ref()
                .map(|at| instance.get_typed_func(&mut store, at))
                .transpose()
                .map_err(misfit)?,
            snapshot: exports
                .snapshot
                .as_ref()
                .map(|at| instance.get_typed_func(&mut store, at))
                .transpose()
                .map_err(misfit)?,
            restore: exports
                .restore
                .as_ref()
                .map(|at| instance.get_typed_func(&mut store, at))
                .transpose()
                .map_err(misfit)?,
            batches: 0,
            broke_budget,
            store,
        })
    }

    /// Calls a function under a deadline. Its CPU time counts `weight` times; 0: it is not accounted for.
    fn call<T>(
        &mut self,
        deadline_ms: u64,
        weight: u32,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> Result<T, Trapped> {
        let began = begin(&mut self.store, deadline_ms);
        // A budget is paid for exactly.
        let weight = if self.store.data().shared.budget.is_some() { 1 } else { weight };
        let answer = call(self);
        self.end_call();
        if weight > 0 {
            self.account(cpu_ns().saturating_sub(began), weight);
        }
        answer.map_err(|error| trapped(&self.store, &error))
    }

    /// Counts, and pays for, CPU time that a call has used.
    fn account(&mut self, cpu_ns: u64, weight: u32) {
        self.broke_budget |= pay(&self.store.data().shared, cpu_ns, weight);
    }

    fn end_call(&mut self) {
        let shared = &self.store.data().shared;
        shared.meters.memory.set(shared.memory.get() as f64);
        self.store.data_mut().end_call();
    }

    /// `stage.init`, the first of the version or a later one.
    pub(crate) fn init(&mut self, is_first: bool) -> Result<Result<Manifest, String>, Trapped> {
        let shared = Arc::clone(&self.store.data().shared);
        let state = self.store.data_mut();
        state.is_first = is_first;
        state.begin_call();
        let answer = self.call(shared.limits.init_deadline_ms, 1, |this| {
            let config: Arc<str> = Arc::from(shared.config_json.as_str());
            Ok(this.init.call(&mut this.store, (config,))?.0)
        })?;
        let state = self.store.data_mut();
        state.is_first = false;
        let misfit = state.misfit.take();
        if answer.is_ok() {
            state.join_tables();
        }
        // The plugin knows what in its configuration is wrong, and not what the table is instead.
        Ok(answer.map_err(|message| match misfit {
            Some(misfit) => format!("{message}: {misfit}"),
            None => message,
        }))
    }

    /// `stage.process`, on the batch that the state was given.
    pub(crate) fn process(&mut self, deadline_ms: u64) -> Result<Result<(), Failure>, Trapped> {
        self.store.data().shared.meters.calls.inc();
        let weight = match self.batches {
            0..MEASURED_CALLS => 1,
            calls if calls.is_multiple_of(MEASURED_CALLS) => MEASURED_CALLS,
            _ => 0,
        };
        self.batches = self.batches.saturating_add(1);
        self.call(deadline_ms, weight, |this| Ok(this.process.call(&mut this.store, ())?.0))
    }

    /// `timer.tick`, if there is one.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<(), Trapped> {
        let Some(tick) = self.tick else { return Ok(()) };
        let state = self.store.data_mut();
        state.now_ms = now_ms;
        state.begin_call();
        state.shared.meters.calls.inc();
        let deadline_ms = state.shared.limits.deadline_ms;
        self.call(deadline_ms, 1, |this| tick.call(&mut this.store, (now_ms,)))
    }

    /// Fuel used since the last time this was asked; none if the engine does not count.
    pub(crate) fn take_fuel(&mut self) -> Option<u64> {
        let left = self.store.get_fuel().ok()?;
        self.store.set_fuel(FUEL).ok()?;
        Some(FUEL - left)
    }

    /// Whether there is a `timer.tick`.
    pub(crate) fn ticks(&self) -> bool {
        self.tick.is_some()
    }

    /// Whether the state can be taken out and put in again.
    pub(crate) fn keeps_state(&self) -> bool {
        self.snapshot.is_some() && self.restore.is_some()
    }

    /// `state.snapshot`, if there is one.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Vec<u8>>, Trapped> {
        let Some(snapshot) = self.snapshot else { return Ok(None) };
        let deadline_ms = self.begin_snapshot();
        let bytes = self.call(deadline_ms, 1, |this| Ok(snapshot.call(&mut this.store, ())?.0))?;
        self.end_snapshot();
        Ok(Some(bytes))
    }

    /// Begins a call of `state.snapshot`; returns its deadline in milliseconds.
    fn begin_snapshot(&mut self) -> u64 {
        let state = self.store.data_mut();
        state.begin_call();
        let (deadline_ms, bytes) = (state.shared.limits.init_deadline_ms, state.shared.limits.snapshot_bytes);
        // A snapshot is one list, and larger than a column.
        self.store.set_hostcall_fuel(bytes);
        deadline_ms
    }

    fn end_snapshot(&mut self) {
        let bytes = self.store.data().shared.limits.hostcall_bytes;
        self.store.set_hostcall_fuel(bytes);
    }

    /// `state.restore`, if there is one: whether the state was understood.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<Result<bool, String>, Trapped> {
        let Some(restore): Option<Restore<'_>> = self.restore else { return Ok(Ok(false)) };
        self.store.data_mut().begin_call();
        let deadline_ms = self.store.data().shared.limits.init_deadline_ms;
        self.call(deadline_ms, 1, |this| Ok(restore.call(&mut this.store, (Bytes(state),))?.0))
    }

    /// `state.snapshot`, and `state.restore` of another instance while the snapshot is still in the memory of this one.
    fn hand_over(&mut self, heir: Box<Local>) -> Given {
        let deadline_ms = self.begin_snapshot();
        // What this one does after the heir has the state is to free a list: that the time of both counts towards its deadline
        // matters to nobody.
        let began = begin(&mut self.store, deadline_ms);
        let (ended, heir) = match self.snapshot {
            Some(snapshot) => hand_over::call(snapshot.func(), &mut self.store, heir),
            None => (Ok(()), Handed { heir, answer: None, cpu_ns: 0 }),
        };
        self.end_call();
        // The heir has paid for what it did.
        self.account(cpu_ns().saturating_sub(began).saturating_sub(heir.cpu_ns), 1);
        let giver = ended.map_err(|error| trapped(&self.store, &error));
        self.end_snapshot();
        Given { heir: Instance::Here(heir.heir), answer: heir.answer, giver }
    }
}

/// Counts CPU time that the plugin has used, `weight` times, and takes it from its budget: whether that was the last of it.
fn pay(shared: &Shared, cpu_ns: u64, weight: u32) -> bool {
    shared.meters.cpu_ns.inc_by(cpu_ns.saturating_mul(u64::from(weight)));
    shared.budget.as_ref().is_some_and(|budget| budget.spend(cpu_ns, Instant::now()))
}

/// Begins a call that may use so much CPU time of this thread. Returns what the thread has used before.
///
/// A deadline is CPU time, so that a machine that is busy with other things does not make good plugins fail. That bounds a call,
/// since a plugin cannot wait: WASI is a stub whose sleeps return at once, and no function of the host waits for anything.
fn begin(store: &mut Store<State>, deadline_ms: u64) -> u64 {
    let began = cpu_ns();
    store.data_mut().cpu_until_ns = began.saturating_add(deadline_ms.saturating_mul(1_000_000));
    store.set_epoch_deadline(ticks(deadline_ms));
    began
}

/// What becomes of a call when as much time has gone by as it may use.
fn at_deadline(state: &State) -> UpdateDeadline {
    match state.cpu_until_ns.saturating_sub(cpu_ns()) {
        0 => UpdateDeadline::Interrupt,
        left_ns => UpdateDeadline::Continue(ticks_left(left_ns)),
    }
}

/// CPU time of this thread. Calls do not change threads.
pub(crate) fn cpu_ns() -> u64 {
    read_ns(ClockId::ThreadCPUTime)
}

/// Time that goes on whatever this thread does.
pub(crate) fn wall_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

fn read_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

fn trapped(store: &Store<State>, error: &wasmtime::Error) -> Trapped {
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => TrapKind::Deadline,
        _ if store.data().limiter.refused => TrapKind::Memory,
        _ => TrapKind::Trap,
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    Trapped { kind, text: one_line(error), backtrace: frames.iter().map(place).collect() }
}

/// A frame of a backtrace: function, and file and line if the component has debug information.
fn place(frame: &FrameInfo) -> String {
    let symbol = frame.symbols().first();
    let name = symbol.and_then(FrameSymbol::name).or(frame.func_name());
    // Without the hash that compilers append.
    let readable = |name| format!("{:#}", rustc_demangle::demangle(name));
    let mut place = name.map_or_else(|| format!("function {}", frame.func_index()), readable);
    if let Some((file, symbol)) = symbol.and_then(|symbol| Some((symbol.file()?, symbol))) {
        place.push_str(&format!(" at {file}:{}", symbol.line().unwrap_or(0)));
    } else if let Some(offset) = frame.module_offset() {
        place.push_str(&format!(" (offset {offset:#x})"));
    }
    place
}

/// The innermost cause, without the back trace, which has lines.
fn one_line(error: &wasmtime::Error) -> String {
    error.root_cause().to_string().replace('\n', " ")
}
