//! Tables of values, from a capture through the enricher into a file; in a process of its own, recorded and replayed, and as a
//! case of `sluice plugin test`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::tool::{Running, netflow5, sluice};

/// Runs a collector over 40 flows, with names for what they have numbers for, and `more` in the stage; what it wrote.
fn rows(folder: &Path, more: &str) -> Vec<Value> {
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    // A raw datagram is of the exporter 127.0.0.1; input and output interface are 1 and 2, the port is 443, by TCP.
    let interfaces = "exporter,in_if,name,speed\n127.0.0.1,1,ge-0/0/1,fast\n127.0.0.1,3,ge-0/0/3,\n";
    file("interfaces.csv", &format!("{interfaces}127.0.0.1,2,,10000\n2001:db8::1,2,ge-0/0/2,\n"));
    file("nets.csv", "prefix,cid,site\n192.0.2.0/24,7,south\n192.0.2.7,7,\n");
    file("services.csv", "# by hand\n0x1bb,\"https, \"\"tls\"\"\"\n80,http\n");
    file("uses.csv", "17,443,quic\n6,443,web\n");
    file("racks.csv", "192.0.2.7,12\n192.0.2.8,300\n192.0.2.9,A\n");
    fs::create_dir_all(folder.join("old")).unwrap();
    for sequence in 0..4_u32 {
        let hosts: Vec<u8> = (0..10).collect();
        fs::write(folder.join(format!("old/{sequence}.bin")), netflow5(sequence * 10, &hosts)).unwrap();
    }
    let tables = ["services", "uses", "racks"];
    let tables = tables.map(|name| format!("[tables.{name}]\ntype = \"values\"\npath = \"{name}.csv\"\n")).concat();
    let text = format!(
        r#"
        workers = 1
        [sources.old]
        type = "capture"
        paths = ["old"]
        batch_rows = 20

        [columns.use]
        width = "text"
        [columns.rack]
        width = "u8"

        {tables}
        [tables.interfaces]
        type = "values"
        path = "interfaces.csv"
        column = "name"
        key_columns = 2
        [tables.speeds]
        type = "values"
        path = "interfaces.csv"
        column = "4"
        key_columns = 2
        [tables.customers]
        type = "prefix"
        path = "nets.csv"
        column = "cid"
        [tables.sites]
        type = "prefix"
        path = "nets.csv"
        column = "site"

        [columns.site]
        width = "text"
        [stages.named]
        inputs = ["old"]
        plugin = "enricher"
        grant = {{ read = ["*"], write = ["*"], tables = ["interfaces", "speeds", "services", "uses", "racks", "customers", "sites"] }}
        {more}
        [stages.named.config]
        interfaces = {{ names = "interfaces", speeds = "speeds" }}
        customers = {{ table = "customers" }}
        names = [
            {{ table = "services", key = ["dst_port"], column = "note" }},
            {{ table = "uses", key = ["proto", "dst_port"], column = "use" }},
            {{ table = "racks", key = ["dst_addr"], column = "rack" }},
            {{ table = "sites", key = ["dst_addr"], column = "site" }},
        ]

        [sinks.rows]
        type = "file"
        inputs = ["named"]
        path = "rows.json"
        "#
    );
    fs::write(folder.join("sluice.toml"), text).unwrap();
    fs::remove_file(folder.join("rows.json")).unwrap_or_default();
    let ended = Running::start(&folder.join("sluice.toml")).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("named"), (40, 40, 0));
    assert_eq!(ended.books("rows"), (40, 40, 0));
    // Each is said once, whatever the number of rows.
    let complaint = |part: &str| assert_eq!(ended.log.matches(part).count(), 1, "{part}: {}", ended.log);
    complaint("the value `fast` of the table `speeds` is no number that `src_if_speed` has room for");
    complaint("of the table `racks` is no number that `rack` has room for; it and others like it count as none");
    let rows = fs::read_to_string(folder.join("rows.json")).unwrap();
    rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn numbers_and_addresses_become_names_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(folder.path(), "");
    assert_eq!(rows.len(), 40);
    for row in &rows {
        let (rack, site) = if row["dst_addr"] == "192.0.2.7" { (12, "") } else { (0, "south") };
        assert_eq!((&row["dst_customer_id"], row["site"].as_str().unwrap_or("")), (&json!(7), site), "{row}");
        let of = |name: &str| row.get(name).cloned().unwrap_or(Value::Null);
        let is_nothing = |value: Value| [Value::Null, json!(""), json!(0)].contains(&value);
        assert_eq!(
            (of("src_if_name"), of("note"), of("use")),
            (json!("ge-0/0/1"), json!("https, \"tls\""), json!("web"))
        );
        assert!(is_nothing(of("dst_if_name")) && is_nothing(of("src_if_speed")), "{row}");
        assert_eq!((of("dst_if_speed"), of("rack").as_u64().unwrap_or(0)), (json!(10_000), rack));
    }
}

