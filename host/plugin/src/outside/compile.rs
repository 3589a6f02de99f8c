//! Compiling in another process: a component that explodes the compiler hurts that process only.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::confine::{Ration, confine, step_back};
use super::frame::{self, Kind};
use super::{Death, Outside, Process};
use crate::cache::MAX_FILE_BYTES;
use crate::engine;
use crate::error::LoadErrorKind;
use crate::limits::MAX_COMPONENT_BYTES;

/// Threads of a compiler: each takes address space, and more of them gain little.
const MAX_THREADS: usize = 8;

/// What a process is told before it gets a component.
#[derive(Serialize, Deserialize)]
struct Order {
    /// Whether the code is to count fuel: the settings of the engine are to be the same.
    fuel: bool,
    memory_bytes: u64,
    /// Of all its threads.
    cpu_seconds: u64,
}

/// Compiles `bytes` in a process of its own and returns the code, to be loaded by an engine with the same settings.
pub(crate) fn compile(outside: &Outside, fuel: bool, name: &str, bytes: &[u8]) -> Result<Vec<u8>, LoadErrorKind> {
    let failed = |problem: String| LoadErrorKind::CompileProcess { component: name.to_owned(), problem };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    // Each thread would keep a heap of its own in the address space.
    let environment = [("RAYON_NUM_THREADS", threads.to_string()), ("MALLOC_ARENA_MAX", "1".to_owned())];
    let process = Process::start(outside, &environment);
    let mut process = process.map_err(|error| failed(format!("could not be started: {error}")))?;
    let order = Order {
        fuel,
        memory_bytes: outside.compile_memory_bytes,
        // Should nobody be there any more to look at the clock.
        cpu_seconds: outside.compile_seconds.saturating_mul(threads as u64),
    };
    let until = Instant::now() + Duration::from_secs(outside.compile_seconds);
    match exchange(&mut process, &order, bytes, until) {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(error)) if is_out_of_memory(&error) => Err(too_large(outside, name)),
        Ok(Err(error)) => Err(LoadErrorKind::Compile { component: name.to_owned(), error }),
        Err(error) => Err(explained(&error, &process.end(), outside, name)),
    }
}

/// Sends the component and takes the code, or what the compiler says is wrong with it.
fn exchange(process: &mut Process, order: &Order, bytes: &[u8], until: Instant) -> io::Result<Result<Vec<u8>, String>> {
    process.send(Kind::Compile, &[&serde_json::to_vec(order)?], until)?;
    process.send(Kind::Component, &[bytes], until)?;
    let mut answer = process.receive(MAX_FILE_BYTES as usize, until)?;
    match answer.kind {
        Kind::Failed => Ok(Err(String::from_utf8_lossy(&answer.bytes).into_owned())),
        Kind::Code => {
            let code = answer.bytes.split_off(answer.bytes.len().min(32));
            let is_whole = Sha256::digest(&code).as_slice() == answer.bytes;
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "code that is not whole");
            if is_whole { Ok(Ok(code)) } else { Err(damaged()) }
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of another kind")),
    }
}

/// Why there is no code, as the operator should hear it.
fn explained(error: &io::Error, death: &Death, outside: &Outside, name: &str) -> LoadErrorKind {
    let is_out_of_time = error.kind() == io::ErrorKind::TimedOut || death.signal() == Some(libc::SIGXCPU);
    if is_out_of_time {
        LoadErrorKind::CompileTime { component: name.to_owned(), seconds: outside.compile_seconds }
    } else if is_out_of_memory(&death.last_words) {
        too_large(outside, name)
    } else if error.kind() == io::ErrorKind::InvalidData {
        LoadErrorKind::CompileProcess { component: name.to_owned(), problem: format!("answered with {error}") }
    } else {
        LoadErrorKind::CompileProcess { component: name.to_owned(), problem: death.to_string() }
    }
}

fn too_large(outside: &Outside, name: &str) -> LoadErrorKind {
    LoadErrorKind::CompileMemory { component: name.to_owned(), mib: outside.compile_memory_bytes >> 20 }
}

/// Whether the compiler, or the standard library when it gives up, says that there is no more memory.
fn is_out_of_memory(words: &str) -> bool {
    ["memory allocation of", "Cannot allocate memory", "os error 12", "failed to make memory"]
        .iter()
        .any(|sign| words.contains(sign))
}

/// The code of a component that [`compile`] returned.
pub(crate) fn load(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what this program's own `serve` got from `Component::serialize`, in a process that only this one
    // could write to and read from, and their digest shows that they are whole. The component was data to that process: one
    // that breaks the compiler could as well break it here, where it would have the whole collector at once. wasmtime itself
    // checks that the code is of its own version and settings.
    #[allow(unsafe_code, reason = "code that this program compiled in its own child")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// The process's side: its limits, then one component.
pub(super) fn serve(pipe: &mut UnixStream, order: &[u8]) -> io::Result<()> {
    let order: Order = serde_json::from_slice(order)?;
    step_back();
    confine(&Ration::address_space(order.memory_bytes, order.cpu_seconds))?;
    let component = frame::read(pipe, MAX_COMPONENT_BYTES)?;
    match compiled(order.fuel, &component.bytes) {
        Ok(code) => frame::write(pipe, Kind::Code, &[&Sha256::digest(&code), &code]),
        Err(error) => frame::write(pipe, Kind::Failed, &[format!("{error:#}").as_bytes()]),
    }
}

fn compiled(fuel: bool, bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let engine = wasmtime::Engine::new(&engine::config(fuel, &Arc::default()))?;
    Component::from_binary(&engine, bytes)?.serialize()
}
