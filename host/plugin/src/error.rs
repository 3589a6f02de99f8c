//! Why a plugin could not be loaded.

use std::path::PathBuf;

use sluice_pipeline::BoxError;

use crate::pack::PackError;

/// Why there is no plugin host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The engine could not be set up on this machine.
    #[error("WebAssembly engine not available")]
    Engine(#[source] BoxError),
    /// The directory for compiled code is not one that only this user can write.
    #[error("code cache {}: {problem}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// A thread could not be started.
    #[error("no thread for deadlines")]
    Thread(#[source] std::io::Error),
}

/// Why a stage has no plugin: an error of configuration, or of the component. Every message begins
/// with the name of the stage.
#[derive(Debug, thiserror::Error)]
#[error("stage {stage}: {kind}")]
pub struct LoadError {
    /// Name of the stage.
    pub stage: String,
    /// What is wrong; its text is part of this error's.
    pub kind: Box<LoadErrorKind>,
}

/// What is wrong with a component, its grant or its configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file could not be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is none that could be run.
    #[error("{component} is not a WebAssembly component: {found}")]
    NotAComponent {
        /// The file or built-in plugin.
        component: String,
        /// What it is instead, with the way out.
        found: String,
    },
    /// The file is a core module that does not become a component.
    #[error("{component} {error}")]
    Pack {
        /// The file or built-in plugin.
        component: String,
        /// Why not; its text is part of this error's.
        error: PackError,
    },
    /// A file where a built-in plugin runs that has what it asks for.
    #[error(
        "{} would have whatever it asks for, as the built-in plugin does: write a `grant` for the stage, and reload",
        path.display()
    )]
    NothingGranted {
        /// The file.
        path: PathBuf,
    },
    /// The file is not the one that the TOML names.
    #[error("{component} has SHA-256 {found}, the TOML asks for {expected}")]
    WrongDigest {
        /// The file.
        component: String,
        /// Its digest in hexadecimal.
        found: String,
        /// The digest asked for.
        expected: String,
    },
    /// Its signature does not hold, or there is none and there has to be one.
    #[error("{problem}: have it signed by one of `plugins.keys` with `sluice plugin sign`")]
    Unsigned {
        /// What is wrong; it names the file.
        problem: String,
    },
    /// The lock file cannot be used.
    #[error("{problem}")]
    NoLock {
        /// What is wrong with it, with the way out.
        problem: String,
    },
    /// The file is not the one that is locked.
    #[error(
        "{component} has SHA-256 {found}, locked is {locked}: look at what changed, then write the lock with `sluice lock`"
    )]
    NotLocked {
        /// The file.
        component: String,
        /// Its digest in hexadecimal.
        found: String,
        /// The digest in the lock file, or that there is none.
        locked: String,
    },
    /// The component does not compile.
    #[error("{component} does not compile: {error}")]
    Compile {
        /// The file.
        component: String,
        /// What the compiler says.
        error: String,
    },
    /// The compiler wanted more memory than it may have.
    #[error(
        "compiling {component} took more than {mib} MiB of memory: it may be made to do that; if you trust it, raise \
         `compile_memory_bytes` in `[plugins]`"
    )]
    CompileMemory {
        /// The file.
        component: String,
        /// What the compiler may have.
        mib: u64,
    },
    /// The compiler took longer than it may.
    #[error(
        "compiling {component} took more than {seconds} s: it may be made to do that; if you trust it, raise \
         `compile_seconds` in `[plugins]`"
    )]
    CompileTime {
        /// The file.
        component: String,
        /// What the compiler may take.
        seconds: u64,
    },
    /// The process that compiles ended without an answer, or never began.
    #[error("compiling {component}: the process for that {problem}; look into the system's log, or try again")]
    CompileProcess {
        /// The file.
        component: String,
        /// What became of it.
        problem: String,
    },
    /// The plugin was to run in a process of its own, and said there what is wrong.
    #[error("{error}")]
    Outside {
        /// The same words as if it ran here.
        error: String,
    },
    /// There is no process for the plugin, or it died.
    #[error("{problem}")]
    Process {
        /// What became of it.
        problem: String,
    },
    /// The plugin was to run in a process of its own, in a program that starts none.
    #[error("isolation: this program starts no processes for plugins; use the collector's `sluice run`")]
    NoProcesses,
    /// The component was built for another version of the contract.
    #[error("the plugin uses {found}, this collector speaks {ours}: rebuild the plugin with its SDK")]
    WrongVersion {
        /// Interface and version that the component names.
        found: String,
        /// The version of this collector.
        ours: &'static str,
    },
    /// An import that no grant could give.
    #[error("the plugin imports {import}, which this collector does not have")]
    UnknownImport {
        /// Name of the import.
        import: String,
    },
    /// An import that the grant does not cover.
    #[error("the plugin imports {import}, which the stage's grant does not include: add {remedy}")]
    ImportNotGranted {
        /// Name of the import.
        import: String,
        /// What to write into the grant.
        remedy: &'static str,
    },
    /// The component does not export what every plugin exports.
    #[error("{component} does not export sluice:plugin/stage: it is not a sluice plugin")]
    NoStage {
        /// The file.
        component: String,
    },
    /// An import or export has the right name and another type.
    #[error("the plugin does not fit the contract: {error}")]
    Link {
        /// What does not fit.
        error: String,
    },
    /// The component could not be started.
    #[error("the plugin did not start: {error}")]
    Start {
        /// Trap and where.
        error: String,
        /// Where it was, innermost first, as far as the component has names.
        backtrace: Vec<String>,
    },
    /// The plugin refused its configuration.
    #[error("the plugin refused its configuration: {message}")]
    Config {
        /// What the plugin says.
        message: String,
    },
    /// The manifest is not usable.
    #[error("the plugin's manifest {problem}")]
    Manifest {
        /// What is wrong.
        problem: String,
    },
    /// The plugin asks for columns that it was not granted.
    #[error("the plugin asks to {access} {columns}, which the grant does not include: add {them} to grant.{access}")]
    NotGranted {
        /// `read` or `write`.
        access: &'static str,
        /// The columns, as in `column src_as` or `columns src_as, dst_as`.
        columns: String,
        /// `it` or `them`.
        them: &'static str,
    },
    /// The stage must not let rows pass that it failed on.
    #[error("on_error = \"pass\" would let rows through unprotected: use \"drop\", \"dead-letter\" or \"stop\"")]
    PassOnPrivate,
}

impl LoadErrorKind {
    pub(crate) fn at(self, stage: &str) -> LoadError {
        LoadError { stage: stage.to_owned(), kind: Box::new(self) }
    }
}
