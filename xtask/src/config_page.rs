//! The reference of the configuration file, made of the doc comments of the structs that read it.

use std::fs;

use crate::root;

const SOURCES: &str = "host/endpoints/src/sources";
const SINKS: &str = "host/endpoints/src/sinks";
const KAFKA: &str = "host/endpoints/src/kafka";
const CONFIG: &str = "host/sluice/src/config";
const KIT: &str = "host/kit/src";

/// A heading of the page: its text, the file, and the struct whose fields are its keys.
const SECTIONS: &[(&str, &str, &str, &str)] = &[
    ("Top of the file", CONFIG, "mod.rs", "Config"),
    ("`[admin]`", CONFIG, "sections.rs", "AdminConfig"),
    ("`[plugins]`", CONFIG, "sections.rs", "PluginsConfig"),
    ("`[sources.NAME]`", CONFIG, "mod.rs", "Source"),
    ("`[sources.NAME]` with `type = \"udp\"`", SOURCES, "udp.rs", "UdpConfig"),
    ("`[sources.NAME]` with `type = \"capture\"`", SOURCES, "capture.rs", "CaptureConfig"),
    ("`[sources.NAME.limits]`", SOURCES, "limits.rs", "LimitsConfig"),
    ("`[sources.NAME]` with `type = \"kafka\"`", SOURCES, "kafka/mod.rs", "KafkaSourceConfig"),
    ("`[stages.NAME]`", CONFIG, "mod.rs", "Stage"),
    ("`grant` of a stage", KIT, "lent.rs", "GrantConfig"),
    ("`limits` of a stage", KIT, "lent.rs", "LimitsConfig"),
    ("`quarantine` of a stage", CONFIG, "sections.rs", "QuarantineConfig"),
    ("`record` of a stage", CONFIG, "sections.rs", "RecordConfig"),
    ("`[tenants.NAME]`", CONFIG, "tenants.rs", "Tenant"),
    ("`[sinks.NAME]`", CONFIG, "mod.rs", "Sink"),
    ("`[sinks.NAME]` with `type = \"stdout\"`", SINKS, "stdout.rs", "StdoutConfig"),
    ("`[sinks.NAME]` with `type = \"file\"`", SINKS, "file.rs", "FileConfig"),
    ("`[sinks.NAME]` with `type = \"events\"`", SINKS, "events.rs", "EventsConfig"),
    ("`[sinks.NAME]` with `type = \"kafka\"`", SINKS, "kafka/mod.rs", "KafkaSinkConfig"),
    ("`create_topics` of a Kafka sink", SINKS, "kafka/mod.rs", "CreateTopics"),
    ("`buffer` of a Kafka sink", SINKS, "kafka/mod.rs", "BufferConfig"),
    ("`dead_letter` of a Kafka source or sink", KAFKA, "dead_letter.rs", "DeadLetterConfig"),
    ("`tls` of a Kafka source or sink", KAFKA, "connection.rs", "TlsConfig"),
    ("`sasl` of a Kafka source or sink", KAFKA, "connection.rs", "SaslConfig"),
    ("`[tables.NAME]` with `type = \"prefix\"`", KIT, "lent.rs", "PrefixConfig"),
    ("`[tables.NAME]` with `type = \"mmdb\"`", KIT, "lent.rs", "MmdbConfig"),
    ("`[tables.NAME]` with `type = \"values\"`", KIT, "lent.rs", "ValuesConfig"),
    ("`[keys.NAME]`", KIT, "lent.rs", "KeyConfig"),
    ("`[assets.NAME]`", KIT, "lent.rs", "AssetConfig"),
    ("`[columns.NAME]`", CONFIG, "sections.rs", "ColumnConfig"),
    ("`element` of a column", CONFIG, "sections.rs", "ElementConfig"),
];

/// Where the settings of librdkafka stand that sluice makes itself (`OWN`), and whose they are.
const OWN_SETTINGS: &[(&str, &str, &str)] = &[("source", SOURCES, "kafka/mod.rs"), ("sink", SINKS, "kafka/mod.rs")];

const LIBRDKAFKA: &str = "\
Names and values of [librdkafka](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md); they go before what
sluice sets otherwise. `sluice check` finds wrong names and values. Some are sluice's own:
";

const INTRODUCTION: &str = "\
Sources, stages, tenants and sinks are named tables, wired by `inputs`; names are letters, digits, `_` and `-`. Unknown keys are
errors. Relative paths count from the folder of the file. `sluice check FILE` finds every mistake without opening a socket.

`inputs` of a stage or sink name sources and stages: `\"NAME\"` is all its rows, `\"NAME.*\"` its rows that have a route,
`\"NAME.ROUTE\"` the rows of one route, `\"NAME.dead-letter\"` the rows that a stage with `on_error = \"dead-letter\"` could not
process. `inputs` of an `events` sink name the stages whose alerts it takes. The `null` sink has no keys of its own.