#[test]
fn names_are_the_same_in_a_process_of_its_own() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(rows(here.path(), ""), rows(there.path(), "isolation = \"process\""));
}

#[test]
fn a_call_is_recorded_with_its_tables_replayed_and_kept_as_a_case() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    rows(path, "record = { dir = \"recordings\", every = 2 }");
    let recording = fs::read_dir(path.join("recordings")).unwrap().next().unwrap().unwrap().path();
    // What was looked up is in it: the files may go.
    for table in ["interfaces", "services", "uses", "racks", "nets"] {
        fs::remove_file(path.join(format!("{table}.csv"))).unwrap();
    }
    let say = |args: &[&str]| {
        let output = sluice().current_dir(path).args(["--log=error", "plugin"]).args(args).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), said)
    };
    let recording = recording.to_str().unwrap();
    let (code, said) = say(&["replay", recording, "--save-case", "tests"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("reproduced"), "{said}");
    let case = fs::read_dir(path.join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let case = case.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "toml")).unwrap();
    let text = fs::read_to_string(case).unwrap();
    assert_eq!(text.matches("type = \"values\"").count(), 5, "{text}");
    assert_eq!(text.matches("column = \"cid\"").count(), 1, "{text}");
    assert_eq!(text.matches("key_columns = 2").count(), 2, "{text}");
}

#[test]
fn a_case_has_tables_of_values_and_a_wrong_name_fails_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("tests")).unwrap();
    fs::write(path.join("tests/names.csv"), "192.0.2.1,3,ge-0/0/3\n2001:db8::1,3,ge-0/0/4\n").unwrap();
    let case = |name: &str| {
        let text = format!(
            r#"
            [[case]]
            name = "interfaces have names"
            config = {{ interfaces = {{ names = "if-names" }} }}
            rows = [
                {{ exporter_addr = "192.0.2.1", in_if = 3 }},
                {{ exporter_addr = "2001:db8::1", in_if = 4, out_if = 3 }},
            ]
            [case.tables.if-names]
            type = "values"
            path = "names.csv"
            [case.expect]
            rows = [{{ src_if_name = "{name}", dst_if_name = "" }}, {{ src_if_name = "", dst_if_name = "ge-0/0/4" }}]
            "#
        );
        fs::write(path.join("tests/a.toml"), text).unwrap();
        let output = sluice().current_dir(path).args(["--log=error", "plugin", "test", "enricher"]).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), said)
    };
    let (code, said) = case("ge-0/0/3");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = case("ge-0/0/5");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_number_in_a_table_of_prefixes_is_answered_by_check_with_what_the_table_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    file("nets.csv", "192.0.2.0/24,here\n");
    for isolation in ["", "isolation = \"process\""] {
        let text = format!(
            r#"
            [sources.old]
            type = "udp"
            listen = "127.0.0.1:0"
            [tables.nets]
            type = "prefix"
            path = "nets.csv"
            [stages.named]
            inputs = ["old"]
            plugin = "enricher"
            config = {{ names = [{{ table = "nets", key = ["dst_port"], column = "note" }}] }}
            {isolation}
            [sinks.rows]
            type = "null"
            inputs = ["named"]
            "#
        );
        file("sluice.toml", &text);
        let output = sluice().current_dir(folder.path()).args(["--log=warn", "check", "sluice.toml"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let problem = "`names[0].table` does not fit: the table `nets` is of type `prefix`; \
                       to look up a number takes `values` with a number a line";
        assert!(said.contains(problem), "{said}");
    }
}
