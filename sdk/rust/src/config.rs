//! Reads a stage's `config` table.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Longest edit distance at which another key is suggested.
const NEAR: usize = 3;

/// The configuration of a plugin that has none: any key is an error.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Reads `config` (JSON, as [`Plugin::init`](crate::Plugin::init) gets it) into `T`.
///
/// Give `T` `#[serde(deny_unknown_fields)]`, so that a mistyped key is an error and not silence.
///
/// # Errors
/// What is wrong, under which key, and for an unknown key the nearest right one:
/// `` `thresholds`: unknown field `bps`, expected `bits` or `packets`; did you mean `bits`? ``
pub fn parse<T: DeserializeOwned>(config: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(config);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // The place in the JSON means nothing to who wrote TOML; the path does.
        let text = error.into_inner().to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        let hint = suggestion(text).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        match path.as_str() {
            "." | "?" | "" => format!("{text}{hint}"),
            // An unknown key is the last part of its own path: it is named once.
            path if text.starts_with("unknown field") => match path.rsplit_once('.') {
                Some((table, _)) => format!("`{table}`: {text}{hint}"),
                None => format!("{text}{hint}"),
            },
            path => format!("`{path}`: {text}{hint}"),
        }
    })
}

/// The one of `names` that is nearest to `name`, if one is near.
///
/// ```
/// assert_eq!(sluice_sdk::config::nearest("src_adr", ["src_addr", "bytes"]), Some("src_addr"));
/// assert_eq!(sluice_sdk::config::nearest("colour", ["src_addr", "bytes"]), None);
/// ```
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= NEAR && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The nearest of the names that serde's message lists, which are all in backticks, the wrong one first.
fn suggestion(message: &str) -> Option<&str> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    nearest(wrong, quoted)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, to) in b.chars().enumerate() {
            let left = row.get(j).copied().unwrap_or(usize::MAX);
            let Some(cell) = row.get_mut(j + 1) else { break };
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[allow(dead_code, reason = "only the messages matter here")]
        fields: Vec<String>,
        #[allow(dead_code, reason = "only the messages matter here")]
        limits: Option<Limits>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        #[allow(dead_code, reason = "only the messages matter here")]
        bits: u64,
    }

    fn check(config: &str, message: Expect) {
        message.assert_eq(&parse::<Config>(config).map_or_else(|error| error, |config| format!("{config:?}")));
    }

    #[test]
    fn a_wrong_key_is_named_with_its_table_and_the_nearest_right_one() {
        check(
            r#"{"field": []}"#,
            expect!["unknown field `field`, expected `fields` or `limits`; did you mean `fields`?"],
        );
        check(
            r#"{"fields": [], "limits": {"bitz": 1}}"#,
            expect!["`limits`: unknown field `bitz`, expected `bits`; did you mean `bits`?"],
        );
        check(
            r#"{"fields": [], "limits": {"bits": "x"}}"#,
            expect![[r#"`limits.bits`: invalid type: string "x", expected u64"#]],
        );
        check(r#"{"fields": ["a", 1]}"#, expect!["`fields[1]`: invalid type: integer `1`, expected a string"]);
        check("{}", expect!["missing field `fields`"]);
        check(r#"{"fields": []}"#, expect!["Config { fields: [], limits: None }"]);
    }

    #[test]
    fn a_plugin_without_configuration_refuses_any() {
        assert!(parse::<Nothing>("{}").is_ok());
        assert!(parse::<Nothing>(r#"{"a": 1}"#).is_err());
    }
}
