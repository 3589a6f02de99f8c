//! Whose plugins run: keys, signatures beside files, the lock, and what `inspect` says of a file.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hostile::guest::tiny;
use crate::hot_swap::splitter;
use crate::tool::{Running, exporter, get, netflow5, sluice};

/// What the configuration of [`Folder`] says of plugins.
const SIGNED: &str = "keys = [\"operator.pub\"]\nrequire_signature = true";

/// A folder with a key pair, a plugin `split.wasm`, and a configuration that runs it.
struct Folder {
    dir: tempfile::TempDir,
}

/// How a command ended.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new(plugins: &str) -> Folder {
        let folder = Folder { dir: tempfile::tempdir().unwrap() };
        fs::write(folder.plugin(), splitter(0)).unwrap();
        let text = format!(
            "[plugins]\n{plugins}\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[sources.edge]\ntype = \"udp\"\nlisten = \"127.0.0.1:0\"\n\n\
             [stages.split]\ninputs = [\"edge\"]\nplugin = \"./split.wasm\"\ngrant = {{ read = [\"proto\"] }}\n\
             config = {{ name = \"proto-{{proto}}\" }}\n\n[sinks.out]\ntype = \"null\"\ninputs = [\"split.*\"]\n"
        );
        fs::write(folder.path("edge.toml"), text).unwrap();
        folder.good(&["plugin", "keygen", "operator"]);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plugin(&self) -> PathBuf {
        self.path("split.wasm")
    }

    fn sign(&self, key: &str) {
        self.good(&["plugin", "sign", "split.wasm", "--key", key]);
    }

    fn sluice(&self, args: &[&str]) -> Said {
        let output = sluice().current_dir(self.dir.path()).arg("--log=warn").args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Standard output of a command that ends well.
    fn good(&self, args: &[&str]) -> String {
        let said = self.sluice(args);
        assert_eq!(said.code, 0, "{args:?}: {}", said.stderr);
        said.stdout
    }

    /// Exit code and the one line that a command says, with the key's id as `ID` and digests as `SHA`.
    fn bad(&self, args: &[&str]) -> String {
        let said = self.sluice(args);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        format!("{} {}", said.code, anonymous(said.stderr.trim_end()))
    }

    /// A run of the configuration, with its admin port and the one that it receives on.
    fn start(&self) -> (Running, SocketAddr, SocketAddr) {
        let mut run = Running::start(&self.path("edge.toml"));
        let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
        let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
        let to = run.listening();
        (run, admin, to)
    }
}

/// `text` with what differs from run to run taken out: words of 16 or 64 hexadecimal digits.
fn anonymous(text: &str) -> String {
    let mut shown = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.len() {
            16 if is_hex => shown.push_str("ID"),
            64 if is_hex => shown.push_str("SHA"),
            _ => shown.push_str(digits),
        }
        shown.push_str(&word[digits.len()..]);
    }
    shown
}

/// The signer in the metrics.
fn signer(admin: SocketAddr) -> String {
    let metrics = get(admin, "/metrics");
    let line = metrics.lines().find(|line| line.starts_with("sluice_stage_plugin_info{") && line.ends_with(" 1.0"));
    anonymous(line.and_then(|line| line.split("signer=\"").nth(1)?.split('"').next()).unwrap_or(&metrics))
}

/// Puts a component in place, as an operator does: written beside and renamed.
fn install(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, path).unwrap();
}

