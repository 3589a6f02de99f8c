//! Tenants: each has rows of its own, a folder of plugins, and limits; what one does is nothing to another.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::hostile::guest;
use crate::hot_swap::splitter;
use crate::tool::{Running, exporter, metrics_with, netflow5, sluice};

pub(crate) const HEAD: &str = r#"
    workers = 2

    [admin]
    listen = "127.0.0.1:0"

    [sources.edge]
    type = "udp"
    listen = "127.0.0.1:0"
    batch_delay_ms = 5

    [tables.t]
    type = "prefix"
    path = "t.csv"
    [keys.k]
    path = "k.key"
    [assets.a]
    path = "t.csv"
"#;

/// Two tenants with half of the hosts each.
pub(crate) const TWO: &str = r#"
    [tenants.acme]
    inputs = ["edge"]
    prefixes = ["192.0.2.0/28"]
    plugins = "acme"
    grant = { read = ["proto"] }
    config.web = { name = "proto-{proto}" }

    [tenants.bolt]
    inputs = ["edge"]
    prefixes = ["192.0.2.16/28"]
    plugins = "bolt"

    [sinks.acme-rows]
    type = "file"
    path = "acme.json"
    inputs = ["acme"]
    fields = ["dst_addr"]

    [sinks.bolt-rows]
    type = "file"
    path = "bolt.json"
    inputs = ["bolt"]
    fields = ["dst_addr"]
"#;

pub(crate) fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sluice.toml"), format!("{HEAD}{config}")).unwrap();
    fs::write(folder.path().join("t.csv"), "192.0.2.0/24,1\n").unwrap();
    fs::write(folder.path().join("k.key"), "00".repeat(32)).unwrap();
    for tenant in ["acme", "bolt"] {
        fs::create_dir(folder.path().join(tenant)).unwrap();
    }
    folder
}

/// A collector of two tenants that runs.
pub(crate) struct Collector {
    pub(crate) run: Running,
    pub(crate) admin: SocketAddr,
    socket: UdpSocket,
    folder: TempDir,
    pub(crate) sent: u64,
}

