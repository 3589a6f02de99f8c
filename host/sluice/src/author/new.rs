//! `sluice plugin new`: a project from the template and the SDK of a language, which are part of the binary.

use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use crate::author::print;
use crate::author::project::check_name;
use crate::failure::Failure;

/// What a project of one language is made of.
#[derive(Debug)]
struct Template {
    language: &'static str,
    /// Path in the project and contents; the plugin's name takes the place of `tenant-filter` in both.
    files: &'static [(&'static str, &'static [u8])],
    /// The same of the SDK, copied as it is.
    sdk: &'static [(&'static str, &'static [u8])],
}

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Name of the plugin in every template.
const NAME: &str = "tenant-filter";

/// The languages that there is a template for.
pub(crate) fn languages() -> PossibleValuesParser {
    PossibleValuesParser::new(TEMPLATES.iter().map(|template| template.language))
}

/// Makes the project, and says what comes next.
///
/// # Errors
/// A name that is none, a folder that has something in it, or one that cannot be written.
pub(super) fn new(name: &str, language: &str, dir: Option<&Path>) -> Result<(), Failure> {
    check_name(name).map_err(|problem| Failure::usage(format!("name {problem}")))?;
    let template = TEMPLATES.iter().find(|template| template.language == language);
    let template = template.expect("the command line takes no other language");
    let dir = dir.map_or_else(|| PathBuf::from(name), Path::to_owned);
    let shown = dir.display();
    match fs::read_dir(&dir).map(|entries| entries.count()) {
        Ok(1..) => return Err(Failure::usage(format!("{shown} is not empty; choose another folder with --dir"))),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::usage(format!("{shown}: {error}; choose another folder with --dir")));
        }
        Ok(0) | Err(_) => {}
    }
    for (place, contents) in template.files {
        write(&dir, &renamed(place, name), &personal(place, contents, name))?;
    }
    for (place, contents) in template.sdk {
        write(&dir, place, contents)?;
    }
    print(&format!(
        "made {shown}: a plugin in {language} that keeps large HTTPS flows and tags them with a customer\n\n\
         next:\n  cd {shown}\n  sluice plugin build     # writes build/{name}.wasm\n  \
         sluice plugin test      # runs tests/*.toml on it\n\nREADME.md says what is where.\n"
    ))
}

fn write(dir: &Path, place: &str, contents: &[u8]) -> Result<(), Failure> {
    let path = dir.join(place);
    let parent = path.parent().unwrap_or(dir);
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, contents));
    written.map_err(|error| Failure::running(path.display().to_string(), error))
}

/// A file of the template, as the plugin's own.
fn personal(place: &str, contents: &[u8], name: &str) -> Vec<u8> {
    // What is no text has no names in it.
    let Ok(text) = std::str::from_utf8(contents) else { return contents.to_vec() };
    let text = if place == "plugin.toml" { without_new(text) } else { text.to_owned() };
    renamed(&text, name).into_bytes()
}

/// `tenant-filter`, `tenant_filter` and `TenantFilter`, exchanged for the plugin's name in the same spelling.
fn renamed(text: &str, name: &str) -> String {
    let capitalised = |name: &str| -> String {
        let words = name.split('-');
        words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
    };
    let snake = |name: &str| name.replace('-', "_");
    // The name itself last: the others cannot come into being by it.
    text.replace(&capitalised(NAME), &capitalised(name)).replace(&snake(NAME), &snake(name)).replace(NAME, name)
}

/// `plugin.toml` without `[new]`, which is about making projects, and without the comment above that.
fn without_new(text: &str) -> String {
    let is_comment = |line: &str| line.starts_with('#');
    let mut kept: Vec<&str> = Vec::new();
    let mut is_in_new = false;
    let mut comments: Vec<&str> = Vec::new();
    for line in text.lines() {
        if is_comment(line) {
            comments.push(line);
            continue;
        }
        if line.starts_with('[') {
            is_in_new = line.starts_with("[new]") || line.starts_with("[new.");
        }
        let comments = std::mem::take(&mut comments);
        if !is_in_new {
            kept.extend(comments);
            kept.push(line);
        }
    }
    kept.extend(comments);
    let mut text = kept.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "../../templates.rs"]
