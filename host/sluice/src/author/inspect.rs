//! `sluice plugin inspect`: what a component is, asks for and costs to load.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use sluice_flow::{ColumnSet, Schema};
use sluice_kit::bench::{self, Size};
use sluice_pipeline::Metrics;
use sluice_plugin::{
    ComponentSource, Examined, Host, HostSettings, Interface, Limits, LoadErrorKind, Loaded, Manifest, OnError,
    PublicKey, Services, Signed, StageSpec, Trial, examine, grant_names,
};

use crate::author::{print, subject};
use crate::cli::{InspectArgs, InspectFormat};
use crate::failure::Failure;

/// Rows of the batches that a row's cost is measured with.
const REFERENCE_ROWS: usize = 4096;

/// What a row costs, with the memory of the instance after it; or why that is not known.
type Cost = Result<(Size, usize), String>;

/// A plugin that was looked at and started once.
pub(super) struct Inspected {
    pub(super) examined: Examined,
    pub(super) init: Init,
}

/// What became of `init`.
#[allow(clippy::large_enum_variant, reason = "there is one")]
pub(super) enum Init {
    Done {
        manifest: Manifest,
        /// Bytes of linear memory after it.
        memory: usize,
    },
    /// The plugin's own words about its configuration.
    Refused(String),
    /// It ended the instance, or what it answered makes no sense.
    Failed(String),
}

/// Compiles, links and starts a plugin, with all that it asks for granted and nothing there: no table, no key.
///
/// # Errors
/// If the file is not admitted: each names the file or what does not fit.
pub(super) fn look(path: &Path, config: &str, init_deadline_ms: u64, keys: &[PublicKey]) -> Result<Inspected, Failure> {
    let cannot = |error: &dyn std::error::Error| Failure::failed(format!("plugins cannot be run: {error}"));
    // A cache of its own, so that compiling is measured and loading too.
    let cache = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let settings = HostSettings { cache_dir: Some(cache.path().join("code")), ..HostSettings::default() };
    let host = Host::new(settings, Metrics::new()).map_err(|error| cannot(&error))?;
    let refused = |error: LoadErrorKind| {
        let text = error.to_string();
        let file = path.display().to_string();
        Failure::failed(if text.starts_with(&file) { text } else { format!("{file}: {text}") })
    };
    let examined = examine(&host, path, keys).map_err(refused)?;
    let spec = spec(path, config, init_deadline_ms);
    let started = Loaded::load(&host, spec).and_then(|loaded| Ok((loaded.manifest(), Trial::new(&loaded)?.memory())));
    let init = match started {
        Ok((manifest, memory)) => Init::Done { manifest, memory },
        Err(error) => match *error.kind {
            LoadErrorKind::Config { message } => Init::Refused(message),
            other => Init::Failed(other.to_string()),
        },
    };
    Ok(Inspected { examined, init })
}

/// The plugin as a stage.
fn spec(path: &Path, config: &str, init_deadline_ms: u64) -> StageSpec {
    let component = ComponentSource::File { path: path.to_owned(), sha256: None };
    let limits = Limits { init_deadline_ms, ..Limits::default() };
    StageSpec { limits, on_error: OnError::Stop, ..subject::stage(component, config, Services::default()) }
}

/// What batches of ordinary traffic cost, and memory after them; or why nobody knows.
fn cost(args: &InspectArgs, config: &str) -> Result<Cost, Failure> {
    let timed = Host::new(HostSettings::default(), Metrics::new());
    let timed = timed.map_err(|error| Failure::running("plugins cannot be run", error))?;
    let counted = subject::host(true)?;
    let spec = spec(&args.file, config, args.init_deadline_ms);
    Ok(match bench::bench((&timed, &counted), &spec, &[REFERENCE_ROWS], &mut |_| {}) {
        Ok(bench) => Ok((bench.sizes[0], bench.memory)),
        Err(error) => Err(error.to_string()),
    })
}

