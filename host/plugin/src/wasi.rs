//! What a language's runtime insists on of WASI 0.2, answered without anything real behind it.
//!
//! There is no file, no socket, no environment and no argument. Clocks tell batch time, randomness is
//! a function of the batch id, standard output and error become log lines, and `exit` ends the
//! instance. Everything else answers its type's default: nothing, empty, ok; so that a runtime which
//! asks for more than it uses (Python imports 102 functions) starts, and the same batch gives the same result.

use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{LinkerInstance, Resource, ResourceAny, ResourceType, Type, Val};
use wasmtime::{Engine, StoreContextMut};

use crate::abi::Level;
use crate::limits::MAX_LOG_LINE;
use crate::shared::Shared;
use crate::state::State;

/// Bytes of randomness that one call gives.
const MAX_RANDOM_BYTES: u64 = 1 << 16;
/// Bytes that a guest is told it may write to a stream at once.
const STREAM_BYTES: u64 = 1 << 16;
/// How deep a default value goes; WASI's own types have up to five levels.
const MAX_DEPTH: usize = 16;

/// Every resource of WASI, as far as this host is concerned. What a handle stands for is in its number.
struct Handle;
const NOTHING: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// What the stub remembers between calls of a guest.
#[derive(Debug, Default)]
pub(crate) struct Wasi {
    seed: u64,
    now_ms: u64,
    /// What was written to standard output and error and has no end of line yet.
    lines: [Vec<u8>; 2],
}

impl Wasi {
    /// Begins a call: time stands still within it, and randomness starts from the batch.
    pub(crate) fn begin(&mut self, batch_id: u64, now_ms: u64) {
        self.seed = batch_id;
        self.now_ms = now_ms;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): no secret, the same for the same batch.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// Logs the unfinished lines.
    pub(crate) fn flush(&mut self, shared: &Shared) {
        for stream in [STDOUT, STDERR] {
            self.write(shared, stream, b"\n");
        }
    }

    fn write(&mut self, shared: &Shared, stream: u32, bytes: &[u8]) {
        let (line, level) = match stream {
            STDOUT => (&mut self.lines[0], Level::Info),
            STDERR => (&mut self.lines[1], Level::Warn),
            _ => return,
        };
        for byte in bytes {
            if *byte != b'\n' && line.len() < MAX_LOG_LINE {
                line.push(*byte);
            } else if *byte == b'\n' && !line.is_empty() {
                shared.log(level, &String::from_utf8_lossy(line));
                line.clear();
            }
        }
    }
}

/// Links the functions and resources of one WASI interface, as the component names and types them.
pub(crate) fn link(
    linker: &mut LinkerInstance<'_, State>,
    interface: &str,
    imports: &types::ComponentInstance,
    engine: &Engine,
) -> wasmtime::Result<()> {
    // `wasi:clocks/wall-clock@0.2.6` -> `wall-clock`
    let interface = interface.split('@').next().unwrap_or_default();
    let interface = interface.rsplit('/').next().unwrap_or_default().to_owned();
    for (name, item) in imports.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let function = format!("{interface}/{name}");
                linker.func_new(name, move |cx, ty, params, results| answer(cx, &function, &ty, params, results))?;
            }
            ComponentItem::Resource(_) => linker.resource(name, ResourceType::host::<Handle>(), |_, _| Ok(()))?,
            _ => {}
        }
    }
    Ok(())
}

fn answer(
    mut cx: StoreContextMut<'_, State>,
    function: &str,
    ty: &types::ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    // A handle that was lent has to be given back, wherever it stands.
    let mut handles = Vec::new();
    for param in params {
        give_back(&mut cx, param, &mut handles)?;
    }
    let special = special(&mut cx, function, params, handles.first().copied())?;
    match (special, results) {
        (Some(value), [result]) => *result = value,
        (_, results) => {
            for (result, ty) in results.iter_mut().zip(ty.results()) {
                *result = default_of(&mut cx, function, &ty, 0)?;
            }
        }
    }
    Ok(())
}

/// The functions whose answer means something.
fn special(
    cx: &mut StoreContextMut<'_, State>,
    function: &str,
    params: &[Val],
    receiver: Option<u32>,
) -> wasmtime::Result<Option<Val>> {
    let now_ms = cx.data().wasi.now_ms;
    Ok(Some(match function {
        "stdout/get-stdout" => handle(cx, STDOUT)?,
        "stderr/get-stderr" => handle(cx, STDERR)?,
        "streams/[method]output-stream.check-write" => ok(Val::U64(STREAM_BYTES)),
        "streams/[method]output-stream.write" | "streams/[method]output-stream.blocking-write-and-flush" => {
            write(cx, receiver, params);
            Val::Result(Ok(None))
        }
        "wall-clock/now" => Val::Record(vec![
            ("seconds".to_owned(), Val::U64(now_ms / 1000)),
            ("nanoseconds".to_owned(), Val::U32((now_ms % 1000) as u32 * 1_000_000)),
        ]),
        "wall-clock/resolution" => {
            Val::Record(vec![("seconds".to_owned(), Val::U64(0)), ("nanoseconds".to_owned(), Val::U32(1_000_000))])
        }
        // Not 0: there is no batch yet while an instance starts, and Go ends a program whose clock reads 0.
        "monotonic-clock/now" => Val::U64(now_ms.saturating_mul(1_000_000).max(1)),
        "monotonic-clock/resolution" => Val::U64(1_000_000),
        "random/get-random-bytes" | "insecure/get-insecure-random-bytes" => {
            let Some(Val::U64(count)) = params.first() else { return Ok(None) };
            if *count > MAX_RANDOM_BYTES {
                wasmtime::bail!("{count} random bytes asked for at once, {MAX_RANDOM_BYTES} are given");
            }
            let wasi = &mut cx.data_mut().wasi;
            Val::List((0..*count).map(|_| Val::U8(wasi.random() as u8)).collect())
        }
        "random/get-random-u64" | "insecure/get-insecure-random-u64" => Val::U64(cx.data_mut().wasi.random()),
        "insecure-seed/insecure-seed" => {
            let wasi = &mut cx.data_mut().wasi;
            Val::Tuple(vec![Val::U64(wasi.random()), Val::U64(wasi.random())])
        }
        "poll/[method]pollable.ready" => Val::Bool(true),
        "poll/poll" => {
            let Some(Val::List(pollables)) = params.first() else { return Ok(None) };
            Val::List((0..pollables.len() as u32).map(Val::U32).collect())
        }
        "exit/exit" | "exit/exit-with-code" => wasmtime::bail!("the plugin called exit({})", exit_code(params)),
        _ => return Ok(None),
    }))
}

