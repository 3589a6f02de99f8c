//! What reaches a sink as it came: what `check` says, what `require = "anonymised"` refuses, and what a private plugin
//! that does not do what it says costs.

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};

use crate::hostile::guest::guest;
use crate::tool::{Running, exporter, netflow5, sluice};

/// Exit code, standard output and standard error of `sluice check` on a configuration.
fn checked(text: &str) -> (i32, String, String) {
    let folder = folder(text);
    let output = sluice().current_dir(folder.path()).args(["--log=error", "check", "edge.toml"]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What `check` says of addresses.
fn check(text: &str, expected: Expect) {
    let (code, said, error) = checked(text);
    assert_eq!(code, 0, "{error}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("addresses in ")).collect();
    expected.assert_eq(&lines.join("\n"));
}

/// What `check` refuses, in one line.
fn refused(text: &str, expected: Expect) {
    let (code, said, error) = checked(text);
    assert_eq!((code, said.as_str()), (2, ""), "{error}");
    expected.assert_eq(error.trim_end());
}

const EDGE: &str = "[sources.edge]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\n";

/// A reducer behind `inputs`.
fn reducer(inputs: &str, config: &str) -> String {
    format!("[stages.public]\ninputs = [\"{inputs}\"]\nplugin = \"reducer\"\nconfig = {{ {config} }}\n")
}

/// A sink that shows everything that it gets, with more keys.
fn sink(name: &str, inputs: &str, more: &str) -> String {
    format!("[sinks.{name}]\ntype = \"stdout\"\nformat = \"json\"\ninputs = [{inputs}]\n{more}\n")
}

/// The guest, which reads source addresses, with what it imports.
const FILTER: &str = r#"
    [stages.filter]
    inputs = ["edge"]
    plugin = "./guest.wasm"
    grant = { read = ["src_addr", "bytes", "src_as"], write = ["src_as", "customer_id"], events = true, tables = ["t"], keys = ["k"], assets = ["t"] }
    private = false
    [tables.t]
    type = "prefix"
    path = "t.csv"
    [keys.k]
    path = "k.key"
    [assets.t]
    path = "t.csv"
"#;

/// The guest as a private stage that hides source addresses as `arg` says.
fn hiding(arg: u32) -> String {
    FILTER
        .replace("private = false", &format!("private = true\n    config = {{ mode = \"hide\", arg = {arg} }}"))
        .replace("write = [", "write = [\"src_addr\", ")
}

/// A folder with the guest and what it imports, and a configuration.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("guest.wasm"), guest()).unwrap();
    fs::write(path("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(path("k.key"), "00".repeat(32)).unwrap();
    fs::write(path("edge.toml"), config).unwrap();
    folder
}

const REQUIRE: &str = "require = \"anonymised\"";

#[test]
fn check_says_which_addresses_reach_which_sink_and_how() {
    let truncate = reducer("edge", "mode = \"truncate\"");
    let text = format!(
        "{EDGE}{truncate}{}{}{}",
        sink("raw", "\"edge\"", "fields = [\"src_addr\", \"bytes\"]"),
        sink("clean", "\"public\"", ""),
        sink("plain", "\"edge\"", "fields = [\"bytes\"]"),
    );
    check(
        &text,
        expect![[r#"
        addresses in raw: src_addr as they came (edge -> raw)
        addresses in clean: none as it came
        addresses in plain: none as it came"#]],
    );
    let some = reducer("edge", "mode = \"truncate\", fields = [\"src_addr\", \"dst_addr\"]");
    check(
        &format!("{EDGE}{some}{}", sink("out", "\"public\"", "")),
        expect![
            "addresses in out: exporter_addr next_hop bgp_next_hop nat_src_addr nat_dst_addr as they came (edge -> public -> out)"
        ],
    );
    let kept = reducer("edge", "keep = [\"src_addr\", \"bytes\"], mode = \"truncate\"");
    check(&format!("{EDGE}{kept}{}", sink("out", "\"public\"", REQUIRE)), expect!["addresses in out: none as it came"]);
}

#[test]
fn a_sink_that_requires_addresses_to_be_hidden_refuses_every_way_around_it() {
    let truncate = reducer("edge", "mode = \"truncate\"");
    refused(
        &format!("{EDGE}{truncate}{}", sink("out", "\"public\", \"edge\"", REQUIRE)),
        expect![[
            r#"sluice: edge.toml:12:11: sinks.out: exporter_addr, src_addr, dst_addr, next_hop, bgp_next_hop, nat_src_addr, nat_dst_addr can get here as they came (edge -> out): hide them in a private stage on the way (a `reducer`), leave them out of what the sink writes, or accept it with `allow = ["exporter_addr", "src_addr", "dst_addr", "next_hop", "bgp_next_hop", "nat_src_addr", "nat_dst_addr"]`"#
        ]],
    );
    let some = reducer("edge", "mode = \"truncate\", fields = [\"src_addr\"]");
    refused(
        &format!(
            "{EDGE}{some}{}",
            sink("out", "\"public\"", &format!("{REQUIRE}\nfields = [\"src_addr\", \"dst_addr\"]"))
        ),
        expect![[
            r#"sluice: edge.toml:12:11: sinks.out: dst_addr can get here as it came (edge -> public -> out): hide it in a private stage on the way (a `reducer`), leave it out of what the sink writes, or accept it with `allow = ["dst_addr"]`"#
        ]],
    );
    let dead = reducer("edge", "mode = \"truncate\"") + "on_error = \"dead-letter\"\n";
    let sinks = sink("out", "\"public\"", "") + &sink("dead", "\"public.dead-letter\"", REQUIRE);
    refused(
        &format!("{EDGE}{dead}{sinks}"),
        expect![[
            r#"sluice: edge.toml:18:11: sinks.dead: exporter_addr, src_addr, dst_addr, next_hop, bgp_next_hop, nat_src_addr, nat_dst_addr can get here as they came (edge -> public.dead-letter -> dead): hide them in a private stage on the way (a `reducer`), leave them out of what the sink writes, or accept it with `allow = ["exporter_addr", "src_addr", "dst_addr", "next_hop", "bgp_next_hop", "nat_src_addr", "nat_dst_addr"]`"#
        ]],
    );
    let not_private = reducer("edge", "mode = \"truncate\"") + "private = false\n";
    refused(
        &format!("{EDGE}{not_private}{}", sink("out", "\"public\"", REQUIRE)),
        expect![[
            r#"sluice: edge.toml:13:11: sinks.out: exporter_addr, src_addr, dst_addr, next_hop, bgp_next_hop, nat_src_addr, nat_dst_addr can get here as they came (edge -> public -> out): hide them in a private stage on the way (a `reducer`), leave them out of what the sink writes, or accept it with `allow = ["exporter_addr", "src_addr", "dst_addr", "next_hop", "bgp_next_hop", "nat_src_addr", "nat_dst_addr"]`"#
        ]],
    );
}

#[test]
fn what_the_operator_accepts_may_pass_and_nothing_else() {
    let truncate = reducer("edge", "mode = \"truncate\", per_field = { exporter_addr = { mode = \"none\" } }");
    let text = |allow: &str| {
        format!("{EDGE}{truncate}{}", sink("out", "\"public\"", &format!("{REQUIRE}\nallow = [\"{allow}\"]")))
    };
    check(&text("exporter_addr"), expect!["addresses in out: exporter_addr as they came (edge -> public -> out)"]);
    refused(
        &text("src_addr"),
        expect![[
            r#"sluice: edge.toml:12:11: sinks.out: exporter_addr can get here as it came (edge -> public -> out): hide it in a private stage on the way (a `reducer`), leave it out of what the sink writes, or accept it with `allow = ["exporter_addr"]`"#
        ]],
    );
    refused(
        &text("exporter_adr"),
        expect![
            "sluice: edge.toml:13:10: sinks.out: allow: there is no column `exporter_adr`; did you mean `exporter_addr`?"
        ],
    );
    let alone = sink("out", "\"edge\"", "allow = [\"note\"]");
    refused(
        &format!("{EDGE}{alone}"),
        expect![[r#"sluice: edge.toml:8:1: sinks.out: `allow` is for `require = "anonymised"`; leave it out"#]],
    );
}

#[test]
fn a_plugin_from_a_file_that_saw_an_address_may_have_copied_it() {
    let truncate = reducer("filter", "mode = \"truncate\"");
    refused(
        &format!("{EDGE}{FILTER}{truncate}{}", sink("out", "\"public\"", REQUIRE)),
        expect![[
            r#"sluice: edge.toml:25:11: sinks.out: an address can be in src_as, customer_id, route (edge -> filter -> public -> out), where a plugin from a file or the sender may have put it: grant the plugin less, drop it in a `reducer` on the way, leave it out of what the sink writes, or accept it with `allow = ["src_as", "customer_id", "route"]`"#
        ]],
    );
    let kept = reducer("filter", "mode = \"truncate\", keep = [\"src_addr\", \"bytes\"]");
    let shown = format!("{REQUIRE}\nfields = [\"src_addr\", \"bytes\"]");
    check(
        &format!("{EDGE}{FILTER}{kept}{}", sink("out", "\"public\"", &shown)),
        expect!["addresses in out: none as it came"],
    );
    // The record of what was done to an address before goes into the reducer's own.
    let recorded = FILTER.replace("write = [", "write = [\"src_addr_preserved\", ");
    let shown_record = format!("{REQUIRE}\nfields = [\"src_addr\", \"src_addr_preserved\"]");
    refused(
        &format!("{EDGE}{recorded}{truncate}{}", sink("out", "\"public\"", &shown_record)),
        expect![[
            r#"sluice: edge.toml:25:11: sinks.out: an address can be in src_addr_preserved (edge -> filter -> public -> out), where a plugin from a file or the sender may have put it: grant the plugin less, drop it in a `reducer` on the way, leave it out of what the sink writes, or accept it with `allow = ["src_addr_preserved"]`"#
        ]],
    );
    // The operator says that it hides, and which address: then it is not suspected of copying.
    let hides = hiding(0);
    let shown = format!("{REQUIRE}\nfields = [\"src_addr\", \"customer_id\"]");
    check(&format!("{EDGE}{hides}{}", sink("out", "\"filter\"", &shown)), expect!["addresses in out: none as it came"]);
}

#[test]
fn fields_and_columns_of_the_senders_own_may_hold_an_address() {
    let kafka = "[sources.edge]\ntype = \"kafka\"\nbrokers = [\"127.0.0.1:1\"]\ntopics = [\"flows\"]\ngroup = \"g\"\nformat = \"goflow2\"\nframing = \"bare\"\n";
    let out = |inputs: &str, more: &str| {
        format!(
            "[sinks.out]\ntype = \"kafka\"\nbrokers = [\"127.0.0.1:1\"]\ntopic = \"out\"\nformat = \"goflow2\"\nframing = \"bare\"\ninputs = [\"{inputs}\"]\n{more}\n"
        )
    };
    let hash = reducer("edge", "mode = \"truncate\"");
    check(
        &format!("{kafka}{}", out("edge", "")),
        expect![
            "addresses in out: exporter_addr src_addr dst_addr next_hop bgp_next_hop nat_src_addr nat_dst_addr as they came, perhaps in unknown (edge -> out)"
        ],
    );
    check(&format!("{kafka}{hash}{}", out("public", REQUIRE)), expect!["addresses in out: none as it came"]);

    let own = "[columns.inner_addr]\nwidth = \"u32\"\nelement = { id = 8 }\n";
    let fields =
        |more: &str| sink("out", "\"public\"", &format!("{REQUIRE}\nfields = [\"src_addr\", \"inner_addr\"]\n{more}"));
    refused(
        &format!("{own}{EDGE}{hash}{}", fields("")),
        expect![[
            r#"sluice: edge.toml:15:11: sinks.out: an address can be in inner_addr (edge -> public -> out), where a plugin from a file or the sender may have put it: grant the plugin less, drop it in a `reducer` on the way, leave it out of what the sink writes, or accept it with `allow = ["inner_addr"]`"#
        ]],
    );
    check(
        &format!("{own}{EDGE}{hash}{}", fields("allow = [\"inner_addr\"]")),
        expect!["addresses in out: perhaps in inner_addr (edge -> public -> out)"],
    );
    let dropped = reducer("edge", "mode = \"truncate\", drop = [\"inner_addr\"]");
    check(&format!("{own}{EDGE}{dropped}{}", fields("")), expect!["addresses in out: none as it came"]);
}

#[test]
fn alerts_name_what_their_stage_saw() {
    let dos = |inputs: &str| {
        format!(
            "[stages.dos]\ninputs = [\"{inputs}\"]\nplugin = \"dos-detector\"\nconfig = {{ hosts = {{ total = {{ flows = 100 }} }} }}\n"
        )
    };
    let truncate = reducer("edge", "mode = \"truncate\"");
    let alerts = format!("[sinks.alerts]\ntype = \"events\"\ninputs = [\"dos\"]\n{REQUIRE}\n");
    let rows = sink("out", "\"public\"", REQUIRE);
    refused(
        &format!("{EDGE}{}{truncate}{alerts}{rows}", dos("edge")),
        expect![[
            r#"sluice: edge.toml:15:11: sinks.alerts: alerts can name dst_addr (edge -> dos -> alerts): take those of a stage behind one that hides, or accept it with `allow = ["dst_addr"]`"#
        ]],
    );
    check(
        &format!("{EDGE}{}{truncate}{alerts}{rows}", dos("public")),
        expect![[r#"
        addresses in alerts: none as it came
        addresses in out: none as it came"#]],
    );
}

#[test]
fn run_refuses_what_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.toml");
    fs::write(&config, format!("{EDGE}{}", sink("out", "\"edge\"", REQUIRE))).unwrap();
    let output = sluice().arg("--log=info").arg("run").arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("edge.toml:8:11: sinks.out: exporter_addr, src_addr, dst_addr"), "{said}");
}

#[test]
fn a_private_plugin_that_leaves_an_address_alone_loses_the_batch_and_no_address() {
    let run = |arg: u32| {
        let shown = format!("{REQUIRE}\nfields = [\"src_addr\", \"bytes\"]");
        let sinks = sink("out", "\"filter\"", &shown) + &sink("other", "\"edge\"", "fields = [\"bytes\"]");
        let folder = folder(&format!("{EDGE}batch_delay_ms = 5\n{}{sinks}", hiding(arg)));
        let config = folder.path().join("edge.toml");
        let mut run = Running::start(&config);
        exporter(run.listening()).send(&netflow5(0, &[1, 2, 3])).unwrap();
        // The other sink has its rows only when the worker is done with the batch.
        let lines: Vec<String> = run.stdout.by_ref().take(if arg == 0 { 6 } else { 3 }).collect();
        let ended = run.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        (lines, ended)
    };
    let (lines, ended) = run(0);
    assert_eq!(ended.books("filter"), (3, 3, 0));
    assert_eq!(ended.books("out"), (3, 3, 0));
    assert!(!lines.iter().any(|line| line.contains("198.18.0.1")), "{lines:?}");
    let (lines, ended) = run(1);
    assert_eq!(ended.books("filter"), (3, 0, 3));
    assert_eq!(ended.books("out"), (0, 0, 0));
    assert!(ended.log.contains("3 address_left"), "{}", ended.log);
    assert!(ended.log.contains("src_addr was left as it came"), "{}", ended.log);
    assert!(!lines.iter().any(|line| line.contains("198.18.0.1")), "{lines:?}");
}

#[test]
fn a_configuration_that_is_read_again_is_followed_before_anything_changes() {
    let shown = format!("{REQUIRE}\nfields = [\"src_addr\", \"dst_addr\"]");
    let config = |reducer_config: &str, inputs: &str| {
        format!("{EDGE}{}{}", reducer("edge", reducer_config), sink("out", inputs, &shown))
    };
    let folder = folder(&config("mode = \"truncate\"", "\"public\""));
    let path = folder.path().join("edge.toml");
    let mut run = Running::start(&path);
    run.listening();
    let mut refused = |text: &str| {
        fs::write(&path, text).unwrap();
        run.signal("HUP");
        run.wait_for("configuration not taken up")["error"].as_str().unwrap().to_owned()
    };
    let around = refused(&config("mode = \"truncate\"", "\"public\", \"edge\""));
    assert!(around.contains("sinks.out: src_addr, dst_addr can get here as they came (edge -> out)"), "{around}");
    // What counts is what the stage would become, not what runs.
    let less = refused(&config("mode = \"truncate\", fields = [\"src_addr\"]", "\"public\""));
    assert!(less.contains("sinks.out: dst_addr can get here as it came (edge -> public -> out)"), "{less}");
    fs::write(&path, config("mode = \"truncate\", mask_v4 = 16", "\"public\"")).unwrap();
    run.signal("HUP");
    assert_eq!(run.wait_for("configuration read")["changed"], "changed stages.public");
    assert_eq!(run.stop().code, Some(0));
}

/// The page about the proof: its configuration passes, and what it says that `check` prints is printed.
#[test]
fn the_page_about_privacy_says_what_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/prove-privacy.md");
    let page = fs::read_to_string(page).unwrap();
    let config = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let (code, said, error) = checked(config);
    assert_eq!(code, 0, "{error}");
    let shown: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    addresses in ")).collect();
    assert!(!shown.is_empty());
    let printed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("addresses in ")).collect();
    assert_eq!(printed, shown);
    // And what it says of the mistake is said.
    let wrong = config.replace("inputs = [\"public\"]", "inputs = [\"public\", \"edge\"]");
    assert_ne!(wrong, config);
    let (code, _, error) = checked(&wrong);
    assert_eq!(code, 2);
    let line = page.lines().find_map(|line| line.strip_prefix("    sluice: edge.toml")).unwrap();
    assert_eq!(error.trim_end(), format!("sluice: edge.toml{line}"));
}