impl Collector {
    pub(crate) fn start(folder: TempDir) -> Collector {
        let mut run = Running::start(&folder.path().join("sluice.toml"));
        let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
        let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
        let socket = exporter(run.listening());
        Collector { run, admin, socket, folder, sent: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a whole file in place at once.
    fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.path("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    /// Sends 15 rows of each tenant and waits until both have all that was sent.
    fn flows(&mut self) {
        self.flows_to(&["acme-rows", "bolt-rows"]);
    }

    /// Sends 15 rows of each tenant and waits until these sinks have theirs of all that was sent.
    pub(crate) fn flows_to(&mut self, sinks: &[&str]) {
        self.socket.send(&netflow5(self.sent as u32, &(1..=30).collect::<Vec<u8>>())).unwrap();
        self.sent += 30;
        for sink in sinks {
            metrics_with(self.admin, &format!("sluice_sink_out_rows_total{{sink=\"{sink}\"}} {}", self.sent / 2));
        }
    }
}

fn hosts(path: &Path) -> BTreeSet<u8> {
    let text = fs::read_to_string(path).unwrap();
    let host = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["dst_addr"].as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap()
    };
    text.lines().map(host).collect()
}

#[test]
fn each_tenant_gets_its_own_rows_and_its_folder_is_taken_up_as_it_changes() {
    let mut collector = Collector::start(folder(TWO));
    // Nothing in the folders: rows pass.
    collector.flows();
    collector.put("acme/web.wasm", &splitter(0));
    let taken = collector.run.wait_for("folder taken up");
    assert_eq!(
        (&taken["tenant"], &taken["changed"]),
        (&"acme".into(), &"added stages.acme:web; rows go other ways".into())
    );
    collector.flows();
    collector.put("acme/web.wasm", &splitter(1));
    assert_eq!(collector.run.wait_for("new plugin takes over")["stage"], "acme:web");
    collector.flows();
    // What is not as it should be is refused, and said once; everything else goes on.
    symlink(collector.path("acme/web.wasm"), collector.path("acme/link.wasm")).unwrap();
    let refused = collector.run.wait_for("file of a tenant refused");
    assert_eq!(
        (&refused["file"], &refused["why"]),
        (&"link".into(), &"it is a symbolic link; put the file itself there".into())
    );
    collector.put("acme/no good.wasm", b"");
    assert_eq!(
        collector.run.wait_for("file of a tenant refused")["why"],
        "names are 1 to 64 letters, digits, `_` and `-`"
    );
    collector.put("acme/select.wasm", &splitter(0));
    assert_eq!(collector.run.wait_for("file of a tenant refused")["file"], "select");
    fs::write(collector.path("beside"), splitter(2)).unwrap();
    fs::set_permissions(collector.path("beside"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::rename(collector.path("beside"), collector.path("acme/open.wasm")).unwrap();
    assert_eq!(collector.run.wait_for("file of a tenant refused")["why"], "everybody can write to it; `chmod o-w` it");
    // A plugin that asks for what is not granted, and one that is none, keep nobody else from changing.
    collector.put("bolt/rate.wasm", &splitter(0));
    let error = collector.run.wait_for("folder not taken up")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("sluice.toml:") && error.contains("tenants.bolt: rate: "), "{error}");
    collector.flows();
    fs::remove_file(collector.path("acme/web.wasm")).unwrap();
    // The refused files before it were taken note of in the same way.
    while !collector.run.wait_for("folder taken up")["changed"].as_str().unwrap().contains("removed stages.acme:web") {}
    collector.flows();

    let sent = collector.sent;
    let folder = collector.folder;
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    for tenant in ["acme", "bolt"] {
        assert_eq!(ended.books(&format!("{tenant}:select")), (sent, sent / 2, sent / 2));
        assert_eq!(ended.books(&format!("{tenant}-rows")), (sent / 2, sent / 2, 0));
    }
    assert_eq!(hosts(&folder.path().join("acme.json")), (1..=15).collect());
    assert_eq!(hosts(&folder.path().join("bolt.json")), (16..=30).collect());
}

#[test]
fn a_reload_changes_what_is_another_one_and_leaves_the_rest() {
    let folder = folder(TWO);
    fs::write(folder.path().join("acme/web.wasm"), splitter(0)).unwrap();
    let mut collector = Collector::start(folder);
    let reload = |collector: &mut Collector, from: &str, to: &str| {
        assert!(TWO.contains(from));
        fs::write(collector.path("sluice.toml"), format!("{HEAD}{}", TWO.replace(from, to))).unwrap();
        collector.run.signal("HUP");
        let taken = collector.run.wait_for("configuration");
        collector.flows();
        format!("{}{}", taken["changed"].as_str().unwrap_or(""), taken["error"].as_str().unwrap_or(""))
    };
    assert_eq!(reload(&mut collector, "proto-{proto}", "p-{proto}"), "changed stages.acme:web");
    assert_eq!(reload(&mut collector, "", ""), "changed stages.acme:web");
    assert_eq!(reload(&mut collector, "", ""), "nothing changed");
    let limited = reload(&mut collector, "plugins = \"acme\"", "plugins = \"acme\"\nlimits = { cpu_ms_per_s = 500 }");
    assert_eq!(limited, "changed stages.acme:web");
    let other = reload(&mut collector, "\"192.0.2.16/28\"", "\"192.0.2.16/28\", \"203.0.113.0/24\"");
    assert_eq!(other, "changed stages.acme:web, stages.bolt:select");
    assert!(reload(&mut collector, "\"192.0.2.16/28\"", "\"192.0.2.17/28\"").contains("tenants.bolt: select: "));
    let ended = collector.run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

#[test]
fn a_tenant_that_loops_or_allocates_without_end_takes_nothing_from_another() {
    for (mode, isolation) in [("loop", "thread"), ("memory", "thread"), ("trap", "process")] {
        let grant = r#"grant = { read = ["src_addr", "bytes", "src_as", "proto", "customer_id", "note", "mpls_labels"], write = ["src_addr", "src_as", "customer_id", "note", "mpls_labels"], events = true, tables = ["t"], keys = ["k"], assets = ["a"] }
            limits = { deadline_ms = 100, memory_bytes = 8_000_000, cpu_ms_per_s = 200 }"#;
        let text = TWO
            .replace("grant = { read = [\"proto\"] }", &format!("{grant}\nisolation = \"{isolation}\""))
            .replace("{ name = \"proto-{proto}\" }", &format!("{{ mode = \"{mode}\", arg = 1000 }}"));
        let folder = folder(&text);
        fs::write(folder.path().join("acme/web.wasm"), guest::guest()).unwrap();
        let mut collector = Collector::start(folder);
        for _ in 0..4 {
            collector.flows_to(&["bolt-rows"]);
        }
        let ended = collector.run.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(ended.books("acme:web"), (60, 0, 60), "{mode}");
        assert_eq!(ended.books("acme-rows"), (0, 0, 0), "{mode}");
        assert_eq!(ended.books("bolt-rows"), (60, 60, 0), "{mode}");
    }
}

fn check(config: &str, prepare: impl Fn(&Path)) -> String {
    let folder = folder(config);
    prepare(folder.path());
    let output = sluice().current_dir(folder.path()).args(["check", "sluice.toml"]).output().unwrap();
    format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn check_shows_the_stages_of_a_tenant_in_the_order_they_run() {
    let config = TWO
        .replace("plugins = \"acme\"", "plugins = \"acme\"\norder = [\"web\"]")
        .replace("config.web", "config.aaa = { name = \"{proto}\" }\nconfig.web");
    let said = check(&config, |folder| {
        fs::write(folder.join("acme/aaa.wasm"), splitter(0)).unwrap();
        fs::write(folder.join("acme/web.wasm"), splitter(0)).unwrap();
    });
    assert!(said.contains("source edge -> acme:select, bolt:select\n"), "{said}");
    assert!(said.contains("stage acme:select -> acme:web\n"), "{said}");
    assert!(said.contains("stage acme:web -> acme:aaa\n"), "{said}");
    assert!(said.contains("stage acme:aaa -> acme-rows\n"), "{said}");
    assert!(said.contains("stage bolt:select -> bolt-rows\n"), "{said}");
}

#[test]
fn a_wrong_tenant_says_what_would_be_right() {
    let wrong = |from: &str, to: &str, says: &str| {
        assert!(TWO.contains(from));
        let said = check(&TWO.replace(from, to), |_| {});
        assert!(said.contains(says), "{says:?} is not in {said}");
    };
    wrong("prefixes = [\"192.0.2.0/28\"]", "", "tenants.acme: which rows are the tenant's? Add `customers = [7]`");
    wrong("plugins = \"acme\"", "plugins = \"nowhere\"", "tenants.acme: nowhere cannot be read: ");
    wrong(
        "plugins = \"acme\"",
        "plugins = \"acme\"\non_error = \"stop\"",
        "would let a tenant's plugin stop everybody",
    );
    wrong("plugins = \"acme\"", "plugins = \"acme\"\nordre = []", "unknown key `ordre`");
    wrong("[tenants.acme]", "[tenants.edge]", "`edge` is a tenant, and a source or stage; rename one");
    wrong(
        "inputs = [\"acme\"]",
        "inputs = [\"edge\"]",
        "tenants: nothing takes the rows of `acme`; name it in the `inputs`",
    );
    wrong("inputs = [\"acme\"]", "inputs = [\"acme\", \"acme\"]", "`acme` is listed twice");
    wrong("inputs = [\"acme\"]", "inputs = [\"acme.dead-letter\"]", "`acme` has no dead letters");
    wrong("config.web = { name = \"proto-{proto}\" }", "config.web = 1", "`config.web` must be a table");
    let said = check(TWO, |folder| {
        fs::set_permissions(folder.join("acme"), fs::Permissions::from_mode(0o777)).unwrap();
    });
    assert!(said.contains("everybody can write to acme; `chmod o-w` it"), "{said}");
}

#[test]
fn as_the_page_says_a_tenant_gets_its_rows_through_its_plugins() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/tenants.md");
    let text = fs::read_to_string(path).unwrap();
    let example = text.split("```").find_map(|block| block.strip_prefix("toml\n")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("tenants/acme")).unwrap();
    fs::write(folder.path().join("tenants/acme/web.wasm"), splitter(0)).unwrap();
    fs::write(folder.path().join("flows.bin"), netflow5(0, &(1..=30).collect::<Vec<u8>>())).unwrap();
    fs::write(folder.path().join("sluice.toml"), example).unwrap();
    let ended = Running::start(&folder.path().join("sluice.toml")).end();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.books("acme:select"), (30, 15, 15));
    assert_eq!(ended.books("acme:web"), (15, 15, 0));
    assert_eq!(hosts(&folder.path().join("acme.json")), (1..=15).collect());
}
