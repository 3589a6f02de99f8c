//! `sluice plugin ...`: what the author of a plugin does, from an empty folder to a component in a pipeline.

pub(crate) mod bench;
mod build;
pub(crate) mod check;
mod inspect;
pub(crate) mod new;
mod pack;
mod project;
pub(crate) mod replay;
mod sign;
mod subject;
mod test;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::cli::PluginCommand;
use crate::failure::Failure;

/// Runs one of the commands.
pub(crate) fn author(command: PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New { name, lang, dir } => new::new(&name, &lang, dir.as_deref()),
        PluginCommand::Build { dir } => build::build(&dir),
        PluginCommand::Bench(args) => bench::bench(&args),
        PluginCommand::Check(args) => check::check(&args),
        PluginCommand::Replay(args) => replay::replay(&args),
        PluginCommand::Inspect(args) => inspect::inspect(&args),
        PluginCommand::Keygen { name } => sign::keygen(&name),
        PluginCommand::Sign { file, key } => sign::sign(&file, &key),
        PluginCommand::Verify { file, key } => sign::verify(&file, &key),
        PluginCommand::Test(args) => test::test(&args),
        PluginCommand::Pack { core, out, rename } => pack::pack(&core, out.as_deref(), rename),
        PluginCommand::Remote(command) => crate::remote::plugin(command),
    }
}

/// Writes a file in one piece: a collector that watches it never sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| Failure::running(path.display().to_string(), error))
}

/// Prints to standard output; a reader that has seen enough is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::running("standard output", error)),
    }
}