#[test]
fn a_key_is_made_signs_and_verifies_and_everything_else_is_said() {
    let folder = Folder::new("");
    assert_eq!(fs::metadata(folder.path("operator.key")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        folder.bad(&["plugin", "keygen", "operator"]),
        "1 sluice: operator.key: File exists (os error 17)",
        "a key is never overwritten"
    );
    let verify = ["plugin", "verify", "split.wasm", "--key", "operator.pub"];
    assert_eq!(folder.bad(&verify), "1 sluice: split.wasm is not signed: there is no split.wasm.sig");
    folder.sign("operator.key");
    assert_eq!(anonymous(&folder.good(&verify)), "split.wasm: signed by operator (ID)\n");

    folder.good(&["plugin", "keygen", "other"]);
    let other = ["plugin", "verify", "split.wasm", "--key", "other.pub"];
    assert_eq!(folder.bad(&other), "1 sluice: split.wasm is signed by key ID, which is none of those that are trusted");
    folder.good(&[&other[..], &["operator.pub"]].concat());

    fs::write(folder.plugin(), splitter(1)).unwrap();
    assert_eq!(
        folder.bad(&verify),
        "1 sluice: split.wasm is not what operator (ID) signed: one of it and its .sig was changed"
    );
    fs::set_permissions(folder.path("operator.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(
        folder.bad(&["plugin", "sign", "split.wasm", "--key", "operator.key"]),
        "1 sluice: operator.key can be read by others (mode 644): chmod 600, and make a new key if they may have"
    );
    assert_eq!(
        folder.bad(&["plugin", "sign", "split.wasm", "--key", "operator.pub"]),
        "1 sluice: operator.pub can be read by others (mode 644): chmod 600, and make a new key if they may have"
    );
    assert_eq!(
        folder.bad(&["plugin", "keygen", "a b"]),
        "2 sluice: `a b` is no name for a key: use 1 to 64 letters, digits, `-`, `_` and `.`"
    );
}

#[test]
fn a_plugin_without_a_good_signature_runs_nowhere_if_one_is_required() {
    let folder = Folder::new(SIGNED);
    let not_signed = "2 sluice: edge.toml:12:9: stages.split: ./split.wasm is not signed: there is no ./split.wasm.sig: have it \
                      signed by one of `plugins.keys` with `sluice plugin sign`";
    assert_eq!(folder.bad(&["check", "edge.toml"]), not_signed);
    assert_eq!(folder.bad(&["run", "edge.toml"]), not_signed);

    folder.good(&["plugin", "keygen", "other"]);
    folder.sign("other.key");
    assert_eq!(
        folder.bad(&["check", "edge.toml"]),
        "2 sluice: edge.toml:12:9: stages.split: ./split.wasm is signed by key ID, which is none of those that are trusted: have it \
         signed by one of `plugins.keys` with `sluice plugin sign`"
    );
    folder.sign("operator.key");
    let plan = folder.good(&["check", "edge.toml"]);
    assert!(anonymous(&plan).contains("\n  signed by operator (ID)\n"), "{plan}");
    let mut tampered = splitter(0);
    tampered.push(0);
    fs::write(folder.plugin(), tampered).unwrap();
    assert_eq!(
        folder.bad(&["check", "edge.toml"]),
        "2 sluice: edge.toml:12:9: stages.split: ./split.wasm is not what operator (ID) signed: one of it and its .sig was changed: \
         have it signed by one of `plugins.keys` with `sluice plugin sign`"
    );
}

#[test]
fn keys_without_a_requirement_ask_of_a_signature_only_that_it_holds() {
    let folder = Folder::new("keys = [\"operator.pub\"]");
    folder.good(&["check", "edge.toml"]);
    fs::write(folder.path("split.wasm.sig"), "sluice signature v1\n").unwrap();
    assert_eq!(
        folder.bad(&["check", "edge.toml"]),
        "2 sluice: edge.toml:11:9: stages.split: ./split.wasm.sig is no signature of a plugin: its second line is not as it should \
         be: have it signed by one of `plugins.keys` with `sluice plugin sign`"
    );
}

#[test]
fn a_new_version_waits_for_its_signature_and_is_then_taken_up_unasked() {
    let folder = Folder::new(SIGNED);
    folder.sign("operator.key");
    let (mut run, admin, to) = folder.start();
    assert_eq!(signer(admin), "operator (ID)");

    install(&folder.plugin(), &splitter(1));
    let refused = run.wait_for("plugin not exchanged")["error"].as_str().unwrap().to_owned();
    assert!(anonymous(&refused).contains("split.wasm is not what operator (ID) signed"), "{refused}");
    fs::remove_file(folder.path("split.wasm.sig")).unwrap();
    let refused = run.wait_for("plugin not exchanged")["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("split.wasm is not signed"), "{refused}");

    // Nobody asks for it: the watcher sees that the signature came.
    folder.sign("operator.key");
    assert_eq!(run.wait_for("new plugin takes over")["generation"], 2);
    assert_eq!(signer(admin), "operator (ID)");
    // An instance takes it up with its next batch, and says whose it is.
    exporter(to).send(&netflow5(0, &[1])).unwrap();
    assert_eq!(anonymous(run.wait_for("plugin exchanged")["signer"].as_str().unwrap()), "operator (ID)");
    assert_eq!(run.stop().code, Some(0));
}

#[test]
fn what_is_locked_runs_and_nothing_else_does() {
    let folder = Folder::new("keys = [\"operator.pub\"]\nlocked = true");
    assert_eq!(
        folder.bad(&["check", "edge.toml"]),
        "2 sluice: edge.toml:3:10: plugins: locked: sluice.lock: No such file or directory (os error 2); write it anew with `sluice \
         lock`"
    );
    folder.sign("operator.key");
    folder.good(&["lock", "edge.toml"]);
    let lock = fs::read_to_string(folder.path("sluice.lock")).unwrap();
    assert_eq!(
        anonymous(&lock),
        "# Written by `sluice lock`: the components that `plugins.locked = true` lets run.\n\nversion = 1\n\n[stages.split]\n\
         path = \"./split.wasm\"\nsha256 = \"SHA\"\nname = \"sluice-plugin-splitter\"\nversion = \"0.1.0\"\nsigner = \"operator (ID)\"\n"
    );
    folder.good(&["lock", "edge.toml", "--check"]);
    let (mut run, ..) = folder.start();

    install(&folder.plugin(), &splitter(1));
    folder.sign("operator.key");
    let problem =
        "split.wasm has SHA-256 SHA, locked is SHA: look at what changed, then write the lock with `sluice lock`";
    assert_eq!(folder.bad(&["check", "edge.toml"]), format!("2 sluice: edge.toml:12:9: stages.split: ./{problem}"));
    assert_eq!(
        folder.bad(&["lock", "edge.toml", "--check"]),
        "1 sluice: sluice.lock: not current: stage split is locked to sluice-plugin-splitter 0.1.0 (SHA) and has sluice-plugin-splitter 0.1.0 (SHA); write it \
         anew with `sluice lock`"
    );
    loop {
        let refused = anonymous(run.wait_for("plugin not exchanged")["error"].as_str().unwrap());
        // Between the two files the signature was wrong.
        if refused.contains("signed") {
            continue;
        }
        assert!(refused.starts_with("stage split: ") && refused.ends_with(problem), "{refused}");
        break;
    }
    // The new lock lets the new version in.
    folder.good(&["lock", "edge.toml"]);
    assert_eq!(run.wait_for("new plugin takes over")["generation"], 2);
    assert_eq!(run.stop().code, Some(0));
}

/// The page about signatures: its commands end well one after the other, with the configuration that it shows.
#[test]
fn the_page_about_signatures_says_what_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/sign-plugins.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [required, locked] = blocks[..] else { panic!("two configurations") };
    let folder = Folder::new("");
    fs::remove_file(folder.path("operator.key")).unwrap();
    fs::remove_file(folder.path("operator.pub")).unwrap();
    fs::write(folder.path("tenant-filter.wasm"), tiny(&[])).unwrap();
    fs::write(folder.path("edge.toml"), required).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    sluice ")).collect();
    assert_eq!(commands.len(), 7, "{commands:?}");
    for command in commands {
        folder.good(&command.split(' ').collect::<Vec<_>>());
    }
    let rest = required.split_once("[sources").unwrap().1;
    fs::write(folder.path("edge.toml"), format!("{locked}\n[sources{rest}")).unwrap();
    folder.good(&["check", "edge.toml"]);
}

#[test]
fn keys_and_requirements_change_with_the_configuration() {
    let folder = Folder::new("keys = [\"operator.pub\"]");
    let (mut run, admin, _) = folder.start();
    assert_eq!(signer(admin), "unsigned");
    let config = fs::read_to_string(folder.path("edge.toml")).unwrap();
    fs::write(folder.path("edge.toml"), config.replace("[admin]", "require_signature = true\n\n[admin]")).unwrap();
    run.signal("HUP");
    let refused = run.wait_for("configuration not taken up")["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("stages.split: ") && refused.contains("is not signed"), "{refused}");
    folder.sign("operator.key");
    run.signal("HUP");
    assert_eq!(run.wait_for("configuration read")["changed"], "changed stages.split");
    assert_eq!(signer(admin), "operator (ID)");
    // From now on a new version needs a signature.
    fs::remove_file(folder.path("split.wasm.sig")).unwrap();
    install(&folder.plugin(), &splitter(1));
    let refused = run.wait_for("plugin not exchanged")["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("split.wasm is not"), "{refused}");
    assert_eq!(run.stop().code, Some(0));
}

#[test]
fn a_candidate_that_runs_beside_is_locked_too() {
    let folder = Folder::new("locked = true");
    let config = fs::read_to_string(folder.path("edge.toml")).unwrap();
    let config = config
        .replace("plugin = \"./split.wasm\"\n", "plugin = \"./split.wasm\"\nshadow = { plugin = \"./next.wasm\" }\n");
    fs::write(folder.path("edge.toml"), config).unwrap();
    fs::write(folder.path("next.wasm"), splitter(1)).unwrap();
    folder.good(&["lock", "edge.toml"]);
    let lock = fs::read_to_string(folder.path("sluice.lock")).unwrap();
    assert!(lock.contains("[stages.\"split.shadow\"]\npath = \"./next.wasm\"\n"), "{lock}");
    folder.good(&["check", "edge.toml"]);
    fs::write(folder.path("next.wasm"), splitter(2)).unwrap();
    let refused = folder.bad(&["check", "edge.toml"]);
    assert!(refused.contains("stages.split.shadow: ./next.wasm has SHA-256 SHA, locked is SHA: "), "{refused}");
}

#[test]
fn the_label_of_a_plugin_says_who_signed_it_and_what_it_costs() {
    let folder = Folder::new("");
    fs::write(folder.path("tiny.wasm"), tiny(&[])).unwrap();
    let inspect = |more: &[&str]| {
        let text = folder.good(&[&["plugin", "inspect", "tiny.wasm", "--format", "json"], more].concat());
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(inspect(&[])["signer"], Value::Null);
    folder.good(&["plugin", "sign", "tiny.wasm", "--key", "operator.key"]);
    assert_eq!(inspect(&[])["signer"]["unknown_key"].as_str().unwrap().len(), 16);
    let label = inspect(&["--key", "operator.pub"]);
    assert_eq!(label["signer"]["name"], json!("operator"));
    assert_eq!(label["cost"]["rows"], json!(4096));
    assert!(label["cost"]["ns_per_row"].as_f64() > Some(0.0), "{label}");
    assert!(label["cost"]["fuel_per_row"].as_f64() > Some(0.0), "{label}");
    assert!(label["cost"]["memory_bytes"].as_u64() > Some(65_535), "{label}");

    let text = folder.good(&["plugin", "inspect", "tiny.wasm", "--key", "operator.pub"]);
    let label: Vec<String> =
        text.lines().filter(|line| line.starts_with("signer") || line.starts_with("cost")).map(anonymous).collect();
    assert_eq!(label[0], "signer    operator (ID)");
    assert!(label[1].contains("fuel a row in batches of 4096"), "{label:?}");

    // A splitter needs a `name`.
    let text = folder.good(&["plugin", "inspect", "split.wasm"]);
    assert!(text.contains("\ncost      not known without a configuration: give --config\n"), "{text}");

    fs::write(folder.path("tiny.wasm"), [tiny(&[]), vec![0, 2, 1, b'x']].concat()).unwrap();
    let said = folder.sluice(&["plugin", "inspect", "tiny.wasm", "--key", "operator.pub"]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("\nsigner    the signature does not hold\n"), "{}", said.stdout);
    assert!(anonymous(&said.stderr).contains("tiny.wasm is not what operator (ID) signed"), "{}", said.stderr);
}
