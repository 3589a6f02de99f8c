//! What one tenant's plugins use up, write or leak is that tenant's affair: the rows of others, and of everybody, are all there.

use std::fs;

use tempfile::TempDir;

use crate::hostile::guest;
use crate::tenants::{Collector, TWO, folder};
use crate::tool::{metrics_until, metrics_with};

/// Everything that the test plugin imports.
const GRANT: &str = r#"grant = { read = ["src_addr", "bytes", "src_as"], write = ["src_as", "customer_id"], events = true, tables = ["t"], keys = ["k", "secret"], assets = ["a"] }"#;

/// Both tenants with the test plugin as each of these, told to do that; and a sink that takes the rows of everybody.
///
/// `limits` are acme's.
fn start(limits: &str, acme: &[(&str, &str)], bolt: &[(&str, &str)]) -> Collector {
    Collector::start(prepare(limits, acme, bolt))
}

/// The folder of that.
fn prepare(limits: &str, acme: &[(&str, &str)], bolt: &[(&str, &str)]) -> TempDir {
    let configs = |plugins: &[(&str, &str)]| {
        plugins.iter().map(|(name, config)| format!("config.{name} = {{ {config} }}\n")).collect::<String>()
    };
    let two = TWO
        .replace("grant = { read = [\"proto\"] }", &format!("{GRANT}\n{limits}"))
        .replace("config.web = { name = \"proto-{proto}\" }\n", &configs(acme))
        .replace("plugins = \"bolt\"", &format!("plugins = \"bolt\"\n{GRANT}\n{}", configs(bolt)));
    let all = "[keys.secret]\npath = \"k.key\"\n[sinks.all]\ntype = \"null\"\ninputs = [\"edge\"]\n";
    let folder = folder(&format!("{two}{all}"));
    // One worker: a batch is through with all stages when the next begins.
    let config = folder.path().join("sluice.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("workers = 2"));
    fs::write(config, text.replace("workers = 2", "workers = 1")).unwrap();
    for (tenant, plugins) in [("acme", acme), ("bolt", bolt)] {
        for (plugin, _) in plugins {
            fs::write(folder.path().join(format!("{tenant}/{plugin}.wasm")), guest::guest()).unwrap();
        }
    }
    folder
}

/// Fifty million turns of a loop a batch: many times a millisecond, on any machine.
const BURN: &str = "mode = \"burn\", arg = 50_000";
const PASS: &str = "mode = \"pass\"";

#[test]
fn plugins_of_a_tenant_share_a_budget_and_what_they_use_up_is_nobody_elses() {
    let limits = "limits = { cpu_ms_per_s = 1, deadline_ms = 60_000 }";
    let mut collector = start(limits, &[("web", BURN), ("zip", PASS)], &[("web", PASS)]);
    for _ in 0..4 {
        collector.flows_to(&["bolt-rows"]);
    }
    let metrics = metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"all\"} 120");
    // The first call takes the budget of a minute; after it neither plugin is called, the one that has used nothing neither.
    for (stage, calls, shed) in [("web", 1, 45), ("zip", 0, 15)] {
        assert!(
            metrics.contains(&format!("sluice_stage_plugin_calls_total{{stage=\"acme:{stage}\"}} {calls}\n")),
            "{metrics}"
        );
        let line = format!("sluice_stage_dropped_rows_total{{stage=\"acme:{stage}\",reason=\"over_budget\"}} {shed}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("acme:select"), (120, 60, 60));
    assert_eq!(ended.books("acme:web"), (60, 15, 45));
    assert_eq!(ended.books("acme:zip"), (15, 0, 15));
    assert_eq!(ended.books("acme-rows"), (0, 0, 0));
    assert_eq!(ended.books("bolt:web"), (60, 60, 0));
    assert_eq!(ended.books("bolt-rows"), (60, 60, 0));
    assert_eq!(ended.books("all"), (120, 120, 0));
}

#[test]
fn a_loop_of_a_tenant_with_a_budget_takes_two_seconds_of_it_or_what_the_deadline_says() {
    for (deadline, ms) in [("", 100..400), (", deadline_ms = 400", 400..2000)] {
        let limits = format!("limits = {{ cpu_ms_per_s = 50{deadline} }}");
        let mut collector = start(&limits, &[("web", "mode = \"loop\"")], &[("web", PASS)]);
        for _ in 0..4 {
            collector.flows_to(&["bolt-rows"]);
        }
        let number = |metrics: &str, name: &str| {
            let name = format!("sluice_stage_plugin_{name} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok());
            value.unwrap_or(0)
        };
        let calls = |metrics: &str| number(metrics, "calls_total{stage=\"acme:web\"}");
        let ended = |metrics: &str| number(metrics, "traps_total{stage=\"acme:web\",kind=\"deadline\"}");
        let metrics = metrics_until(collector.admin, "calls that ended", |metrics| {
            ended(metrics) > 0 && ended(metrics) == calls(metrics)
        });
        let cpu_ms = number(&metrics, "cpu_nanoseconds_total{stage=\"acme:web\"}") / 1_000_000;
        assert!(ms.contains(&(cpu_ms / ended(&metrics))), "{cpu_ms} ms for {} calls", ended(&metrics));
        let ended = collector.run.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(ended.books("acme:web"), (60, 0, 60));
        assert_eq!(ended.books("bolt:web"), (60, 60, 0));
        assert_eq!(ended.books("bolt-rows"), (60, 60, 0));
    }
}

#[test]
fn rows_of_a_tenant_whose_policy_is_to_wait_come_later_and_all_of_them() {
    let limits = "limits = { cpu_ms_per_s = 10, deadline_ms = 60_000 }\nover_budget = \"delay\"";
    // A few milliseconds a batch, for each of both.
    let burn = "mode = \"burn\", arg = 5_000";
    let mut collector = start(limits, &[("web", burn), ("zip", burn)], &[]);
    for _ in 0..4 {
        collector.flows_to(&["bolt-rows"]);
    }
    metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"all\"} 120");
    let metrics = metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"acme-rows\"} 60");
    let over = metrics.lines().filter(|line| line.starts_with("sluice_stage_plugin_over_budget_total{stage=\"acme:"));
    assert!(over.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>() > 0, "{metrics}");
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for (stage, rows) in [("acme:web", 60), ("acme:zip", 60), ("acme-rows", 60), ("bolt-rows", 60), ("all", 120)] {
        assert_eq!(ended.books(stage), (rows, rows, 0), "{stage}");
    }
}

#[test]
fn a_flood_of_log_lines_is_counted_and_the_lines_of_another_tenant_are_all_there() {
    let limits = "limits = { log_lines_per_s = 3 }";
    let flood = ("web", "mode = \"log\", arg = 5_000");
    let mut collector = start(limits, &[flood], &[("web", "mode = \"log\", arg = 1")]);
    for _ in 0..4 {
        collector.flows_to(&["acme-rows", "bolt-rows"]);
    }
    let metrics = metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"all\"} 120");
    let suppressed = |tenant: &str| {
        let name = format!("sluice_stage_plugin_log_suppressed_total{{stage=\"{tenant}:web\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse::<u64>().unwrap()
    };
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let logged = |tenant: &str| {
        let stage = format!("\"stage\":\"{tenant}:web\"");
        ended.log.lines().filter(|line| line.contains(&stage) && line.contains("\"message\":\"line ")).count() as u64
    };
    assert_eq!(logged("acme") + suppressed("acme"), 20_000, "every line is there or counted");
    // Three at once, then three a second.
    assert!((3..2000).contains(&logged("acme")), "{}", logged("acme"));
    assert_eq!((logged("bolt"), suppressed("bolt")), (4, 0));
    for (component, rows) in [("acme:web", 60), ("acme-rows", 60), ("bolt-rows", 60), ("all", 120)] {
        assert_eq!(ended.books(component), (rows, rows, 0), "{component}");
    }
}

#[test]
fn failures_without_end_do_not_fill_the_log_either() {
    let folder = prepare("", &[("web", PASS)], &[]);
    // It traps in every third call and works in a fresh instance: no row is lost, and there is no reason for a quarantine.
    fs::write(folder.path().join("acme/web.wasm"), guest::version(9)).unwrap();
    let mut collector = Collector::start(folder);
    for _ in 0..200 {
        collector.flows_to(&["acme-rows", "bolt-rows"]);
    }
    let metrics = metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"all\"} 6000");
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse::<u64>().unwrap()
    };
    let traps = number("sluice_stage_plugin_traps_total{stage=\"acme:web\",kind=\"trap\"}");
    let suppressed = number("sluice_stage_plugin_log_suppressed_total{stage=\"acme:web\"}");
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let logged = ended.log.lines().filter(|line| line.contains("process ended the instance")).count() as u64;
    assert!(traps > 60, "{traps} traps");
    assert!(logged >= 10 && suppressed > 0, "{logged} and {suppressed} of {traps}");
    assert!(logged <= traps / 2, "{logged} and {suppressed} of {traps}");
    for (component, rows) in [("acme:web", 3000), ("acme-rows", 3000), ("bolt-rows", 3000), ("all", 6000)] {
        assert_eq!(ended.books(component), (rows, rows, 0), "{component}");
    }
}

#[test]
fn a_plugin_that_never_closes_what_it_opens_gets_no_more_and_another_has_its_own() {
    let leak = ("web", "mode = \"leak-handles\", arg = 1_000");
    // It opens as many as it can, and fails to say how many that were.
    let counts = ("zip", "mode = \"handles\", arg = 1_000");
    let mut collector = start("", &[leak, counts], &[("web", "mode = \"leak-handles\", arg = 10")]);
    for _ in 0..4 {
        collector.flows_to(&["bolt-rows"]);
    }
    metrics_with(collector.admin, "sluice_sink_out_rows_total{sink=\"all\"} 120");
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("(64, Some("), "{}", ended.log);
    assert_eq!(ended.books("acme:web"), (60, 60, 0), "its rows are good");
    assert_eq!(ended.books("acme:zip"), (60, 0, 60));
    assert_eq!(ended.books("bolt:web"), (60, 60, 0));
    assert_eq!(ended.books("bolt-rows"), (60, 60, 0));
    assert_eq!(ended.books("all"), (120, 120, 0));
}
