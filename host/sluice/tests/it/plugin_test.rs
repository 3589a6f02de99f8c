//! `sluice plugin test`: what passes, what fails and how that reads, what is written, what is refused.

use std::fs;
use std::path::Path;
use std::process::Output;

use expect_test::{Expect, expect, expect_file};
use serde_json::Value;

use crate::hostile::guest::guest;
use crate::tool::{netflow5, sluice};

/// A folder with the guest as `guest.wasm`, and these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("guest.wasm"), guest()).unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Runs `sluice plugin test ARGS` in a folder.
fn test(folder: &Path, args: &[&str]) -> Output {
    sluice().current_dir(folder).args(["--log=error", "plugin", "test"]).args(args).output().unwrap()
}

/// Exit code, standard output and standard error, without what differs from run to run and from build to build.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut said = format!("{}\n", output.status.code().unwrap());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    for line in stdout.lines().chain(stderr.lines()).filter(|line| !line.trim_start().starts_with("at ")) {
        let mut words: Vec<&str> = line.split(' ').collect();
        for at in 1..words.len() {
            if words[at] == "fuel" || words[at] == "fuel," {
                words[at - 1] = "N";
            } else if words[at] == "s" {
                words[at - 1] = "T";
            }
        }
        // A line of the test plugin's source.
        words.iter_mut().filter(|word| word.starts_with("src/lib.rs:")).for_each(|word| *word = "src/lib.rs");
        said.push_str(&words.join(" "));
        said.push('\n');
    }
    said
}

/// Runs the cases of one file.
fn check(cases: &str, expected: Expect) {
    let folder = folder(&[("tests/a.toml", cases)]);
    expected.assert_eq(&said(&test(folder.path(), &["guest.wasm"])));
}

/// Everything that can be expected, as it is.
const GOOD: &str = include_str!("../plugin-test/good.toml");

fn good_folder() -> tempfile::TempDir {
    let key = "00".repeat(32);
    let folder = folder(&[
        ("tests/good.toml", GOOD),
        ("rows.csv", "bytes\n1\n2\n"),
        ("rows.json", "{\"bytes\": 5, \"proto\": \"TCP\"}\n"),
        ("customers.csv", "192.0.2.0/24,seven\n"),
        ("secret.key", &key),
    ]);
    fs::write(folder.path().join("old.bin"), netflow5(0, &[1, 2])).unwrap();
    folder
}