/// Prints what there is to know about the plugin in a file.
pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let file = args.file.display();
    let config = args.config.as_deref().unwrap_or("{}");
    match serde_json::from_str::<Value>(config) {
        Ok(Value::Object(_)) => {}
        Ok(_) => return Err(Failure::usage(format!("--config {config}: not a table; write {{\"key\": 1}}"))),
        Err(error) => return Err(Failure::usage(format!("--config {config}: {error}"))),
    }
    let keys = args.key.iter().map(|key| PublicKey::read(key)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| Failure::failed(error.to_string()))?;
    let inspected = look(&args.file, config, args.init_deadline_ms, &keys)?;
    let cost = match &inspected.init {
        Init::Done { .. } => cost(args, config)?,
        Init::Refused(_) => Err("not known without a configuration: give --config".to_owned()),
        Init::Failed(_) => Err("not known: the plugin does not start".to_owned()),
    };
    match args.format {
        InspectFormat::Text => print(&text(&args.file, &inspected, &cost))?,
        InspectFormat::Json => print(&format!("{:#}\n", json(&inspected, &cost)))?,
    }
    if let Signed::Broken(problem) = inspected.examined.signed {
        return Err(Failure::failed(problem));
    }
    match inspected.init {
        // Without a configuration a plugin that needs one may well say so.
        Init::Refused(message) if args.config.is_some() => {
            Err(Failure::failed(format!("{file}: the plugin refused its configuration: {message}")))
        }
        Init::Failed(problem) => Err(Failure::failed(format!("{file}: {problem}"))),
        Init::Refused(_) | Init::Done { .. } => Ok(()),
    }
}

fn text(file: &Path, Inspected { examined, init }: &Inspected, cost: &Cost) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| writeln!(text, "{what:<9} {value}").expect("a string grows");
    if let Init::Done { manifest, .. } = init {
        line("plugin", format!("{} {}", manifest.name, manifest.version));
    }
    line("file", format!("{}, {} bytes", file.display(), examined.bytes));
    if let Some(packed) = examined.packed_bytes {
        line("", format!("a core module, {packed} bytes as a component"));
    }
    line("sha256", hex(&examined.digest));
    line(
        "signer",
        match &examined.signed {
            Signed::No => "not signed".to_owned(),
            Signed::ByUnknown(key) => format!("signed by an unknown key {key}"),
            Signed::By(signer) => signer.to_string(),
            Signed::Broken(_) => "the signature does not hold".to_owned(),
        },
    );
    line("contract", format!("sluice:plugin@{}", examined.version));
    for (what, interfaces, is_of_wasi) in [
        ("exports", &examined.exports, false),
        ("imports", &examined.imports, false),
        ("wasi", &examined.imports, true),
    ] {
        let mut what = what;
        for (name, functions) in listed(interfaces, is_of_wasi) {
            line(what, format!("{name}: {functions}"));
            what = "";
        }
        if !what.is_empty() {
            line(what, "nothing".to_owned());
        }
    }
    match init {
        Init::Done { manifest, memory } => {
            let [reads, writes] = [manifest.reads, manifest.writes].map(columns);
            let or_nothing = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(" ") };
            line("reads", or_nothing(&reads));
            line("writes", or_nothing(&writes));
            line("state", if manifest.stateful { "stateful" } else { "stateless" }.to_owned());
            line("tick", manifest.tick_ms.map_or("never".to_owned(), |tick_ms| format!("every {tick_ms} ms")));
            line("memory", format!("{memory} bytes after init"));
        }
        Init::Refused(message) => line("init", format!("refused its configuration: {message}")),
        Init::Failed(problem) => line("init", problem.clone()),
    }
    line("compile", format!("{:.1} ms, {:.1} ms from the cache", ms(examined.compile), ms(examined.load)));
    match cost {
        Ok((size, memory)) => {
            line("cost", format!("{:.2} ns and {:.1} fuel a row in batches of {}", size.min_ns, size.fuel, size.rows));
            line("", format!("{memory} bytes of memory after them"));
        }
        Err(why) => line("cost", why.clone()),
    }
    text
}

