//! The programs in other languages (`examples/clients`), on flows that the Rust producer wrote.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_client::Producer;
use sluice_testkit::kafka::{Broker, Options};

use crate::broker::{run, topic_at, write};

/// Names the Python to use: one with the packages of `requirements.txt`.
const PYTHON_VARIABLE: &str = "SLUICE_TEST_PYTHON";

fn folder(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clients").join(language)
}

/// `$SLUICE_TEST_PYTHON`, that of the virtual environment beside the program, or the one on the path.
fn interpreter() -> PathBuf {
    if let Some(given) = env::var_os(PYTHON_VARIABLE) {
        return given.into();
    }
    let own = folder("python").join(".venv/bin/python");
    if own.exists() { own } else { "python3".into() }
}

pub(crate) fn has_python() -> Result<(), String> {
    crate::broker::can_start()?;
    let packages = "import confluent_kafka, grpc_tools, google.protobuf.proto";
    let asked = Command::new(interpreter()).args(["-c", packages]).output();
    if asked.is_ok_and(|asked| asked.status.success()) {
        return Ok(());
    }
    let help = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt";
    Err(format!("needs Python with packages: cd examples/clients/python && {help}"))
}

pub(crate) fn has_go() -> Result<(), String> {
    crate::broker::can_start()?;
    // Builds it if its modules are there or can be had.
    let built = Command::new("go").args(["build", "-o", "/dev/null", "."]).current_dir(folder("go")).output();
    match built {
        Ok(built) if built.status.success() => Ok(()),
        Ok(built) => Err(format!("needs Go with modules: {}", String::from_utf8_lossy(&built.stderr).trim())),
        Err(error) => Err(format!("needs Go: {error}")),
    }
}

/// Runs a program three times in one group: each run goes on where the one before stopped, in the middle of a value.
fn reads_flows_and_commits(program: &dyn Fn() -> Command, dash: &str) {
    let place = tempfile::tempdir().unwrap();
    let password = place.path().join("password");
    fs::write(&password, "secret-1\n").unwrap();
    // Its clients need no certificate: the programs have none.
    let options =
        Options::default().user("alice", "secret-1").tls().property("listener.name.tls.ssl.client.auth", "none");
    let broker = Broker::start(options).unwrap();
    run(async {
        let topic = topic_at(broker.brokers(), "programs", 1).await;
        let producer = Producer::builder().brokers(broker.brokers()).topic(&topic).flows_per_value(4);
        write(producer.connect().await.unwrap(), 0..10).await;
        let lines = |brokers: &str, count: u32, access: &[&str]| -> Vec<String> {
            let mut command = program();
            let count = count.to_string();
            for (name, value) in [("brokers", brokers), ("topic", &topic), ("group", "customer"), ("count", &count)] {
                command.arg(format!("{dash}{name}")).arg(value);
            }
            command.args(access.iter().map(|option| option.replace("--", dash)));
            let ran = command.output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
        };
        let line = |number: u32| {
            let bytes = 1000 + number;
            format!("2023-11-14T22:13:20Z 192.0.2.1:49152 -> 2001:db8::2:443 proto 6 bytes {bytes} packets 10")
        };
        let expected = |numbers: std::ops::Range<u32>| numbers.map(line).collect::<Vec<_>>();
        assert_eq!(lines(broker.brokers(), 6, &[]), expected(0..6));
        // Two flows of the second value came before, and come again with the rest of it.
        let login = ["--user", "alice", "--password-file", password.to_str().unwrap()];
        assert_eq!(lines(broker.sasl_brokers(), 4, &login), expected(4..8));
        let encrypted = ["--tls", "--ca", broker.certificates().ca.to_str().unwrap()];
        assert_eq!(lines(broker.tls_brokers(), 2, &encrypted), expected(8..10));
    });
}

pub(crate) fn python() {
    let program = || {
        let mut command = Command::new(interpreter());
        command.arg(folder("python").join("read_flows.py"));
        command
    };
    reads_flows_and_commits(&program, "--");
}

pub(crate) fn go() {
    let place = tempfile::tempdir().unwrap();
    let built = place.path().join("read-flows");
    let build = Command::new("go").args(["build", "-o"]).arg(&built).arg(".").current_dir(folder("go")).output();
    assert!(build.unwrap().status.success());
    reads_flows_and_commits(&|| Command::new(&built), "-");
}

/// Whether the committed classes have every field of the `.proto` file. That needs no Go.
pub(crate) fn go_classes_are_current() {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/sluice/flow/v1/flow.proto");
    let proto = fs::read_to_string(proto).unwrap();
    let classes = fs::read_to_string(folder("go").join("flowpb/flow.pb.go")).unwrap();
    let mut fields = 0;
    for line in proto.lines().filter(|line| line.starts_with("  ") && line.ends_with(';')) {
        let (declared, number) = line.trim_end_matches(';').split_once(" = ").unwrap();
        let Some((_, name)) = declared.trim().rsplit_once(' ') else { continue };
        let is_there = classes.contains(&format!(",{number},opt,name={name}"))
            || classes.contains(&format!(",{number},rep,packed,name={name}"));
        assert!(is_there, "{name} = {number} is missing: go generate ./... in examples/clients/go");
        fields += 1;
    }
    assert!(fields > 90, "only {fields} fields were found in the .proto file");
}