#[test]
fn what_is_as_expected_passes_and_what_no_case_touched_is_told() {
    let folder = good_folder();
    expect![[r#"
        0
        tests/good.toml
          ok    rows come out as they went in, of each the columns that are named      2 -> 2 rows, N fuel
          ok    rows are kept and routed                                               3 -> 2 rows, N fuel
          ok    alerts                                                                 1 -> 1 rows, N fuel
          ok    metrics and no others                                                  2 -> 2 rows, N fuel
          ok    log lines                                                              1 -> 1 rows, N fuel
          ok    init refuses
          ok    process refuses                                                        1 -> 0 rows, N fuel
          ok    a trap, and a new instance after it                                    2 -> 1 rows, N fuel
          ok    it is asked to try later                                               2 -> 1 rows, N fuel
          ok    state is kept from batch to batch, and over a restart                  4 -> 4 rows, N fuel
          ok    time goes by in steps                                                  2 -> 2 rows, N fuel
          ok    a grant that is too small
          ok    a table, a file, and what was not granted of them                      1 -> 0 rows, N fuel
          ok    rows of captures and JSON                                              3 -> 3 rows, N fuel
        columns of the manifest: 4
          in the manifest, and never read: src_as
          in `metrics` of a case, and never counted: nothing
        14 passed, 0 failed, in T s
    "#]]
    .assert_eq(&said(&test(folder.path(), &["guest.wasm"])));
    // Only the cases that were asked for; what they leave untouched says nothing.
    expect![[r#"
        0
        tests/good.toml
          ok    rows are kept and routed                                   3 -> 2 rows, N fuel
          ok    state is kept from batch to batch, and over a restart      4 -> 4 rows, N fuel
        2 passed, 0 failed, in T s
    "#]]
    .assert_eq(&said(&test(folder.path(), &["guest.wasm", "--case", "kept", "--tests", "tests/good.toml"])));
}

/// One expectation that is not met in each case.
const WRONG: &str = include_str!("../plugin-test/wrong.toml");

#[test]
fn what_is_not_as_expected_is_shown_beside_what_was() {
    check(
        WRONG,
        expect![[r#"
            1
            tests/a.toml
              FAIL  values                                                                 2 -> 2 rows, N fuel
                    tests/a.toml:1
                    rows, line 5: other values
                      row  column  expected  actual
                      1    bytes   3         2
                      1    note    "b"       (absent)
              FAIL  a row is missing, one is too many, and the others are still found      3 -> 2 rows, N fuel
                    tests/a.toml:7
                    rows, line 12: 4 rows expected, 2 came out
                      row  column  expected       actual
                      0    (all)   { bytes = 0 }  (no such row)
                      2    (all)   { bytes = 2 }  (no such row)
                    row_count, line 13: another number of rows
                      expected  4
                      actual    2
                    kept, line 14: other rows stay
                      expected  [0, 1, 2]
                      actual    [0, 2]
                    routes, line 15: 2 routes expected, 2 came
                      route 1
                        expected  "c"
                        actual    "a"
              FAIL  alerts                                                                 1 -> 1 rows, N fuel
                    tests/a.toml:17
                    alerts, line 22: 1 alerts expected, 2 came
                      alert 0
                        expected  { kind = "flood", severity = 3 }
                        actual    { kind = "flood", severity = 4, subject = "192.0.2.1", value = 2.0, threshold = 1.0, note = "two\\nlines" }
                      alert 1 was not expected: { kind = "flood", severity = 4, subject = "192.0.2.1", value = 2.0, threshold = 1.0, note = "two\\nlines" }
              FAIL  metrics                                                                1 -> 1 rows, N fuel
                    tests/a.toml:24
                    metrics, line 29: `rows_seen`
                      expected  2
                      actual    1
                    metrics, line 29: `rows_sene`
                      expected  1
                      actual    never counted
              FAIL  log lines                                                              1 -> 1 rows, N fuel
                    tests/a.toml:31
                    logs, line 36: no line with "line 99" in it
                    no_logs, line 37: this was logged: line 7
                    it logged:
                      (10 lines before)
                      info  line 10
                      info  line 11
                      info  line 12
                      info  line 13
                      info  line 14
                      info  line 15
                      info  line 16
                      info  line 17
                      info  line 18
                      info  line 19
                      info  line 20
                      info  line 21
                      info  line 22
                      info  line 23
                      info  line 24
                      info  line 25
                      info  line 26
                      info  line 27
                      info  line 28
                      info  line 29
              FAIL  nothing was logged\u{7} at all                                         1 -> 1 rows, N fuel
                    tests/a.toml:39
                    logs, line 43: no line with "<hello> & \"goodbye\"" in it; nothing was logged
              FAIL  no error                                                               1 -> 1 rows, N fuel
                    tests/a.toml:45
                    error, line 49: no error, where one was expected with: too late
              FAIL  another error                                                          1 -> 0 rows, N fuel
                    tests/a.toml:51
                    error, line 56: another error
                      expected  these rows are for me
                      actual    process refused the batch: these rows are not for me
              FAIL  init refuses
                    tests/a.toml:58
                    error, line 62: the plugin refused its configuration: there is no `threshold`
              FAIL  a trap in the second step                                              2 -> 1 rows, N fuel
                    tests/a.toml:65
                    step 2, error, line 72: process trapped: wasm trap: wasm `unreachable` instruction executed
                    it logged:
                      warn  thread '<unnamed>' (1) panicked at src/lib.rs
                      warn  row of 20 bytes
                      warn  note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
              FAIL  too dear                                                               1 -> 1 rows, N fuel
                    tests/a.toml:79
                    max_fuel, line 84: the call cost N fuel, more than 11
                    max_fuel, line 79: the call cost N fuel, more than the 10 of `max_fuel`
            columns of the manifest: 4
              in the manifest, and never read: src_addr, src_as
              in the manifest, and never written: customer_id
              in `metrics` of a case, and never counted: rows_sene
            0 passed, 11 failed, in T s
            sluice: 11 of 11 cases failed
        "#]],
    );
}

#[test]
fn a_trap_is_told_with_the_place_in_the_plugin() {
    let folder = folder(&[("tests/a.toml", WRONG)]);
    let output = test(folder.path(), &["guest.wasm", "--case", "a trap", "--format", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let backtrace = found["cases"][0]["mismatches"][0]["backtrace"].to_string();
    assert!(backtrace.contains("panic") && backtrace.contains("process"), "{backtrace}");
    let text = String::from_utf8(test(folder.path(), &["guest.wasm", "--case", "a trap"]).stdout).unwrap();
    assert!(text.lines().any(|line| line.trim_start().starts_with("at ") && line.contains("process")), "{text}");
}

#[test]
fn a_plugin_that_does_not_come_back_traps_floods_or_wants_memory_is_one_failed_case() {
    let case = |mode: &str| {
        format!(
            "[[case]]\nname = \"{mode}\"\nconfig = {{ mode = \"{mode}\", arg = 20000 }}\nrows = [{{ bytes = 1 }}]\n"
        ) + "limits = { deadline_ms = 300, init_deadline_ms = 300, memory_bytes = 10000000 }\n[case.expect]\n"
            + "row_count = 1\n"
    };
    let modes = ["pass", "loop", "loop-in-host", "memory", "stack", "init-traps", "init-loops", "exit"];
    let cases: String = modes.into_iter().map(case).collect();
    check(
        &cases,
        expect![[r#"
            1
            tests/a.toml
              ok    pass              1 -> 1 rows, N fuel
              FAIL  loop              1 -> 0 rows, N fuel
                    tests/a.toml:8
                    error, line 13: process did not return within the 300 ms of limits.deadline_ms
              FAIL  loop-in-host      1 -> 0 rows, N fuel
                    tests/a.toml:15
                    error, line 20: process did not return within the 300 ms of limits.deadline_ms
              FAIL  memory            1 -> 0 rows, N fuel
                    tests/a.toml:22
                    error, line 27: process wanted more than the 10000000 bytes of limits.memory_bytes
                    it logged:
                      warn  memory allocation of 1048576 bytes failed
                      warn  note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
              FAIL  stack             1 -> 0 rows, N fuel
                    tests/a.toml:29
                    error, line 34: process trapped: wasm trap: out of bounds memory access
              FAIL  init-traps
                    tests/a.toml:36
                    error, line 41: the plugin did not start: init: wasm trap: wasm `unreachable` instruction executed
                    it logged:
                      warn  thread '<unnamed>' (1) panicked at src/lib.rs
                      warn  in init
                      warn  note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
              FAIL  init-loops
                    tests/a.toml:43
                    error, line 48: the plugin did not start: init did not return within 300 ms
              FAIL  exit              1 -> 0 rows, N fuel
                    tests/a.toml:50
                    error, line 55: process trapped: the plugin called exit(1)
            columns of the manifest: 4
              in the manifest, and never read: src_addr, src_as
              in the manifest, and never written: src_as, customer_id
            1 passed, 7 failed, in T s
            sluice: 7 of 8 cases failed
        "#]],
    );
    let long = case("log").replace("= 300", "= 30000");
    let folder = folder(&[("tests/a.toml", &long)]);
    let said = said(&test(folder.path(), &["guest.wasm"]));
    assert!(said.contains("logs, line 1: the plugin logged 10000 lines or more in one case"), "{said}");
    assert!(said.lines().count() < 40, "{said}");
}

#[test]
fn update_writes_what_came_out_and_nothing_else() {
    let before = include_str!("../plugin-test/before.toml");
    let folder = folder(&[("tests/a.toml", before)]);
    let said = said(&test(folder.path(), &["guest.wasm", "--update"]));
    expect![[r#"
        1
        tests/a.toml
          ok    wrong                      3 -> 2 rows, N fuel
          ok    empty                      1 -> 1 rows, N fuel
          ok    empty, on a line           1 -> 0 rows, N fuel
          ok    alerts, metrics, cost      1 -> 1 rows, N fuel
          ok    in a table                 1 -> 1 rows, N fuel
          ok    refused otherwise
          FAIL  not in one place           1 -> 1 rows, N fuel
                tests/a.toml:55
                rows, line 58: other values
                  row  column  expected  actual
                  0    bytes   6         5
          ok    right as it is             1 -> 1 rows, N fuel
        columns of the manifest: 4
          in the manifest, and never read: src_addr, bytes, src_as
          in the manifest, and never written: customer_id
        7 passed, 1 failed, in T s
        tests/a.toml:8: wrote rows, row_count, kept, routes of `wrong`
        tests/a.toml:20: wrote rows, metrics of `empty`
        tests/a.toml:26: wrote error of `empty, on a line`
        tests/a.toml:32: wrote alerts, max_fuel of `alerts, metrics, cost`
        tests/a.toml:40: wrote metrics of `in a table`
        tests/a.toml:47: wrote error of `refused otherwise`
        tests/a.toml:53: rows of `not in one place` is left alone; to have it written, say `rows = [...]`
        sluice: 1 of 8 cases failed
    "#]]
    .assert_eq(&said);
    let after = fs::read_to_string(folder.path().join("tests/a.toml")).unwrap();
    let fuel = after.lines().find_map(|line| line.strip_prefix("max_fuel = ")).unwrap().to_owned();
    assert!(fuel.parse::<u64>().unwrap() > 1000 && fuel.ends_with("00"), "{fuel}");
    expect_file!["../plugin-test/after.toml"].assert_eq(&after.replace(&format!("max_fuel = {fuel}"), "max_fuel = N"));
    // There is nothing more to write.
    test(folder.path(), &["guest.wasm", "--update"]);
    assert_eq!(fs::read_to_string(folder.path().join("tests/a.toml")).unwrap(), after);
}

#[test]
fn the_report_for_ci_is_xml_whatever_a_plugin_or_a_case_says() {
    let folder = folder(&[
        ("tests/a.toml", WRONG),
        ("tests/b.toml", &GOOD[..GOOD.find("[[case]]\nname = \"rows are").unwrap()]),
    ]);
    let output = test(folder.path(), &["guest.wasm", "--junit", "report.xml"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = fs::read_to_string(folder.path().join("report.xml")).unwrap();
    let report = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}:\n{xml}"));
    let all = report.root_element();
    assert_eq!((all.attribute("tests"), all.attribute("failures")), (Some("12"), Some("11")), "{xml}");
    let suites: Vec<_> = all.children().filter(roxmltree::Node::is_element).collect();
    let attributes = |at: usize| ["name", "tests", "failures"].map(|name| suites[at].attribute(name).unwrap());
    assert_eq!(attributes(0), ["tests/a.toml", "11", "11"]);
    assert_eq!(attributes(1), ["tests/b.toml", "1", "0"]);
    let case = |name: &str| {
        let found = report.descendants().find(|node| node.attribute("name") == Some(name));
        found.unwrap_or_else(|| panic!("no {name} in\n{xml}"))
    };
    let failure = |name: &str| case(name).children().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!(failure("values").attribute("message"), Some("rows, line 5: other values"));
    assert!(failure("values").text().unwrap().contains("1    bytes   3         2"), "{xml}");
    // A bell has no place in XML; what is left of it can be read.
    let odd = failure("nothing was logged\\u{7} at all").text().unwrap();
    assert!(odd.contains("no line with \"<hello> & \\\"goodbye\\\"\" in it"), "{odd}");
    let log = case("log lines").children().find(|node| node.has_tag_name("system-out")).unwrap();
    assert!(log.text().unwrap().contains("info line 29"), "{xml}");
    assert_eq!(case("values").attribute("line"), Some("1"));
}

#[test]
fn the_report_for_programs_is_one_object() {
    let folder = good_folder();
    fs::write(folder.path().join("tests/wrong.toml"), &WRONG[..WRONG.find("\n[[case]]\nname = \"a row").unwrap()])
        .unwrap();
    let output = test(folder.path(), &["guest.wasm", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((found["passed"].as_u64(), found["failed"].as_u64()), (Some(14), Some(1)), "{found}");
    let case = |name: &str| found["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    let kept = case("rows are kept and routed");
    assert_eq!(kept["passed"], true);
    assert_eq!((kept["rows_in"].as_u64(), kept["rows_out"].as_u64()), (Some(3), Some(2)));
    assert!(kept["fuel"].as_u64().unwrap() > 100, "{kept}");
    let wrong = &case("values")["mismatches"][0];
    assert_eq!((&wrong["what"], &wrong["line"]), (&"rows".into(), &5.into()), "{wrong}");
    assert_eq!(found["coverage"]["never_written"], serde_json::json!([]), "{found}");
    // The same plugin and the same rows cost the same, each time.
    let again: Value =
        serde_json::from_slice(&test(folder.path(), &["guest.wasm", "--format", "json"]).stdout).unwrap();
    let fuel = |report: &Value| {
        report["cases"].as_array().unwrap().iter().map(|case| case["fuel"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(fuel(&found), fuel(&again));
}

#[test]
fn every_mistake_in_a_file_of_cases_is_answered_as_written_beside_it() {
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin-test/bad");
    let mut files: Vec<_> = fs::read_dir(&bad).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() > 30, "the bad cases are gone");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let output = test(&bad, &["splitter", "--tests", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(output.stdout.is_empty(), "{name}");
        expect_file![file.with_extension("err")].assert_eq(&String::from_utf8(output.stderr).unwrap());
    }
}

#[test]
fn what_cannot_be_run_ends_with_2_and_says_what_to_do() {
    let folder = folder(&[("empty.toml", ""), ("text.wasm", "hello"), ("tests/a.toml", WRONG)]);
    let check = |args: &[&str], expected: Expect| expected.assert_eq(&said(&test(folder.path(), args)));
    check(
        &[],
        expect![[r#"
        2
        sluice: plugin.toml: there is no such file; run this in a plugin's folder, or make one with: sluice plugin new NAME --lang LANGUAGE
    "#]],
    );
    check(
        &["guest.wasm", "--tests", "empty.toml"],
        expect![[r#"
        2
        sluice: empty.toml: no cases; write the first one, e.g. tests/first.toml:

            [[case]]
            name = "lets a large TCP flow through"
            rows = [{ proto = 6, dst_port = 443, bytes = 20000 }]
            [case.expect]

        and have what comes out written into it with: sluice plugin test --update
    "#]],
    );
    check(
        &["guest.wasm", "--tests", "nowhere"],
        expect![[r#"
        2
        sluice: nowhere cannot be read: No such file or directory (os error 2)
    "#]],
    );
    check(
        &["guest.wasm", "--case", "no such"],
        expect![[r#"
            2
            sluice: no case has `no such` in its name; there are:
              values
              a row is missing, one is too many, and the others are still found
              alerts
              metrics
              log lines
              nothing was logged at all
              no error
              another error
              init refuses
              a trap in the second step
              too dear
        "#]],
    );
    check(
        &["nowhere.wasm"],
        expect![[r#"
        2
        sluice: nowhere.wasm cannot be read: No such file or directory (os error 2)
    "#]],
    );
    check(
        &["text.wasm"],
        expect![[r#"
        2
        sluice: text.wasm is not a WebAssembly component: it is text
    "#]],
    );
    let project = "[plugin]\nname = \"x\"\n[build]\ncommands = []\ncomponent = \"x.wasm\"\n";
    fs::write(folder.path().join("plugin.toml"), project).unwrap();
    check(
        &[],
        expect![[r#"
        2
        sluice: build/x.wasm is not there; build it first: sluice plugin build
    "#]],
    );
    fs::remove_dir_all(folder.path().join("tests")).unwrap();
    check(
        &["guest.wasm"],
        expect![[r#"
        2
        sluice: there is no folder tests; write the first one, e.g. tests/first.toml:

            [[case]]
            name = "lets a large TCP flow through"
            rows = [{ proto = 6, dst_port = 443, bytes = 20000 }]
            [case.expect]

        and have what comes out written into it with: sluice plugin test --update
    "#]],
    );
}

#[test]
fn a_project_is_tested_from_its_folder_and_from_elsewhere() {
    let outer = tempfile::tempdir().unwrap();
    let project = outer.path().join("x");
    fs::create_dir_all(project.join("build")).unwrap();
    fs::create_dir(project.join("tests")).unwrap();
    fs::write(project.join("build/x.wasm"), guest()).unwrap();
    let toml = "[plugin]\nname = \"x\"\n[build]\ncommands = []\ncomponent = \"x.wasm\"\n";
    fs::write(project.join("plugin.toml"), toml).unwrap();
    let case = "[[case]]\nname = \"a\"\nrows = [{ bytes = 1 }]\n[case.expect]\nrow_count = 1\n";
    fs::write(project.join("tests/a.toml"), case).unwrap();
    for (folder, args) in [(project.as_path(), &[][..]), (&project, &["."]), (outer.path(), &["x"])] {
        let output = test(folder, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_built_in_plugin_is_tested_by_its_name() {
    let case = r#"
        [[case]]
        name = "tenants have routes"
        config = { name = "tenant-{customer_id}" }
        rows = [{ customer_id = 7 }, { customer_id = 8 }]
        [case.expect]
        routes = ["tenant-7", "tenant-8"]
    "#;
    let folder = folder(&[("tests/a.toml", case)]);
    expect![[r#"
        0
        tests/a.toml
          ok    tenants have routes      2 -> 2 rows, N fuel
        columns of the manifest: 1, all touched
        1 passed, 0 failed, in T s
    "#]]
    .assert_eq(&said(&test(folder.path(), &["splitter"])));
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

#[test]
fn every_key_has_its_place_in_the_reference() {
    let page = page("reference/plugin-test.md");
    let base = "[[case]]\nname = \"a\"\nrows = []\n";
    let places = [
        "wrong = 1\n".to_owned() + base + "expect = { row_count = 0 }\n",
        format!("{base}wrong = 1\nexpect = {{ row_count = 0 }}\n"),
        format!("{base}[case.expect]\nwrong = 1\n"),
        format!("{base}[case.expect]\nalerts = [{{ wrong = 1 }}]\n"),
        "[[case]]\nname = \"a\"\n[[case.step]]\nwrong = 1\n".to_owned(),
    ];
    for cases in places {
        let folder = folder(&[("tests/a.toml", &cases)]);
        let said = said(&test(folder.path(), &["guest.wasm"]));
        let (_, known) = said.split_once("unknown key `wrong`, expected one of ").unwrap_or_else(|| panic!("{said}"));
        let keys: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() > 5, "{said}");
        for key in keys {
            let forms =
                [format!("`{key}`"), format!("`[[case.{key}]]`"), format!("`[[{key}]]`"), format!("[{key}.NAME]")];
            let is_there = forms.iter().any(|form| page.contains(form)) || page.contains(&format!("`[case.{key}]`"));
            assert!(is_there, "docs/reference/plugin-test.md says nothing of `{key}`");
        }
    }
}

#[test]
fn the_example_with_steps_runs_as_the_page_says() {
    let page = page("howto/test-a-plugin.md");
    let example = page.split("```").find(|block| block.contains("an attack is raised once")).unwrap();
    let folder = folder(&[("tests/a.toml", example.trim_start_matches("toml"))]);
    let output = test(folder.path(), &["dos-detector"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
