use expect_test::{Expect, expect};

use super::*;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::standard())
}

fn read(text: &str) -> Result<Vec<Row>, ConfigError> {
    let doc = Document::new(std::path::Path::new("a.toml"), text.to_owned());
    let rows = doc.parse()?.value("rows").expect("rows are there");
    from_toml(&doc, "case", rows, &schema())
}

fn refused(rows: &str, expected: Expect) {
    expected.assert_eq(&read(&format!("rows = [\n  {rows},\n]\n")).unwrap_err().to_string());
}

const EVERY_KIND: &str = r#"[
  { proto = 6, bytes = 18446744073709551615, src_addr = "192.0.2.1", src_mac = "00:00:5e:00:53:01", as_path = [64496, 64497], note = "a \"b\" \\ c\u0001" },
  { dst_addr = "2001:db8::5" },
  {},
]"#;

#[test]
fn rows_come_back_from_a_batch_as_they_were_written() {
    let rows = read(&format!("rows = {EVERY_KIND}")).unwrap();
    let batch = to_batch(&rows, &schema(), 3, 5);
    assert_eq!((batch.rows(), batch.id(), batch.now_ms()), (3, 3, 5));
    let back = of_batch(&batch);
    assert_eq!(back[0].get("bytes"), Some(&Value::Number(u64::MAX)));
    assert_eq!(back[2], Row::default());
    // In the order of the columns' numbers; read again, they are the same.
    let text = to_toml(&back);
    assert_eq!(to_toml(&of_batch(&to_batch(&read(&format!("rows = {text}")).unwrap(), &schema(), 1, 1))), text);
    expect![[r#"
        [
          { src_addr = "192.0.2.1", bytes = 18446744073709551615, proto = 6, src_mac = "00:00:5e:00:53:01", as_path = [64496, 64497], note = "a \"b\" \\ c\u0001" },
          { dst_addr = "2001:db8::5" },
          {},
        ]"#]].assert_eq(&text);
    expect![[r#"{"src_addr":"192.0.2.1","bytes":18446744073709551615,"proto":6,"src_mac":"00:00:5e:00:53:01","as_path":[64496,64497],"note":"a \"b\" \\ c\u0001"}"#]]
        .assert_eq(&serde_json::to_string(&back[0]).unwrap());
    assert_eq!(to_toml(&[]), "[]");
}

#[test]
fn a_column_is_there_as_soon_as_a_row_names_it() {
    let batch = to_batch(&read("rows = [{ bytes = 0 }, { proto = 6 }]").unwrap(), &schema(), 1, 1);
    assert!(batch.has(col::BYTES) && batch.has(col::PROTO) && !batch.has(col::DST_PORT));
}

#[test]
fn a_mistake_in_a_row_has_its_place_what_is_there_and_what_is_right() {
    refused("{ dst_prot = 1 }", expect!["a.toml:2:5: case: there is no column `dst_prot`; did you mean `dst_port`?"]);
    refused("{ dst_port = 70000 }", expect!["a.toml:2:16: case: `dst_port` holds 70000, not a number from 0 to 65535"]);
    refused("{ dst_port = -1 }", expect!["a.toml:2:16: case: `dst_port` holds -1, not a number from 0 to 65535"]);
    refused("{ proto = \"TCP\" }", expect![[r#"a.toml:2:13: case: `proto` holds "TCP", not a number from 0 to 255"#]]);
    refused(
        "{ src_addr = \"192.0.2\" }",
        expect![[
            r#"a.toml:2:16: case: `src_addr` holds "192.0.2", not an address such as "192.0.2.1" or "2001:db8::1""#
        ]],
    );
    refused(
        "{ src_addr = 5 }",
        expect![[r#"a.toml:2:16: case: `src_addr` holds 5, not an address such as "192.0.2.1" or "2001:db8::1""#]],
    );
    refused(
        "{ src_addr_hi = 5 }",
        expect![[r#"a.toml:2:5: case: `src_addr_hi` is half an address; write `src_addr = "192.0.2.1"`"#]],
    );
    refused(
        "{ as_path = [1, 4294967296] }",
        expect!["a.toml:2:15: case: `as_path` holds [1, 4294967296], not a list of numbers from 0 to 4294967295"],
    );
    refused("{ note = 5 }", expect!["a.toml:2:12: case: `note` holds 5, not a text in quotes"]);
    refused(
        "{ src_mac = \"00:11\" }",
        expect![[r#"a.toml:2:15: case: `src_mac` holds "00:11", not a MAC address such as "00:00:5e:00:53:01""#]],
    );
    refused("7", expect!["a.toml:2:3: case: must be an array of rows: [{ proto = 6, dst_port = 443 }]"]);
    expect!["a.toml:1:8: case: must be an array of rows: [{ proto = 6, dst_port = 443 }]"]
        .assert_eq(&read("rows = 1").unwrap_err().to_string());
}

/// The rows of a file with this name and content, or the error without the folder.
fn file(name: &str, content: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    match read_file(&path, &schema(), 1_700_000_000_000) {
        Ok(read) => to_toml(&of_batch(&read.batch)),
        Err(error) => error.to_string().replace(&format!("{}/", folder.path().display()), ""),
    }
}

#[test]
fn csv_has_a_line_of_names_and_cells_that_may_be_quoted_or_empty() {
    let text = "# a comment\nproto, src_addr ,note,as_path\r\n6,192.0.2.1,\"a, \"\"b\"\"\",1 2\r\n\n17,,,\n";
    expect![[r#"
        [
          { src_addr = "192.0.2.1", proto = 6, as_path = [1, 2], note = "a, \"b\"" },
          { proto = 17 },
        ]"#]]
    .assert_eq(&file("a.csv", text));
    let errors =
        ["", "proto,dst_prot\n", "proto,proto\n", "proto\n6,7\n", "proto\n\n256\n", "note\n\"a\n", "note\n\"a\"b\n"];
    let said: Vec<String> = errors.iter().map(|text| file("a.csv", text)).collect();
    expect![[r#"
        a.csv:1:1: no line of names; write e.g. `proto,dst_port,bytes`
        a.csv:1:7: there is no column `dst_prot`; did you mean `dst_port`?
        a.csv:1:7: column `proto` comes twice
        a.csv:2:1: values: 2, but names in the first line: 1
        a.csv:3:1: `proto` holds `256`, not a number from 0 to 255
        a.csv:2:1: the quotes do not end
        a.csv:2:4: expected `,` or the end of the line behind the quotes"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn json_is_objects_by_line_over_lines_or_in_an_array_with_goflow2s_names_too() {
    let rows = "{\"proto\":\"TCP\",\"sampler_address\":\"192.0.2.9\"}";
    let lines = file("a.json", format!("{rows}\n{{\n \"note\": \"}}\\\"{{\"\n}}\n"));
    expect![[r#"
        [
          { exporter_addr = "192.0.2.9", proto = 6 },
          { note = "}\"{" },
        ]"#]]
    .assert_eq(&lines);
    assert_eq!(file("a.ndjson", format!("[{rows}, {{\"note\":\"}}\\\"{{\"}}]")), lines);
    let errors =
        ["{\"proto\":6}\n{\"dst_prot\":1}", "{\"proto\":\n 256}", "{\"bytes\":[]}", "{\"bytes\":1", "7", "{\"a\"}"];
    let said: Vec<String> = errors.iter().map(|text| file("a.json", text)).collect();
    expect![[r#"
        a.json:2:2: there is no column `dst_prot`; did you mean `dst_port`?
        a.json:1:2: `proto` holds `256`, not the name or number of a protocol
        a.json:1:2: `bytes` holds a list, not a number in the range of the column
        a.json:1:1: the object does not end
        a.json:1:1: expected an object: { "proto": 6, "dst_port": 443 }
        a.json:1:1: the object is not JSON: expected `:` at line 1 column 5"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn a_capture_is_decoded_and_what_could_not_be_is_told() {
    let mut datagram = vec![0, 5, 0, 1, 0, 54, 238, 128, 101, 83, 241, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    datagram.extend([198, 51, 100, 1, 192, 0, 2, 7]);
    datagram.resize(24 + 48, 0);
    datagram[24 + 38] = 6;
    let read = file("old.bin", &datagram);
    assert!(read.contains("src_addr = \"198.51.100.1\", dst_addr = \"192.0.2.7\""), "{read}");
    assert!(read.contains("received_ns = 1700000000000000000"), "{read}");
    expect!["old.bin has no flow records that could be decoded: 1 unknown_version"]
        .assert_eq(&file("old.bin", [9; 40]));
    expect!["a.pcap: the capture is malformed at byte 0"].assert_eq(&file("a.pcap", [0xd4, 0xc3, 0xb2, 0xa1, 2, 0]));
}
