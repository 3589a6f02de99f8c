//! The files of a new plugin project, by language: shared by the build script, which embeds them, and by tests.
//! A language is whatever folder of `sdk/` has a template; what of the SDK goes into a project is in the template's
//! `plugin.toml`.

use std::fs;
use std::path::{Path, PathBuf};

/// What builds and editors leave behind.
const LEFT_BEHIND: [&str; 10] =
    ["target", "build", "node_modules", "dist", "__pycache__", ".venv", ".zig-cache", "zig-out", ".git", ".DS_Store"];

/// Where the contract goes if the template does not say.
const WIT: (&str, &str) = ("sdk/wit", "../../../wit");

/// A language's files: where each goes in a project, and where it is here.
pub(crate) struct Source {
    pub(crate) language: String,
    /// Names in them are exchanged for the plugin's.
    pub(crate) template: Vec<(String, PathBuf)>,
    /// Copied as they are.
    pub(crate) sdk: Vec<(String, PathBuf)>,
}

/// Every language in `sdk` that has a template, by name.
///
/// # Errors
/// What of a template cannot be read.
pub(crate) fn collect(sdk: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (language, folder) in entries(sdk)? {
        let template = folder.join("template");
        let file = template.join("plugin.toml");
        if !file.exists() {
            continue;
        }
        let at = |problem: String| format!("{}: {problem}", file.display());
        let text = fs::read_to_string(&file).map_err(|error| at(error.to_string()))?;
        let mut copies = Vec::new();
        for (to, from) in vendored(&text).map_err(at)? {
            let from = template.join(from);
            if from.is_file() {
                copies.push((to, from));
            } else if from.is_dir() {
                walk(&from, &to, &mut copies)?;
            } else {
                return Err(at(format!("{} is not there", from.display())));
            }
        }
        let mut own = Vec::new();
        walk(&template, "", &mut own)?;
        sources.push(Source { language, template: own, sdk: copies });
    }
    Ok(sources)
}

/// `[new] sdk`: a table of `"folder or file in the project" = "source"`, or a list of folders whose contents go to
/// `sdk/`, and the contract to `sdk/wit/`. Sources are relative to the template.
fn vendored(plugin_toml: &str) -> Result<Vec<(String, String)>, String> {
    let table: toml::Table = plugin_toml.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let wrong = || "[new] sdk: must be a list of folders, or a table from places in the project to folders".to_owned();
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    let (to, from) = WIT;
    let wit = (to.to_owned(), from.to_owned());
    match table.get("new").and_then(|new| new.get("sdk")) {
        None => Ok(vec![wit]),
        Some(toml::Value::Array(folders)) => {
            let folders = folders.iter().map(|from| Ok(("sdk".to_owned(), text(from)?)));
            folders.chain([Ok(wit)]).collect()
        }
        Some(toml::Value::Table(places)) => places.iter().map(|(to, from)| Ok((to.clone(), text(from)?))).collect(),
        Some(_) => Err(wrong()),
    }
}

/// Whether a folder has nothing in it but what belongs there.
#[allow(dead_code, reason = "the build script watches such folders")]
pub(crate) fn is_clean(folder: &Path) -> bool {
    LEFT_BEHIND.iter().all(|name| !folder.join(name).exists())
}

/// The files below a folder, each with its path under `prefix`.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), String> {
    for (name, path) in entries(folder)? {
        let place = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if path.is_dir() {
            walk(&path, &place, files)?;
        } else {
            files.push((place, path));
        }
    }
    Ok(())
}

/// What is in a folder, by name, without what was left behind.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !LEFT_BEHIND.contains(&name.as_str()) {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
