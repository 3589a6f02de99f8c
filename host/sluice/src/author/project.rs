//! A plugin's project: its folder and what `plugin.toml` says about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sluice_plugin::Renames;
use toml::Spanned;

use crate::config::{ConfigError, Document, Table, did_you_mean};
use crate::failure::Failure;

/// Name of the file that makes a folder a project.
const FILE: &str = "plugin.toml";

/// Folder of the project that builds write to.
pub(super) const BUILD: &str = "build";

/// `plugin.toml`.
#[derive(Debug)]
pub(super) struct Project {
    /// The folder it is in.
    pub(super) root: PathBuf,
    /// `name`: lower-case letters, digits and `-`.
    pub(super) name: String,
    /// Run in order.
    pub(super) commands: Vec<Spanned<CommandLine>>,
    /// What the commands write.
    pub(super) output: Spanned<Output>,
    /// Environment of the commands.
    pub(super) env: BTreeMap<String, String>,
    pub(super) tools: Vec<Tool>,
    doc: Document,
}

/// A command: words, of which `$zig` stands for the command of a tool.
pub(super) type CommandLine = Vec<String>;

/// What a build's commands write, relative to the project's folder.
#[derive(Debug)]
pub(super) enum Output {
    /// A core module, to be packed.
    Core(PathBuf, Renames),
    /// A component.
    Component(PathBuf),
}

/// `[build.tools.NAME]`: a program that has to be there.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: String,
    /// `try`: commands that may be it, the best first.
    pub(super) candidates: Vec<CommandLine>,
    /// `check`: arguments with which it ends well if it can be used.
    pub(super) check: CommandLine,
    /// `install`: what to run if there is none.
    pub(super) install: String,
    pub(super) span: std::ops::Range<usize>,
}

impl Project {
    /// Reads `plugin.toml` in `root`.
    ///
    /// # Errors
    /// If it is not there, or has a mistake: with file, line and column.
    pub(super) fn load(root: &Path) -> Result<Project, Failure> {
        let file = if root == Path::new(".") { PathBuf::from(FILE) } else { root.join(FILE) };
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok(parse(Document::new(&file, text), root)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::usage(format!(
                "{}: there is no such file; run this in a plugin's folder, or make one with: sluice plugin new NAME --lang LANGUAGE",
                file.display()
            ))),
            Err(error) => Err(Failure::usage(format!("{}: {error}", file.display()))),
        }
    }

    /// An error at a place of the file.
    pub(super) fn error(&self, span: std::ops::Range<usize>, path: &str, problem: impl Into<String>) -> ConfigError {
        self.doc.error(span, path, problem)
    }

    /// Where a build leaves the component.
    pub(super) fn component(&self) -> PathBuf {
        // `./build/x.wasm` would be the same file under a longer name.
        let root = if self.root == Path::new(".") { Path::new("") } else { &self.root };
        root.join(BUILD).join(format!("{}.wasm", self.name))
    }
}

fn parse(doc: Document, root: &Path) -> Result<Project, ConfigError> {
    let mut top = doc.parse()?;
    let absent = |what: &str| doc.error(0..0, "", format!("no `[{what}]`; see docs/reference/plugin-toml.md"));

    if let Some(new) = top.table(&doc, "new")? {
        let problem = "this is a template; make a project of it with: sluice plugin new NAME --lang LANGUAGE";
        return Err(doc.error(new.span(""), "", problem));
    }
    top.only(&doc, &["plugin", "build"])?;
    let mut plugin = top.table(&doc, "plugin")?.ok_or_else(|| absent("plugin"))?;
    plugin.only(&doc, &["name", "language"])?;
    let name: Spanned<String> = plugin.need(&doc, "name", "\"tenant-filter\"")?;
    check_name(name.get_ref()).map_err(|problem| doc.error(name.span(), "plugin.name", problem))?;
    // For people and their tools; nothing depends on it.
    plugin.take::<String>(&doc, "language")?;

    let mut build = top.table(&doc, "build")?.ok_or_else(|| absent("build"))?;
    build.only(&doc, &["commands", "core", "component", "rename", "env", "tools"])?;
    let tools = tools(&doc, &mut build)?;
    let lines: Vec<Spanned<String>> = build.need(&doc, "commands", "[\"make\"]")?;
    let commands = lines.into_iter().map(|line| command(&doc, &line, &tools)).collect::<Result<_, _>>()?;
    let output = output(&doc, &mut build)?;
    let env = build.take(&doc, "env")?.unwrap_or_default();
    Ok(Project { root: root.to_owned(), name: name.into_inner(), commands, output, env, tools, doc })
}

