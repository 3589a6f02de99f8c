//! What the host lends: tables, keys, assets, alerts, metrics and the log.

use std::sync::Arc;

use expect_test::expect;
use sluice_flow::{Batch, col};
use sluice_plugin::keys::{KeySpec, Keys};
use sluice_plugin::tables::{TableSpec, Tables};
use sluice_plugin::{Grant, Limits, Loaded, LogOut, OnError};

use crate::{Bench, batch, batch_of};

fn tables(bench: &Bench) -> Arc<Tables> {
    let path = bench.dir.path().join("customers.csv");
    std::fs::write(&path, "192.0.2.0/24,100\n2001:db8::/32,200\n").unwrap();
    let spec = |path: &std::path::Path| TableSpec::prefix(path.to_owned());
    let specs = [("customers".to_owned(), spec(&path)), ("hidden".to_owned(), spec(&path))];
    Arc::new(Tables::load(specs).unwrap())
}

#[test]
fn tables_are_looked_up_by_column_and_only_those_granted_open() {
    let mut bench = Bench::new("tables", 0);
    bench.spec.services.tables = tables(&bench);
    expect![[
        r#"["100", "", "200"] 3 Some("the stage's grant does not include the table `nothing`") Some("the stage's grant does not include the table `hidden`")"#
    ]]
    .assert_eq(&bench.report());
}

#[test]
fn a_table_that_changed_is_seen_by_the_next_batch() {
    let mut bench = Bench::new("tables", 0);
    let tables = tables(&bench);
    bench.spec.services.tables = Arc::clone(&tables);
    bench.spec.on_error = OnError::Stop;
    let mut stage = bench.load().instance();
    let mut words = || stage.process(batch()).stop.unwrap().split(']').next().unwrap().to_owned();
    assert_eq!(words(), "stage tag: [\"100\", \"\", \"200\"");
    std::fs::write(bench.dir.path().join("customers.csv"), "0.0.0.0/0,everyone\n").unwrap();
    assert!(tables.reload("customers").unwrap());
    assert_eq!(words(), "stage tag: [\"everyone\", \"everyone\", \"\"");
}

