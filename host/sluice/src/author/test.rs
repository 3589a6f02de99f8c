//! `sluice plugin test`: runs the cases of a plugin and says what came out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use sluice_flow::Schema;
use sluice_kit::case::{self, Fixture, FixtureError};
use sluice_kit::report::Report;
use sluice_kit::run::{Bench, Outcome, coverage, update};
use sluice_pipeline::chain;
use sluice_plugin::ComponentSource;

use super::project::Project;
use super::{print, write_whole};
use crate::build::{BUILT_IN, user_cache};
use crate::cli::{TestArgs, TestFormat};
use crate::config::LoadError;
use crate::failure::Failure;

/// Folder of a project that cases are in.
const TESTS: &str = "tests";

const FIRST_CASE: &str = r#"write the first one, e.g. tests/first.toml:

    [[case]]
    name = "lets a large TCP flow through"
    rows = [{ proto = 6, dst_port = 443, bytes = 20000 }]
    [case.expect]

and have what comes out written into it with: sluice plugin test --update"#;

/// Runs the cases.
///
/// # Errors
/// 1 if a case failed; 2 if they could not be run.
pub(super) fn test(args: &TestArgs) -> Result<(), Failure> {
    let began = Instant::now();
    let (component, paths) = what(args)?;
    let schema = Arc::new(Schema::standard());
    let files = case::files(&paths).map_err(fixture_failure)?;
    let read = || -> Result<Vec<Fixture>, Failure> {
        files.iter().map(|file| Fixture::read(file, &schema, args.update).map_err(fixture_failure)).collect()
    };
    let mut fixtures = read()?;
    let wanted = |name: &str| args.case.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let names: Vec<&str> = fixtures.iter().flat_map(|fixture| &fixture.cases).map(|case| case.name.as_str()).collect();
    if names.is_empty() {
        let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::usage(format!("{}: no cases; {FIRST_CASE}", looked.join(", "))));
    }
    if !names.iter().any(|name| wanted(name)) {
        let part = args.case.as_deref().unwrap_or_default();
        return Err(Failure::usage(format!("no case has `{part}` in its name; there are:\n  {}", names.join("\n  "))));
    }

    let bench = Bench::new(component, &schema, user_cache().as_deref())
        .map_err(|error| Failure::running("plugins cannot be run", error))?;
    let run = |fixtures: &[Fixture]| bench.run(fixtures, wanted).map_err(|error| not_run(&*error.kind));
    let mut outcomes = run(&fixtures)?;
    if args.update && change(&fixtures, &outcomes)? {
        fixtures = read()?;
        outcomes = run(&fixtures)?;
    }

    // What some of the cases leave untouched says nothing.
    let coverage = args.case.is_none().then(|| coverage(&fixtures, &outcomes));
    let report = Report {
        fixtures: &fixtures,
        outcomes: &outcomes,
        coverage: coverage.as_ref(),
        schema: &schema,
        elapsed: began.elapsed(),
    };
    if let Some(file) = &args.junit {
        write_whole(file, report.junit().as_bytes())?;
    }
    print(&match args.format {
        TestFormat::Text => report.text(),
        TestFormat::Json => report.json(),
    })?;
    match report.counts() {
        (_, 0) => Ok(()),
        (passed, failed) => Err(Failure::failed(format!("{failed} of {} cases failed", passed + failed))),
    }
}

/// The component, and where its cases are.
fn what(args: &TestArgs) -> Result<(ComponentSource, Vec<PathBuf>), Failure> {
    let mut tests = PathBuf::from(TESTS);
    let component = match &args.plugin {
        Some(path) if !path.is_dir() => match built_in(path) {
            Some(component) => component,
            None => ComponentSource::File { path: path.clone(), sha256: None },
        },
        folder => {
            let root = folder.as_deref().unwrap_or(Path::new("."));
            let path = Project::load(root)?.component();
            if !path.is_file() {
                let problem = format!("{} is not there; build it first: sluice plugin build", path.display());
                return Err(Failure::usage(problem));
            }
            if root != Path::new(".") {
                tests = root.join(TESTS);
            }
            ComponentSource::File { path, sha256: None }
        }
    };
    if !args.tests.is_empty() {
        return Ok((component, args.tests.clone()));
    }
    if !tests.is_dir() {
        let problem = format!("there is no folder {}; {FIRST_CASE}", tests.display());
        return Err(Failure::usage(problem));
    }
    Ok((component, vec![tests]))
}

/// A built-in plugin is tested by its name, as a stage names it: what is tested then is its configuration.
fn built_in(name: &Path) -> Option<ComponentSource> {
    let (name, bytes) = BUILT_IN.iter().copied().find(|(known, _)| name == Path::new(known))?;
    (!name.is_empty()).then_some(ComponentSource::Embedded { name, bytes })
}

/// Writes what came out into the files, and says so; whether there was anything to write.
fn change(fixtures: &[Fixture], outcomes: &[Vec<Option<Outcome>>]) -> Result<bool, Failure> {
    let mut is_changed = false;
    for (fixture, outcomes) in fixtures.iter().zip(outcomes) {
        let Some((text, changes)) = update(fixture, outcomes) else { continue };
        is_changed = true;
        let file = &fixture.doc.file;
        write_whole(file, text.as_bytes())?;
        for change in changes {
            let place = format!("{}:{}", file.display(), change.line);
            if !change.keys.is_empty() {
                eprintln!("{place}: wrote {} of `{}`", change.keys.join(", "), change.case);
            }
            for key in change.not_written {
                eprintln!("{place}: {key} of `{}` is left alone; to have it written, say `{key} = [...]`", change.case);
            }
        }
    }
    Ok(is_changed)
}

fn fixture_failure(error: FixtureError) -> Failure {
    match error {
        FixtureError::Config(error) => Failure::Load(LoadError::Config(error)),
        error => Failure::usage(error.to_string()),
    }
}

/// The component cannot be run at all.
fn not_run(error: &dyn std::error::Error) -> Failure {
    Failure::usage(chain(error))
}
