//! `sluice plugin build`: a project's own commands, then a component that the collector has taken once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sluice_plugin::{Limits, pack};

use crate::author::project::{BUILD, CommandLine, Output, Project, Tool};
use crate::author::{inspect, print, write_whole};
use crate::failure::Failure;

/// Builds the project in `dir`.
///
/// # Errors
/// What is wrong with `plugin.toml`, a tool that is missing, a command that fails, or why the collector does not
/// take the component.
pub(super) fn build(dir: &Path) -> Result<(), Failure> {
    let project = Project::load(dir)?;
    // Programs that are given by a path are found from here whatever folder they run in.
    let root = fs::canonicalize(dir).map_err(|error| Failure::running(dir.display().to_string(), error))?;
    let made = fs::create_dir_all(root.join(BUILD));
    made.map_err(|error| Failure::running(dir.join(BUILD).display().to_string(), error))?;

    let found: Vec<&CommandLine> =
        project.tools.iter().map(|tool| find(&project, &root, tool)).collect::<Result<_, _>>()?;
    for command in &project.commands {
        let words = expand(command.get_ref(), &project.tools, &found);
        eprintln!("+ {}", words.join(" "));
        let status = prepare(&project, &root, &words).stdout(Stdio::from(io::stderr())).status();
        let problem = match status {
            Ok(status) if status.success() => continue,
            Ok(status) => format!("`{}` failed: {status}", words.join(" ")),
            Err(error) => format!("`{}` cannot be run: {error}", words[0]),
        };
        return Err(Failure::failed(project.error(command.span(), "build.commands", problem).to_string()));
    }

    let component = project.component();
    write_whole(&component, &output(&project, &root)?)?;
    let inspected = inspect::look(&component, "{}", Limits::default().init_deadline_ms, &[])?;
    if let inspect::Init::Failed(problem) = &inspected.init {
        return Err(Failure::failed(format!("{}: {problem}", component.display())));
    }
    print(&inspect::summary(&component, &inspected))
}

/// The first of a tool's commands that works.
fn find<'p>(project: &'p Project, root: &Path, tool: &'p Tool) -> Result<&'p CommandLine, Failure> {
    let works = |candidate: &&CommandLine| {
        let mut words = (*candidate).clone();
        words.extend(tool.check.iter().cloned());
        let mut check = prepare(project, root, &words);
        check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    };
    tool.candidates.iter().find(works).ok_or_else(|| {
        let tried: Vec<String> =
            tool.candidates.iter().map(|words| format!("`{} {}`", words.join(" "), tool.check.join(" "))).collect();
        let problem = format!("not found: {} did not work; install it: {}", tried.join(" and "), tool.install);
        let path = format!("build.tools.{}", tool.name);
        Failure::failed(project.error(tool.span.clone(), &path, problem).to_string())
    })
}

/// The words of a command, with those of the tools that were found.
fn expand(words: &CommandLine, tools: &[Tool], found: &[&CommandLine]) -> CommandLine {
    let tool = |word: &String| tools.iter().position(|tool| word.strip_prefix('$') == Some(&tool.name));
    words.iter().flat_map(|word| tool(word).map_or_else(|| vec![word.clone()], |at| found[at].clone())).collect()
}

/// A command in the project's folder, with its environment.
fn prepare(project: &Project, root: &Path, words: &CommandLine) -> Command {
    let program = &words[0];
    // A path is one within the project; a name is looked up as everywhere.
    let program = if program.contains('/') { root.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.args(&words[1..]).current_dir(root).envs(&project.env);
    command
}

/// The component that the commands wrote, or what their core module becomes.
fn output(project: &Project, root: &Path) -> Result<Vec<u8>, Failure> {
    let (key, path) = match project.output.get_ref() {
        Output::Core(path, _) => ("build.core", path),
        Output::Component(path) => ("build.component", path),
    };
    let failed = |problem: String| Failure::failed(project.error(project.output.span(), key, problem).to_string());
    let bytes = fs::read(root.join(path)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed(format!("the commands did not write {}", path.display())),
        _ => failed(format!("{}: {error}", path.display())),
    })?;
    match project.output.get_ref() {
        Output::Core(_, renames) => {
            pack(&bytes, renames).map_err(|error| failed(format!("{}: {error}", path.display())))
        }
        Output::Component(_) => Ok(bytes),
    }
}