mod templates;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_name_is_exchanged() {
        let text = "tenant-filter tenant_filter.wasm struct TenantFilter; tenant filter";
        assert_eq!(renamed(text, "drop-dns2"), "drop-dns2 drop_dns2.wasm struct DropDns2; tenant filter");
        assert_eq!(renamed(text, "tenant-filter"), text);
        assert_eq!(renamed("tenant_filter", "x"), "x");
    }

    #[test]
    fn how_a_template_is_vendored_is_not_part_of_a_project() {
        let text = "# About.\n\n[plugin]\nname = \"tenant-filter\"\n\n# Copied.\n[new]\nsdk = [\n  \"../x\",\n]\n\n# Built.\n[build]\n# Run.\ncommands = []\n";
        let expected = "# About.\n\n[plugin]\nname = \"tenant-filter\"\n\n# Built.\n[build]\n# Run.\ncommands = []\n";
        assert_eq!(without_new(text), expected);
        assert_eq!(without_new("[new.sdk]\n\"sdk\" = \"../x\"\n[build]\n"), "[build]\n");
    }

    /// A language, and the places of its template's and its SDK's files.
    type Places = (String, Vec<String>, Vec<String>);

    /// The places of a made-up language's files.
    fn collected(new: &str) -> Result<Vec<Places>, String> {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("wit/types.wit", "");
        put("sdk/made-up/lib/a.x", "");
        put("sdk/made-up/lib/deep/b.x", "");
        put("sdk/made-up/lib/node_modules/c.x", "");
        put("sdk/made-up/one.x", "");
        put("sdk/made-up/template/plugin.toml", new);
        put("sdk/made-up/template/src/tenant_filter.x", "");
        put("sdk/made-up/template/target/left.x", "");
        put("sdk/made-up/template/.gitignore", "");
        put("sdk/without-template/lib.x", "");
        let places = |files: Vec<(String, PathBuf)>| files.into_iter().map(|(place, _)| place).collect();
        let sources = templates::collect(&folder.path().join("sdk"))?;
        Ok(sources.into_iter().map(|source| (source.language, places(source.template), places(source.sdk))).collect())
    }

    #[test]
    fn a_language_is_a_folder_with_a_template_that_says_what_of_the_sdk_it_needs() {
        let own = [".gitignore", "plugin.toml", "src/tenant_filter.x"].map(str::to_owned);
        let check = |new: &str, sdk: &[&str]| {
            let sdk = sdk.iter().map(|place| (*place).to_owned()).collect();
            assert_eq!(collected(new), Ok(vec![("made-up".to_owned(), own.to_vec(), sdk)]));
        };
        check("", &["sdk/wit/types.wit"]);
        check("[new]\nsdk = [\"../lib\"]", &["sdk/a.x", "sdk/deep/b.x", "sdk/wit/types.wit"]);
        check(
            "[new.sdk]\n\"x/one.x\" = \"../one.x\"\n\"x/lib\" = \"../lib\"",
            &["x/lib/a.x", "x/lib/deep/b.x", "x/one.x"],
        );
        assert!(collected("[new]\nsdk = [\"../nothing\"]").unwrap_err().contains("../nothing is not there"));
        assert!(collected("[new]\nsdk = 1").unwrap_err().contains("[new] sdk: must be"));
    }

    #[test]
    fn every_template_has_what_a_project_needs() {
        for template in TEMPLATES {
            for needed in ["plugin.toml", "README.md", ".gitignore", "tests/filter.toml"] {
                let is_there = template.files.iter().any(|(place, _)| *place == needed);
                assert!(is_there, "{}: no {needed}", template.language);
            }
        }
    }

    #[test]
    fn the_cases_of_the_example_are_the_same_in_every_language() {
        let cases = |template: &Template| {
            let file = template.files.iter().find(|(place, _)| *place == "tests/filter.toml");
            file.map(|(_, contents)| String::from_utf8_lossy(contents).into_owned())
        };
        let first = cases(&TEMPLATES[0]);
        for template in TEMPLATES {
            assert_eq!(cases(template), first, "{}", template.language);
        }
    }
}
