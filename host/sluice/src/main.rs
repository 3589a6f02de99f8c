//! sluice, the binary: command line, configuration, wiring, exit codes. Nobody else prints or exits.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that talks to people")]

mod admin;
mod author;
mod build;
mod cli;
mod collector;
mod config;
mod decode;
mod demo;
mod differs;
mod failure;
mod generate;
mod lock;
mod open;
mod operate;
mod plan;
mod privacy;
mod remote;
mod report;
mod run;
mod signals;
mod tenancy;
mod token;
mod transaction;
mod trust;
mod watch;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::PluginProcess) {
        return plugin_process();
    }
    let outcome = log_to_stderr(&cli).and_then(|()| match cli.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config } => run::check(&config),
        Command::Lock { config, check } => lock::lock(&config, check),
        Command::Decode { files, format } => decode::decode(&files, format),
        Command::Generate(args) => generate::generate(&args),
        Command::Demo { time, rate, write } => demo::demo(time, rate, write.as_deref()),
        Command::Plugin(command) => author::author(command),
        Command::Remote(command) => remote::remote(command),
        Command::Token(args) => token::token(&args),
        Command::PluginProcess => unreachable!("it has its own way"),
    });
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    eprint!("sluice: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::from(failure.exit_code())
}

/// A process that the collector started. Its log goes back with its answers.
fn plugin_process() -> ExitCode {
    match sluice_plugin::outside::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice: plugin-process is for sluice to start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(cli: &Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|error| Failure::usage(format!("--log {}: {error}", cli.log)))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if cli.log_json {
        log.json().init();
    } else {
        log.init();
    }
    Ok(())
}