fn exit_code(params: &[Val]) -> String {
    match params.first() {
        Some(Val::Result(Ok(_))) => "0".to_owned(),
        Some(Val::Result(Err(_))) => "1".to_owned(),
        Some(Val::U8(code)) => code.to_string(),
        _ => String::new(),
    }
}

fn write(cx: &mut StoreContextMut<'_, State>, stream: Option<u32>, params: &[Val]) {
    let (Some(stream), Some(Val::List(bytes))) = (stream, params.get(1)) else { return };
    let bytes: Vec<u8> = bytes.iter().map(|byte| if let Val::U8(byte) = byte { *byte } else { 0 }).collect();
    let State { wasi, shared, .. } = cx.data_mut();
    wasi.write(shared, stream, &bytes);
}

fn ok(value: Val) -> Val {
    Val::Result(Ok(Some(Box::new(value))))
}

fn handle(cx: &mut StoreContextMut<'_, State>, rep: u32) -> wasmtime::Result<Val> {
    Ok(Val::Resource(ResourceAny::try_from_resource(Resource::<Handle>::new_own(rep), &mut *cx)?))
}

/// Gives back every handle within `value`, and adds what they stand for to `handles`.
fn give_back(cx: &mut StoreContextMut<'_, State>, value: &Val, handles: &mut Vec<u32>) -> wasmtime::Result<()> {
    match value {
        Val::Resource(resource) => handles.push(resource.try_into_resource::<Handle>(&mut *cx)?.rep()),
        // Bytes are most of what crosses, and hold no handle.
        Val::List(values) if matches!(values.first(), Some(Val::U8(_))) => {}
        Val::List(values) | Val::Tuple(values) => {
            for value in values {
                give_back(cx, value, handles)?;
            }
        }
        Val::Record(fields) => {
            for (_, value) in fields {
                give_back(cx, value, handles)?;
            }
        }
        Val::Variant(_, Some(value)) | Val::Option(Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            give_back(cx, value, handles)?
        }
        _ => {}
    }
    Ok(())
}

/// The default of a type: zero, empty, none. A result is ok, except where something outside would be
/// behind it: files and sockets are denied, and a stream that is read has ended.
fn default_of(cx: &mut StoreContextMut<'_, State>, function: &str, ty: &Type, depth: usize) -> wasmtime::Result<Val> {
    if depth > MAX_DEPTH {
        wasmtime::bail!("{function} answers with a type nested deeper than {MAX_DEPTH}");
    }
    let mut inner = |ty: &Type| default_of(&mut *cx, function, ty, depth + 1);
    Ok(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('\0'),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Record(record) => {
            let fields = record.fields().map(|field| Ok((field.name.to_owned(), inner(&field.ty)?)));
            Val::Record(fields.collect::<wasmtime::Result<_>>()?)
        }
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| inner(&ty)).collect::<wasmtime::Result<_>>()?),
        Type::Variant(variant) => {
            // `closed` is how a stream says that it has ended.
            let mut cases = variant.cases();
            let first = cases.next();
            let case = cases.find(|case| case.name == "closed").or(first);
            let Some(case) = case else { wasmtime::bail!("{function} answers with an empty variant") };
            let value = case.ty.as_ref().map(inner).transpose()?;
            Val::Variant(case.name.to_owned(), value.map(Box::new))
        }
        Type::Enum(names) => {
            let mut names = names.names();
            let first = names.next().unwrap_or_default();
            let denied = names.find(|name| *name == "access-denied" || *name == "access").unwrap_or(first);
            Val::Enum(denied.to_owned())
        }
        Type::Option(_) => Val::Option(None),
        Type::Result(result) => {
            let is_outside = ["streams/[method]input-stream", "types/", "tcp", "udp", "instance-network", "ip-name"]
                .iter()
                .any(|outside| function.starts_with(outside));
            match (is_outside, result.ok(), result.err()) {
                (true, _, Some(ty)) => Val::Result(Err(Some(Box::new(inner(&ty)?)))),
                (_, Some(ty), _) => Val::Result(Ok(Some(Box::new(inner(&ty)?)))),
                (_, None, _) => Val::Result(Ok(None)),
            }
        }
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Own(_) => handle(cx, NOTHING)?,
        _ => wasmtime::bail!("{function} answers with a type that WASI 0.2 does not have"),
    })
}