fn json(Inspected { examined, init }: &Inspected, cost: &Cost) -> Value {
    let interfaces = |interfaces: &[Interface], is_of_wasi: bool| -> Value {
        let some = interfaces.iter().filter(|interface| is_wasi(interface) == is_of_wasi);
        some.map(|interface| (interface.name.clone(), json!(interface.functions))).collect()
    };
    let (plugin, init) = match init {
        Init::Done { manifest, memory } => (
            json!({
                "name": manifest.name,
                "version": manifest.version,
                "reads": columns(manifest.reads),
                "writes": columns(manifest.writes),
                "stateful": manifest.stateful,
                "tick_ms": manifest.tick_ms,
                "memory_bytes": memory,
            }),
            json!("ok"),
        ),
        Init::Refused(message) => (Value::Null, json!({ "refused": message })),
        Init::Failed(problem) => (Value::Null, json!({ "failed": problem })),
    };
    let signer = match &examined.signed {
        Signed::No => Value::Null,
        Signed::ByUnknown(key) => json!({ "unknown_key": key.to_string() }),
        Signed::By(signer) => json!({ "name": signer.name, "key": signer.key.to_string() }),
        Signed::Broken(problem) => json!({ "broken": problem }),
    };
    let cost = match cost {
        Ok((size, memory)) => json!({
            "rows": size.rows,
            "ns_per_row": size.min_ns,
            "fuel_per_row": size.fuel,
            "memory_bytes": memory,
        }),
        Err(why) => json!({ "unknown": why }),
    };
    json!({
        "plugin": plugin,
        "signer": signer,
        "cost": cost,
        "init": init,
        "bytes": examined.bytes,
        "packed_bytes": examined.packed_bytes,
        "sha256": hex(&examined.digest),
        "contract": format!("sluice:plugin@{}", examined.version),
        "exports": interfaces(&examined.exports, false),
        "imports": interfaces(&examined.imports, false),
        "wasi": interfaces(&examined.imports, true),
        "compile_ms": ms(examined.compile),
        "load_ms": ms(examined.load),
    })
}

/// Short name and functions of the interfaces of WASI, or of the others. Those of types only are left out.
fn listed(interfaces: &[Interface], is_of_wasi: bool) -> Vec<(&str, String)> {
    let some = interfaces.iter().filter(|interface| is_wasi(interface) == is_of_wasi);
    let some = some.filter(|interface| !interface.functions.is_empty());
    some.map(|Interface { name, functions }| {
        let short = name.strip_prefix("sluice:plugin/").and_then(|name| name.split('@').next());
        (short.unwrap_or(name), functions.join(" "))
    })
    .collect()
}

fn is_wasi(interface: &Interface) -> bool {
    interface.name.starts_with("wasi:")
}

/// Columns as a grant names them.
fn columns(set: ColumnSet) -> Vec<String> {
    grant_names(&Schema::standard(), set)
}

fn ms(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the author sees after a build: that the collector takes it, and what it asks the collector for.
pub(super) fn summary(path: &Path, Inspected { examined, init }: &Inspected) -> String {
    let mut names: Vec<&str> = listed(&examined.imports, false).into_iter().map(|(name, _)| name).collect();
    let wasi = listed(&examined.imports, true).len();
    let wasi = if wasi > 0 { format!("{wasi} interfaces of WASI") } else { String::new() };
    names.extend((!wasi.is_empty()).then_some(wasi.as_str()));
    let imports = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let mut text = format!("{}: {} bytes, imports {imports}\n", path.display(), examined.bytes);
    if let Init::Refused(message) = init {
        text.push_str(&format!("without a configuration it says: {message}\n"));
    }
    text
}
