//! The project's own commands: `cargo xtask COMMAND`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod api_page;
mod bench;
mod config_page;
mod contract;
mod generate;
mod kafka;
mod sdks;
mod soak;
mod system;
mod test;
mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask COMMAND

  demo [--for 10s] [...]   build everything and show sluice at work (arguments go to `sluice demo`)
  test                     run every test there is: format, lints, tidiness, host, plugins, SDK
  bench [--peers]          run the benchmarks and print one table; --peers adds other collectors
  kafka [--fetch | -- ...] start an Apache Kafka on 127.0.0.1:9092 until Ctrl-C, or on a free port until the end of the
                           command behind --, which finds it in SLUICE_TEST_BROKERS; --fetch only puts it into the cache
  sdks                     fetch the tools of other languages (zig, componentize-py, ...) that the tests build plugins with
  soak [--for 1h] [...]    a collector under load while plugins, tables and configurations change, good and bad, by files, by
                           command and by a tenant: nothing may be lost or doubled (--rate 20000, --seed 1, --binary FILE,
                           --report FILE); with --only swaps nothing but plugins is exchanged, for good ones, which leaves room
                           for higher rates (--rate 500000 --pace 50 --swaps 1000)
  plugins                  build the built-in plugins and say where the components are
  generate [--check]       write what is generated from the code, or check that it is current
  tidy                     check the direction of dependencies, file lengths and generated files
";

/// What went wrong, as the person at the terminal should read it.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "demo" => system::check().and_then(|()| demo(rest)),
        "test" => system::check().and_then(|()| test::test()),
        "bench" => system::check().and_then(|()| bench::bench(rest)),
        "kafka" => kafka::kafka(rest),
        "sdks" => sdks::sdks(),
        "soak" => system::check().and_then(|()| soak::soak(rest)),
        "plugins" => system::check().and_then(|()| plugins()),
        "generate" => generate(rest.iter().any(|argument| argument == "--check")),
        "tidy" => tidy::tidy(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("unknown command `{other}`\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is generated from the code, in every language that is installed.
fn generate(check: bool) -> Outcome {
    generate::generate(check)?;
    for (folder, outcome) in sdks::columns(check) {
        match outcome {
            Ok(outcome) => outcome?,
            Err(missing) => eprintln!("xtask: {folder} left alone: {missing}"),
        }
    }
    Ok(())
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// cargo, in the root of the repository.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs a command to its end and shows what it prints.
fn run(command: &mut Command, what: &str) -> Outcome {
    eprintln!("==> {what}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{what}: {}: {error}", command.get_program().display())),
    }
}

fn demo(arguments: &[String]) -> Outcome {
    run(
        cargo().args(["build", "--package", "sluice"]),
        "building sluice and its plugins (the first time takes minutes)",
    )?;
    run(cargo().args(["run", "--quiet", "--package", "sluice", "--", "demo"]).args(arguments), "sluice demo")
}

fn plugins() -> Outcome {
    run(cargo().args(["build", "--package", "sluice"]), "building the plugins")?;
    println!("components are in {}", system::target_dir().join("plugins/wasm32-wasip2/release").display());
    Ok(())
}