fn output(doc: &Document, build: &mut Table<'_>) -> Result<Spanned<Output>, ConfigError> {
    let core: Option<Spanned<PathBuf>> = build.take(doc, "core")?;
    let component: Option<Spanned<PathBuf>> = build.take(doc, "component")?;
    let rename: Option<Spanned<Renames>> = build.take(doc, "rename")?;
    let error = |span, problem: &str| Err(doc.error(span, "build", problem));
    match (core, component, rename) {
        (Some(core), None, rename) => {
            let renames = rename.map(Spanned::into_inner).unwrap_or_default();
            let span = core.span();
            Ok(Spanned::new(span, Output::Core(core.into_inner(), renames)))
        }
        (None, Some(_), Some(rename)) => error(rename.span(), "`rename` is for a core module; leave it out"),
        (None, Some(component), None) => {
            let span = component.span();
            Ok(Spanned::new(span, Output::Component(component.into_inner())))
        }
        (Some(_), Some(component), _) => error(component.span(), "`core` and `component`: only one is the output"),
        (None, None, _) => error(
            build.span(""),
            "no `core` and no `component`; add the file that the commands write: `core = \"build/core.wasm\"`",
        ),
    }
}

fn tools(doc: &Document, build: &mut Table<'_>) -> Result<Vec<Tool>, ConfigError> {
    let mut tools = Vec::new();
    for (name, mut table) in build.tables(doc, "tools")? {
        let span = table.span("");
        table.only(doc, &["try", "check", "install"])?;
        let candidates: Vec<Spanned<String>> = table.need(doc, "try", "[\"zig\"]")?;
        let check: Spanned<String> = table.need(doc, "check", "\"--version\"")?;
        let install = table.need(doc, "install", "\"pip install ziglang\"")?;
        let words = |line: &Spanned<String>| {
            split(line.get_ref()).map_err(|problem| doc.error(line.span(), &table.path, problem))
        };
        let candidates = candidates.iter().map(words).collect::<Result<Vec<_>, _>>()?;
        if candidates.iter().any(Vec::is_empty) || candidates.is_empty() {
            return Err(doc.error(span, &table.path, "`try` has no command; add one: `try = [\"zig\"]`"));
        }
        let check = words(&check)?;
        tools.push(Tool { name, candidates, check, install, span });
    }
    Ok(tools)
}

fn command(doc: &Document, line: &Spanned<String>, tools: &[Tool]) -> Result<Spanned<CommandLine>, ConfigError> {
    let error = |problem: String| doc.error(line.span(), "build.commands", problem);
    let words = split(line.get_ref()).map_err(&error)?;
    if words.is_empty() {
        return Err(error("a command without words".to_owned()));
    }
    for name in words.iter().filter_map(|word| word.strip_prefix('$')) {
        if !tools.iter().any(|tool| tool.name == name) {
            let near = did_you_mean(name, tools.iter().map(|tool| tool.name.as_str()));
            return Err(error(format!("`${name}` is no tool; add `[build.tools.{name}]`{near}")));
        }
    }
    Ok(Spanned::new(line.span(), words))
}

/// The words of a command. Quotes keep blanks together; nothing else means anything.
fn split(line: &str) -> Result<CommandLine, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(format!("the quote {open} is not closed")),
        None => Ok(words),
    }
}

/// Longest name of a plugin.
const MAX_NAME: usize = 64;

/// Names that a compiler or the SDK has taken.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "sluice",
    "sluice-sdk",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Checks that a name can be that of a crate, a module and a file.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(is_word);
    if !is_good {
        return Err(format!(
            "`{name}` must be lower-case letters, digits and single `-`, a letter first: tenant-filter"
        ));
    }
    if name.len() > MAX_NAME {
        return Err(format!("`{name}` has more than {MAX_NAME} letters"));
    }
    if TAKEN.contains(&name) {
        return Err(format!("`{name}` means something to a compiler; add a word: {name}-filter"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words_and_quotes_hold_blanks() {
        let words = |line| split(line).unwrap();
        assert_eq!(words("$zig cc -o  build/core.wasm"), ["$zig", "cc", "-o", "build/core.wasm"]);
        assert_eq!(words("go build -ldflags='-s -w' \"\""), ["go", "build", "-ldflags=-s -w", ""]);
        assert_eq!(split("echo 'a"), Err("the quote ' is not closed".to_owned()));
    }

    #[test]
    fn a_name_is_good_for_every_language() {
        for good in ["tenant-filter", "a", "x2", "match-https"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "Tenant", "a_b", "2x", "a b", "../x", "match", "sluice-sdk", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }
}
