//! Datagrams in, rows out, every row in the books.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;

use serde_json::Value;

use crate::tool::{Running, exporter, get, metrics_with, netflow5, sluice};

/// Writes a configuration into a folder of its own and returns both.
fn config(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_datagram_becomes_enriched_routed_rows_on_stdout_and_the_books_add_up() {
    let (folder, file) = config(
        r#"
        [admin]
        listen = "127.0.0.1:0"

        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_delay_ms = 20

        [tables.customers]
        type = "prefix"
        path = "customers.csv"

        [stages.enrich]
        inputs = ["edge"]
        plugin = "enricher"
        [stages.enrich.config]
        customers = { table = "customers", drop_unmatched = true }
        proto_name = true
        scale = {}

        [stages.hide]
        inputs = ["enrich"]
        plugin = "reducer"
        config = { mode = "truncate", fields = ["src_addr"], mask_v4 = 16 }

        [stages.tenants]
        inputs = ["hide"]
        plugin = "splitter"
        config = { name = "tenant-{dst_customer_id}" }

        [sinks.screen]
        type = "stdout"
        inputs = ["tenants.*"]
        "#,
    );
    fs::write(folder.path().join("customers.csv"), "192.0.2.0/25,101\n").unwrap();

    let mut run = Running::start(&file);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();
    let socket = exporter(to);
    // Hosts 1 and 2 belong to customer 101, host 200 to nobody.
    socket.send(&netflow5(0, &[1, 200, 2])).unwrap();
    socket.send(b"not a flow export").unwrap();

    let rows: Vec<Value> = run.stdout.by_ref().take(2).map(|line| json(&line)).collect();
    for (row, host) in rows.iter().zip([1, 2]) {
        assert_eq!(row["type"], "NETFLOW_V5");
        assert_eq!(row["src_addr"], "198.18.0.0", "{row}");
        assert_eq!(row["dst_addr"], format!("192.0.2.{host}"));
        assert_eq!(row["bytes"], 1000);
        assert_eq!(row["sampling_rate"], 100);
        assert_eq!(row["scaled_bytes"], 100_000);
        assert_eq!(row["proto_name"], "TCP");
        assert_eq!(row["route"], "tenant-101");
    }

    assert!(get(admin, "/healthz").contains("200 OK"));
    let metrics = metrics_with(admin, "sluice_sink_out_rows_total{sink=\"screen\"} 2");
    for line in [
        "sluice_source_in_rows_total{source=\"edge\"} 3",
        "sluice_stage_dropped_rows_total{stage=\"enrich\",reason=\"filtered\"} 1",
    ] {
        assert!(metrics.contains(line), "no `{line}` in\n{metrics}");
    }

    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (3, 3, 0));
    assert_eq!(ended.books("enrich"), (3, 2, 1));
    assert_eq!(ended.books("hide"), (2, 2, 0));
    assert_eq!(ended.books("tenants"), (2, 2, 0));
    assert_eq!(ended.books("screen"), (2, 2, 0));
}

#[test]
fn a_port_that_is_taken_is_one_clear_error() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (_folder, file) = config(&format!(
        "[sources.edge]\ntype = \"udp\"\nlisten = \"{addr}\"\n[sinks.out]\ntype = \"null\"\ninputs = [\"edge\"]\n"
    ));
    let output = sluice().arg("--log=error").arg("run").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("sluice: sources.edge: "), "{said}");
    assert!(said.contains(&addr.to_string()) && said.contains("in use"), "{said}");
}

/// Writes a folder of raw datagrams: two of NetFlow v5 and one of garbage.
fn captures(folder: &Path) {
    fs::create_dir(folder.join("datagrams")).unwrap();
    fs::write(folder.join("datagrams/1.bin"), netflow5(0, &[1, 2, 3])).unwrap();
    fs::write(folder.join("datagrams/2.bin"), b"\x00\x05garbage").unwrap();
    fs::write(folder.join("datagrams/3.bin"), netflow5(3, &[4])).unwrap();
}

#[test]
fn a_capture_is_played_to_its_end_into_a_file() {
    let (folder, file) = config(
        r#"
        [sources.old]
        type = "capture"
        paths = ["datagrams"]

        [stages.split]
        inputs = ["old"]
        plugin = "splitter"
        config = { name = "proto-{proto}" }

        [sinks.all]
        type = "file"
        inputs = ["split"]
        path = "rows.json"

        [sinks.udp]
        type = "null"
        inputs = ["split.proto-17"]
        "#,
    );
    captures(folder.path());
    let ended = Running::start(&file).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("old"), (4, 4, 0));
    assert_eq!(ended.books("split"), (4, 4, 0));
    assert_eq!(ended.books("all"), (4, 4, 0));
    assert_eq!(ended.books("udp"), (0, 0, 0));
    let written = fs::read_to_string(folder.path().join("rows.json")).unwrap();
    let hosts: Vec<String> = written.lines().map(|line| json(line)["dst_addr"].as_str().unwrap().to_owned()).collect();
    assert_eq!(hosts, ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
}