The `config` of a stage belongs to its plugin: [enricher](../../plugins/enricher/README.md),
[splitter](../../plugins/splitter/README.md), [reducer](../../plugins/reducer/README.md),
[dos-detector](../../plugins/dos-detector/README.md), [select](../../plugins/select/README.md).
";

/// The whole page.
///
/// # Errors
/// A struct that is no longer where the list says, or has a key without a word about it.
pub(crate) fn page(generated: &str) -> Result<String, String> {
    let mut text = format!("# The configuration file\n\n{generated}\n\n{INTRODUCTION}");
    for (heading, folder, file, name) in SECTIONS {
        let path = root().join(folder).join(file);
        let source = fs::read_to_string(&path).map_err(|error| format!("{folder}/{file}: {error}"))?;
        let keys = keys(&source, name).ok_or_else(|| format!("{folder}/{file}: no struct {name}"))?;
        if let Some((key, _)) = keys.iter().find(|(_, doc)| doc.is_empty()) {
            return Err(format!("{folder}/{file}: {name}.{key} has no doc comment"));
        }
        text.push_str(&format!("\n## {heading}\n\n| key | meaning |\n|---|---|\n"));
        for (key, doc) in keys {
            text.push_str(&format!("| `{key}` | {} |\n", doc.replace('|', "\\|")));
        }
    }
    text.push_str(&format!("\n## `librdkafka` of a Kafka source or sink\n\n{LIBRDKAFKA}\n"));
    text.push_str("| setting | of a | instead |\n|---|---|---|\n");
    for (whose, folder, file) in OWN_SETTINGS {
        let path = root().join(folder).join(file);
        let source = fs::read_to_string(&path).map_err(|error| format!("{folder}/{file}: {error}"))?;
        let own = own_settings(&source).ok_or_else(|| format!("{folder}/{file}: no list `OWN`"))?;
        for (setting, instead) in own {
            text.push_str(&format!("| `{setting}` | {whose} | {instead} |\n"));
        }
    }
    Ok(text)
}

/// The pairs of the list `OWN`, one a line; `None` if it is not there or a line of it is not a pair.
fn own_settings(source: &str) -> Option<Vec<(String, String)>> {
    let (_, list) = source.split_once("const OWN: ")?;
    let (_, list) = list.split_once('\n')?;
    let lines = list.lines().map(str::trim).take_while(|line| *line != "];");
    let pairs = lines.map(|line| {
        let (setting, instead) = line.strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \"")?;
        Some((setting.to_owned(), instead.replace("\\\"", "\"")))
    });
    pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty())
}

/// Keys of a struct with their doc comments. Where one comment begins with the key (`` `queue`: ``), the
/// struct is one that is filled by hand, and only such fields are keys.
fn keys(source: &str, name: &str) -> Option<Vec<(String, String)>> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let start = lines.iter().position(|line| line.ends_with(&format!("struct {name} {{")))?;
    let mut keys = Vec::new();
    let mut doc = String::new();
    for line in lines[start + 1..].iter().take_while(|line| **line != "}") {
        if let Some(words) = line.strip_prefix("///") {
            if !doc.is_empty() {
                doc.push(' ');
            }
            doc.push_str(words.trim());
        } else if let Some((field, _)) = line.split_once(": ")
            && !line.starts_with("#[")
        {
            let field = field.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            keys.push((field.to_owned(), std::mem::take(&mut doc)));
        }
    }
    let by_hand: Vec<(String, String)> = keys
        .iter()
        .filter_map(|(_, doc)| {
            let (key, meaning) = doc.strip_prefix('`')?.split_once('`')?;
            let meaning = meaning.strip_prefix(':')?.trim();
            let is_key = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            is_key.then(|| (key.to_owned(), capitalised(meaning)))
        })
        .collect();
    Some(if by_hand.is_empty() { keys } else { by_hand })
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_their_meanings_are_read_from_a_struct() {
        let source =
            "pub struct A {\n    /// Rows that close\n    /// a batch.\n    #[serde(default)]\n    pub rows: u32,\n}\n";
        assert_eq!(keys(source, "A"), Some(vec![("rows".to_owned(), "Rows that close a batch.".to_owned())]));
        let by_hand = "struct B {\n    /// `queue`: batches that wait.\n    queue: usize,\n    kind: Kind,\n}\n";
        assert_eq!(keys(by_hand, "B"), Some(vec![("queue".to_owned(), "Batches that wait.".to_owned())]));
        assert_eq!(keys(source, "C"), None);
    }

    #[test]
    fn own_settings_are_pairs_one_a_line() {
        let source = "const OWN: &[(&str, &str)] = &[\n    (\"a.b\", \"use \\\"c\\\"\"),\n];\n(\"no\", \"no\"),\n";
        assert_eq!(own_settings(source), Some(vec![("a.b".to_owned(), "use \"c\"".to_owned())]));
        assert_eq!(own_settings(&source.replace("a.b\", ", "a.b\",\n")), None);
        assert_eq!(own_settings("const OTHER: u8 = 1;"), None);
    }
}