#[test]
fn what_a_table_says_is_written_into_columns_of_every_kind() {
    let mut bench = Bench::new("into", 0);
    bench.spec.grant = Grant::Requested;
    let path = bench.dir.path().join("customers.csv");
    std::fs::write(&path, "192.0.2.0/24,7\n198.51.100.0/24,x\n2001:db8::/32,AS300\n").unwrap();
    let specs = [("customers".to_owned(), TableSpec::prefix(path))];
    bench.spec.services.tables = Arc::new(Tables::load(specs).unwrap());
    let lines = Arc::default();
    bench.spec.services.log = LogOut::Kept(Arc::clone(&lines));
    expect![[r#"
        Ok(()) Ok((["", "7", "x", "AS300"], ["7", "x", "AS300"]))
        Ok(()) Ok((["", "x"], ["", "x", ""]))
        Ok(()) Ok((["", "x", "7", "AS300"], ["7", "x", "AS300"]))
        Ok(()) Ok([10, 20, 300])
        Ok(()) Ok([7, 0, 300])
        Ok(()) Ok([7, 6, 6])
        Ok(()) Ok([7, 0, 0])
        Ok(()) Ok([7, 0, 300])
        Ok(()) Ok([7, 0, 0])
        Err(Denied::WrongWidth(Width::Lists)) Err(Denied::NotGranted)
        Err(Denied::WrongLength(1)) Err(Denied::WrongLength(1))
        Err(Denied::WrongWidth(Width::W8)) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&(bench.report() + "\n"));
    let lines: Vec<_> = lines.lock().unwrap().iter().map(|line| line.text.clone()).collect();
    expect![[r#"
        the value `x` of the table `customers` is no number that `bytes` has room for; it and others like it count as none
    "#]].assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn what_a_table_says_is_written_into_the_rows_that_are_chosen_and_no_others() {
    const CHOSEN: u32 = 0x9e37_79b9;
    let sources = ["192.0.2.1", "198.51.100.7", "2001:db8::1", "203.0.113.1", "192.0.2.200"];
    let values = [Some(7), None, Some(300), None, Some(7)];
    let words = ["7", "x", "AS300", "", "7"];
    let mut bench = Bench::new("into-many", CHOSEN);
    bench.spec.grant = Grant::Requested;
    let path = bench.dir.path().join("customers.csv");
    std::fs::write(&path, "192.0.2.0/24,7\n198.51.100.0/24,x\n2001:db8::/32,AS300\n").unwrap();
    bench.spec.services.tables = Arc::new(Tables::load([("customers".to_owned(), TableSpec::prefix(path))]).unwrap());
    // Whole words, whole bytes, and a rest of either.
    for rows in [1, 8, 32, 45, 1000] {
        let of_rows: Vec<_> = (0..rows).map(|row| (sources[row % sources.len()], 50)).collect();
        let out = bench.process(batch_of(&of_rows)).out.unwrap();
        for row in 0..rows {
            let is_chosen = CHOSEN.rotate_left(row as u32 / 32) >> (row % 32) & 1 == 1;
            let (value, word) = (values[row % values.len()], words[row % words.len()]);
            let customer = value.filter(|_| is_chosen).unwrap_or(9);
            let note = if is_chosen && !word.is_empty() { word } else { "before" };
            let bytes = value.filter(|_| !is_chosen).unwrap_or(0);
            let found = (out.number(col::CUSTOMER_ID, row), out.text(col::NOTE, row), out.number(col::BYTES, row));
            assert_eq!(found, (customer, note, bytes), "row {row} of {rows}");
        }
    }
}

/// A bench with two tables of prefixes that are looked up together, and the tables.
fn joined(arg: u32) -> (Bench, Arc<Tables>) {
    let mut bench = Bench::new("joined", arg);
    let path = |name: &str| bench.dir.path().join(name);
    let (customers, sites) = (path("customers.csv"), path("sites.csv"));
    std::fs::write(&customers, "192.0.2.0/24,100\n2001:db8::/32,200\n").unwrap();
    std::fs::write(&sites, "192.0.0.0/16,west\n198.51.100.7,east\n").unwrap();
    let specs = [("customers", customers), ("sites", sites)];
    let specs = specs.map(|(name, path)| (name.to_owned(), TableSpec::prefix(path)));
    let tables = Arc::new(Tables::load(specs).unwrap());
    bench.spec.services.tables = Arc::clone(&tables);
    if let Grant::Listed(granted) = &mut bench.spec.grant {
        granted.tables = ["customers".to_owned(), "sites".to_owned()].into();
    }
    bench.spec.on_error = OnError::Stop;
    (bench, tables)
}

#[test]
fn tables_that_are_looked_up_together_say_what_each_says_alone() {
    expect![[r#"
        100  200, west east 
        100  200, west east 
         100 200, east west 
         100 , east west "#]]
    .assert_eq(&joined(0).0.report());
}

#[test]
fn of_tables_that_are_looked_up_together_one_that_changed_is_seen_by_the_next_batch() {
    let (bench, tables) = joined(0);
    let mut stage = bench.load().instance();
    let mut found = || stage.process(batch()).stop.unwrap().lines().next().unwrap().to_owned();
    assert_eq!(found(), "stage tag: 100  200, west east ");
    std::fs::write(bench.dir.path().join("customers.csv"), "192.0.2.1,300\n0.0.0.0/0,everyone\n").unwrap();
    assert!(tables.reload("customers").unwrap());
    assert_eq!(found(), "stage tag: 300 everyone , west east ");
}

#[test]
fn what_a_stage_has_looked_up_serves_the_next_as_long_as_it_holds() {
    let (mut bench, tables) = joined(1);
    let after = |bench: &Bench| bench.process(batch()).out.unwrap();
    let known = |batch: &Batch| batch.findings([col::SRC_ADDR_HI, col::SRC_ADDR_LO]).count();
    let as_it_came = after(&bench);
    bench.spec.config_json = bench.spec.config_json.replace("\"arg\":1", "\"arg\":2");
    let swapped = after(&bench);
    // A plugin in another process has other tables than the stages here.
    assert!(known(&as_it_came) <= 1 && (bench.spec.isolation.is_some() || known(&as_it_came) == 1));
    assert_eq!(known(&swapped), 0);
    bench.spec.config_json = bench.spec.config_json.replace("\"arg\":2", "\"arg\":0");
    let mut stage = bench.load().instance();
    let mut found = |batch: &Batch| stage.process(batch.clone()).stop.unwrap().lines().next().unwrap().to_owned();
    assert_eq!(found(&as_it_came), "stage tag: 100  200, west east ");
    assert_eq!(found(&swapped), "stage tag:  100 200, east west ");
    if bench.spec.isolation.is_none() {
        std::fs::write(bench.dir.path().join("customers.csv"), "0.0.0.0/0,everyone\n").unwrap();
        assert!(tables.reload("customers").unwrap());
        assert_eq!(found(&as_it_came), "stage tag: everyone everyone , west east ");
    }
}

/// What the plugin finds in a table of values that has these lines.
fn found(lines: &str) -> String {
    let mut bench = Bench::new("values", 0);
    let path = bench.dir.path().join("values.csv");
    std::fs::write(&path, lines).unwrap();
    let tables = Tables::load([("customers".to_owned(), TableSpec::values(path))]).unwrap();
    bench.spec.services.tables = Arc::new(tables);
    bench.report() + "\n"
}

#[test]
fn values_are_found_by_columns_of_any_width_and_by_lists() {
    expect![[r#"
        proto Ok(["tcp", "tcp", "tcp"])
        bytes Ok(["ten", "", "thirty"]) ["ten", "", "thirty"]
        proto, bytes Ok(["", "", ""]) ["", "", ""]
        address Ok(["", "", ""]) ["", "", ""]
        address, bytes Ok(["", "", ""]) ["", "", ""]
        absent Err(Denied::Absent) Ok(["", "", ""])
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&found("6,tcp\n10,ten\n30,thirty\n70000,many\n"));
    expect![[r#"
        proto Ok(["", "", ""])
        bytes Ok(["", "", ""]) ["", "", ""]
        proto, bytes Ok(["ten", "", "thirty"]) ["ten", "", "thirty"]
        address Ok(["", "", ""]) ["", "", ""]
        address, bytes Ok(["", "", ""]) ["", "", ""]
        absent Err(Denied::Absent) Ok(["", "", ""])
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&found("6,10,ten\n6,30,thirty\n7,20,nobody\n"));
    expect![[r#"
        proto Ok(["", "", ""])
        bytes Ok(["", "", ""]) ["", "", ""]
        proto, bytes Ok(["", "", ""]) ["", "", ""]
        address Ok(["one", "", "six"]) ["one", "", "six"]
        address, bytes Ok(["", "", ""]) ["", "", ""]
        absent Err(Denied::Absent) Ok(["", "", ""])
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&found("192.0.2.1,one\n2001:db8::1,six\n"));
    expect![[r#"
        proto Ok(["", "", ""])
        bytes Ok(["", "", ""]) ["", "", ""]
        proto, bytes Ok(["", "", ""]) ["", "", ""]
        address Ok(["", "", ""]) ["", "", ""]
        address, bytes Ok(["one", "", "six"]) ["one", "", ""]
        absent Err(Denied::Absent) Ok(["", "", ""])
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&found("192.0.2.1,10,one\n2001:db8::1,30,six\n2001:db8::2,30,other\n"));
}

#[test]
fn values_of_one_column_are_found_by_keys_of_two() {
    let mut bench = Bench::new("values", 0);
    let path = bench.dir.path().join("interfaces.csv");
    std::fs::write(&path, "exporter,index,name,speed\n192.0.2.1,10,one,1000\n2001:db8::1,30,six,\n").unwrap();
    let spec = |column: &str| TableSpec::Values { path: path.clone(), column: Some(column.to_owned()), key_columns: 2 };
    let mut found = |column: &str| {
        let tables = Tables::load([("customers".to_owned(), spec(column))]).unwrap();
        bench.spec.services.tables = Arc::new(tables);
        bench.report().lines().find(|line| line.starts_with("address, bytes")).unwrap().to_owned()
    };
    assert_eq!(found("name"), r#"address, bytes Ok(["one", "", "six"]) ["one", "", ""]"#);
    assert_eq!(found("speed"), r#"address, bytes Ok(["1000", "", ""]) ["1000", "", ""]"#);
}

#[test]
fn what_no_row_has_counts_as_zeros_where_the_table_has_a_value_for_zero() {
    expect![[r#"
        proto Ok(["tcp", "tcp", "tcp"])
        bytes Ok(["", "", ""]) ["", "", ""]
        proto, bytes Ok(["", "", ""]) ["", "", ""]
        address Ok(["", "", ""]) ["", "", ""]
        address, bytes Ok(["", "", ""]) ["", "", ""]
        absent Ok(["untagged", "untagged", "untagged"]) Ok(["", "", ""])
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::NotGranted) Err(Denied::NotGranted)
    "#]]
    .assert_eq(&found("0,untagged\n6,tcp\n"));
}

#[test]
fn a_table_of_prefixes_has_no_numbers() {
    let mut bench = Bench::new("values", 0);
    bench.spec.services.tables = tables(&bench);
    expect![[r#"
        proto Err(Denied::WrongWidth(Width::W8))
        bytes Err(Denied::WrongWidth(Width::W64)) ["", "", ""]
        proto, bytes Err(Denied::WrongWidth(Width::W8)) ["", "", ""]
        address Ok(["100", "", "200"]) ["100", "", "200"]
        address, bytes Ok(["", "", "200"]) ["", "", ""]
        absent Err(Denied::WrongWidth(Width::W32)) Err(Denied::WrongWidth(Width::W8))
        refused Err(Denied::WrongWidth(Width::Text)) Err(Denied::WrongWidth(Width::W8)) Err(Denied::WrongWidth(Width::W8))
    "#]].assert_eq(&(bench.report() + "\n"));
}

/// What the first `init` is told of each kind of key, in a table that has these lines.
fn fits(bench: &mut Bench, lines: Option<&str>) -> String {
    bench.spec.services.tables = match lines {
        Some(lines) => {
            let path = bench.dir.path().join("values.csv");
            std::fs::write(&path, lines).unwrap();
            Arc::new(Tables::load([("customers".to_owned(), TableSpec::values(path))]).unwrap())
        }
        None => tables(bench),
    };
    let mut said = String::new();
    for arg in 0..6 {
        bench.spec.config_json = format!("{{\"mode\":\"fits\",\"arg\":{arg}}}");
        match Loaded::load(&bench.host, bench.spec.clone()) {
            Ok(_) => said.push_str("fits\n"),
            Err(error) => said.push_str(&format!("{}\n", sluice_pipeline::chain(&error))),
        }
    }
    said
}

#[test]
fn what_cannot_be_looked_up_in_a_table_is_known_at_the_first_init() {
    let mut bench = Bench::new("fits", 0);
    expect![[r#"
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W8)): the table `customers` is of type `prefix`; to look up a number takes `values` with a number a line
        fits
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W8)): the table `customers` is of type `prefix`; to look up an address and a number takes `values` with an address and a number a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `prefix`; to look up two numbers takes `values` with two numbers a line
        fits
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::Text))
    "#]].assert_eq(&fits(&mut bench, None));
    expect![[r#"
        fits
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with a number a line; to look up an address takes `prefix`, `mmdb` or `values` with an address a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W8)): the table `customers` is of type `values` with a number a line; to look up an address and a number takes `values` with an address and a number a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with a number a line; to look up two numbers takes `values` with two numbers a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with a number a line; to look up two numbers takes `values` with two numbers a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::Text))
    "#]].assert_eq(&fits(&mut bench, Some("6,tcp\n")));
    expect![[r#"
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W8)): the table `customers` is of type `values` with an address and a number a line; to look up a number takes `values` with a number a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with an address and a number a line; to look up an address takes `prefix`, `mmdb` or `values` with an address a line
        fits
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with an address and a number a line; to look up two numbers takes `values` with two numbers a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::W64)): the table `customers` is of type `values` with an address and a number a line; to look up two numbers takes `values` with two numbers a line
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::Text))
    "#]].assert_eq(&fits(&mut bench, Some("2001:db8::1,6,tcp\n")));
    // What will be in it nobody knows.
    expect![[r#"
        fits
        fits
        fits
        fits
        fits
        stage tag: the plugin refused its configuration: `table`: Err(Denied::WrongWidth(Width::Text))
    "#]]
    .assert_eq(&fits(&mut bench, Some("")));
}

#[test]
fn a_later_instance_does_not_fail_because_a_table_has_other_keys_by_then() {
    let mut bench = Bench::new("fits", 0);
    assert!(fits(&mut bench, Some("6,tcp\n")).starts_with("fits\n"));
    bench.spec.config_json = "{\"mode\":\"fits\",\"arg\":0}".to_owned();
    let loaded = bench.load();
    std::fs::write(bench.dir.path().join("values.csv"), "192.0.2.1,one\n").unwrap();
    assert!(bench.spec.services.tables.reload("customers").unwrap());
    let instances = [loaded.instance(), loaded.instance()];
    for mut instance in instances {
        assert_eq!(instance.process(batch()).out.map(|out| out.rows()), Some(3));
    }
    assert!(bench.error().contains("`values` with an address a line"), "a new version is told");
}

#[test]
fn keys_work_on_columns_and_never_leave_the_host() {
    let mut bench = Bench::new("keys", 0);
    let spec = || KeySpec::literal("a key that is long enough to be one");
    let keys = Keys::load([("secret".to_owned(), spec()), ("hidden".to_owned(), spec())]).unwrap();
    bench.spec.services.keys = Arc::new(keys);
    let report = bench.report();
    let (columns, rest) = report.split_at(report.find(" (Err").unwrap());
    // IPv4 stays IPv4 in both, and something else each time.
    assert_eq!(columns.matches("ffff").count(), 4, "{columns}");
    expect![[
        r#" (Err(Denied::NotGranted), Err(Denied::WrongWidth(Width::W8))) Some("the stage's grant does not include the key `hidden`")"#
    ]]
    .assert_eq(rest);
}

#[test]
fn assets_are_read_as_granted() {
    let mut bench = Bench::new("assets", 0);
    let assets = [("names", "six"), ("hidden", "x")];
    bench.spec.services.assets = Arc::new(
        assets.into_iter().map(|(name, text)| (name.to_owned(), Arc::new(text.as_bytes().to_vec()))).collect(),
    );
    expect![[
        r#"(Ok(3), Err("the stage's grant does not include the asset `hidden`"), Err("the stage's grant does not include the asset `nothing`"))"#
    ]]
    .assert_eq(&bench.report());
}

#[test]
fn alerts_carry_stage_and_batch_time_and_a_flood_is_counted() {
    let mut bench = Bench::new("alerts", 2000);
    bench.spec.limits = Limits { alerts_per_min: 10, ..Limits::default() };
    bench.process(batch());
    let events: Vec<_> = bench.events.try_iter().collect();
    assert_eq!(events.len(), 10);
    expect![[r#"
        Event {
            stage: "tag",
            time_ms: 1700000000123,
            kind: "flood",
            severity: 4,
            subject: "192.0.2.1",
            value: 2.0,
            threshold: 1.0,
            note: "two\\nlines",
        }"#]]
    .assert_eq(&format!("{:#?}", events[0]));
    assert_eq!(bench.metric("sluice_stage_plugin_alerts_total{stage=\"tag\"}"), 10.0);
    assert_eq!(bench.metric("sluice_stage_plugin_alerts_suppressed_total{stage=\"tag\"}"), 1990.0);
}

#[test]
fn every_alert_is_raised_or_counted_as_beyond_the_rate_or_as_that_of_a_call_that_failed() {
    let counts = |bench: &Bench| {
        ["alerts", "alerts_suppressed", "alerts_withdrawn"]
            .map(|what| bench.metric(&format!("sluice_stage_plugin_{what}_total{{stage=\"tag\"}}")))
    };
    // So few a minute that none comes back while this runs.
    let limited = |mode: &str, arg: u32| {
        let mut bench = Bench::new(mode, arg);
        bench.spec.limits.alerts_per_min = 30;
        bench.spec.failure.bisect = false;
        bench
    };
    let bench = limited("alerts", 20);
    let loaded = bench.load();
    // The rate is that of all instances.
    let mut stages = [loaded.instance(), loaded.instance()];
    let mut raised = Vec::new();
    for turn in 0..4 {
        assert!(stages[turn % 2].process(batch()).out.is_some());
        raised.push(bench.events.try_iter().count());
    }
    let [kept, suppressed, withdrawn] = counts(&bench);
    assert_eq!(raised[0], 20);
    assert!((30.0..40.0).contains(&kept), "{kept}");
    assert_eq!((raised.iter().sum::<usize>() as f64, kept + suppressed, withdrawn), (kept, 80.0, 0.0));
    // One call traps after it, and another answers with an error.
    let bench = limited("trap", 20);
    let mut stage = bench.load().instance();
    stage.process(batch());
    assert_eq!(counts(&bench), [0.0, 0.0, 1.0]);
    assert!(stage.process(batch_of(&[("192.0.2.1", 1)])).out.is_some());
    assert_eq!((counts(&bench), bench.events.try_iter().count()), ([1.0, 0.0, 1.0], 1));
    let bench = limited("alerts-refuse", 20);
    bench.process(batch());
    assert_eq!((counts(&bench), bench.events.try_iter().count()), ([0.0, 0.0, 20.0], 0));
}

#[test]
fn a_text_of_an_alert_is_cut_where_a_character_ends() {
    let bench = Bench::new("alert-of", 2000);
    bench.process(batch());
    let event = bench.events.try_recv().unwrap();
    assert_eq!((event.kind.as_str(), event.subject.len()), ("long", 1023));
    assert!(event.subject.chars().all(|c| c == '€'), "three bytes each");
}

#[test]
fn log_lines_beyond_the_rate_are_counted() {
    let mut bench = Bench::new("log", 1000);
    bench.spec.limits = Limits { log_lines_per_s: 1, ..Limits::default() };
    bench.process(batch());
    // One at once, and another if a second passes meanwhile.
    assert!(bench.metric("sluice_stage_plugin_log_suppressed_total{stage=\"tag\"}") >= 990.0);
}

#[test]
fn a_plugins_own_metrics_are_published_up_to_a_number() {
    let bench = Bench::new("metrics", 100);
    bench.process(batch());
    assert_eq!(bench.metric("sluice_plugin_count_total{stage=\"tag\",name=\"rows_seen\"}"), 3.0);
    assert_eq!(bench.metric("sluice_plugin_gauge{stage=\"tag\",name=\"fill\"}"), 0.5);
    assert_eq!(bench.metrics.encode().matches("sluice_plugin_count_total{").count(), 63);
    // One bad name, and 38 too many.
    assert_eq!(bench.metric("sluice_stage_plugin_metrics_refused_total{stage=\"tag\"}"), 39.0);
}

#[test]
fn a_tick_comes_between_batches_and_may_raise_alerts() {
    let bench = Bench::new("tick", 0);
    let mut stage = bench.load().instance();
    assert_eq!(stage.tick_ms(), Some(100));
    stage.process(batch());
    stage.tick(1_700_000_000_500);
    let event = bench.events.try_recv().unwrap();
    assert_eq!((event.kind.as_str(), event.time_ms), ("tick", 1_700_000_000_500));
    assert_eq!(bench.metric("sluice_stage_plugin_calls_total{stage=\"tag\"}"), 2.0);
    assert!(bench.metric("sluice_stage_plugin_cpu_nanoseconds_total{stage=\"tag\"}") > 0.0);
}