#[test]
fn decode_prints_records_and_counts_what_it_could_not_decode() {
    let folder = tempfile::tempdir().unwrap();
    captures(folder.path());
    let output = sluice().arg("decode").arg(folder.path().join("datagrams")).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("4 records in 3 datagrams\n1 not decoded: "), "{said}");

    let garbage = folder.path().join("datagrams/2.bin");
    let output = sluice().arg("decode").arg(garbage).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("sluice: nothing could be decoded\n"));
}

#[test]
fn decode_prints_what_comes_before_the_end_of_a_capture_that_is_cut_off_and_the_files_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (cut, whole) = (folder.path().join("cut.pcap"), folder.path().join("whole.pcap"));
    let bytes = pcap(&[netflow5(0, &[1, 2, 3]), netflow5(3, &[4])]);
    fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
    fs::write(&whole, &bytes).unwrap();
    let output = sluice().arg("decode").args([&cut, &whole]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3 + 4);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("7 records in 3 datagrams\n"), "{said}");
    assert!(said.contains("cut.pcap: the capture ends within a packet"), "{said}");
}

/// A capture of raw IPv4 packets (pcap, LINKTYPE_RAW).
fn pcap(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let u32s = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let mut out = u32s(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101]);
    for datagram in datagrams {
        let udp = 8 + u16::try_from(datagram.len()).unwrap();
        let ip = 20 + udp;
        out.extend(u32s(&[1_700_000_000, 0, ip.into(), ip.into()]));
        out.extend([0x45, 0]);
        out.extend(ip.to_be_bytes());
        out.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        out.extend([2055, 2055, udp, 0].into_iter().flat_map(u16::to_be_bytes));
        out.extend(datagram);
    }
    out
}

#[test]
fn check_prints_the_plan_and_opens_nothing() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (folder, file) = config(&format!(
        r#"
        [sources.edge]
        type = "udp"
        listen = "{addr}"

        [stages.split]
        inputs = ["edge"]
        plugin = "splitter"
        config = {{ name = "proto-{{proto}}" }}

        [sinks.out]
        type = "file"
        inputs = ["split.*"]
        path = "rows.json"
        fields = ["bytes"]
        "#
    ));
    let output = sluice().arg("check").arg(&file).output().unwrap();
    let plan = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(plan.contains("source edge -> split\n"), "{plan}");
    assert!(plan.contains("stage split -> out (routed)\n  plugin sluice-plugin-splitter "), "{plan}");
    assert!(plan.contains("columns read: bytes proto\n"), "{plan}");
    assert!(!folder.path().join("rows.json").exists(), "check writes nothing");
}

#[test]
fn generated_traffic_of_every_protocol_arrives_and_the_counts_agree() {
    let (_folder, file) = config(
        r#"
        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_delay_ms = 20

        [sinks.out]
        type = "stdout"
        inputs = ["edge"]
        fields = ["type", "bytes"]
        "#,
    );
    let mut run = Running::start(&file);
    let to = run.listening().to_string();
    let output = sluice()
        .args(["generate", "--to", &to, "--version-set", "v5,v9,ipfix,sflow", "--exporters", "4"])
        .args(["--rate", "20000", "--records", "4000"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let sent: usize = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(sent >= 4000, "{said}");

    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for line in run.stdout.by_ref().take(sent) {
        *seen.entry(json(&line)["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["IPFIX", "NETFLOW_V5", "NETFLOW_V9", "SFLOW_5"]);
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("edge"), (sent as u64, sent as u64, 0));
    assert_eq!(ended.books("out"), (sent as u64, sent as u64, 0));
}

#[test]
fn the_demo_shows_flows_an_alert_and_books_that_add_up() {
    let output = sluice().args(["--log=warn", "demo", "--for", "10s"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(shown.contains("enriched-"), "no tenant in\n{shown}");
    assert!(shown.contains("dos-raised"), "no alert in\n{shown}");
    assert!(said.contains("source") && said.contains("dropped") && !said.contains("unaccounted"), "{said}");
}

#[test]
fn a_batch_that_never_fits_the_disk_buffer_is_left_out_and_the_next_one_is_kept() {
    let (_folder, file) = config(
        r#"
        [admin]
        listen = "127.0.0.1:0"

        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_rows = 8000
        batch_delay_ms = 60000

        [sinks.out]
        type = "kafka"
        inputs = ["edge"]
        # Nobody is there.
        brokers = ["127.0.0.1:1"]
        topic = "flows"
        format = "json"
        buffer = { path = "kafka.queue", max_bytes = 1048576 }
        "#,
    );
    let mut run = Running::start(&file);
    let said = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = said.split('/').nth(2).unwrap().parse().unwrap();
    let socket = exporter(run.listening());
    // 8010 rows are a batch, of two megabytes.
    for number in 0..267 {
        socket.send(&netflow5(number, &[7; 30])).unwrap();
    }
    metrics_with(admin, "sluice_sink_dropped_rows_total{sink=\"out\",reason=\"too_large\"} 8010");
    socket.send(&netflow5(267, &[7; 30])).unwrap();
    metrics_with(admin, "sluice_source_datagrams_total{source=\"edge\"} 268");
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("raise that, or lower `batch_rows`"), "{}", ended.log);
    assert_eq!(ended.books("out"), (8040, 30, 8010));
}
