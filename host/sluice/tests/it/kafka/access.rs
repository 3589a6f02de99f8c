//! Who is let in, and what is said to who is not.

use std::fs::File;
use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use sluice_testkit::kafka::{Broker, Options};

use super::cluster::Cluster;
use super::row::{delimited, numbers};
use crate::tool::sluice;

/// Longest time that a refusal may take.
const SOON: Duration = Duration::from_secs(20);

/// A broker that lets in who knows the password, and at another port who has a certificate.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let broker = Broker::start(Options::default().user("alice", "secret-1").tls()).unwrap();
        let cluster = Cluster::at(broker.brokers());
        cluster.topic("flows", 1);
        cluster.produce("flows", (0..10).map(delimited));
        broker
    })
}

/// Reads the topic to its end, with this access; also writes it, to another topic. Returns the exit code and what was said.
fn run(name: &str, brokers: &str, access: &str) -> (Option<i32>, String, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    let text = format!(
        r#"
        [sources.in]
        type = "kafka"
        brokers = ["{brokers}"]
        topics = ["flows"]
        group = "{name}"
        start = "earliest"
        until_end = true
        format = "goflow2"
        framing = "delimited"
        {access}

        [sinks.rows]
        type = "file"
        inputs = ["in"]
        path = "rows.json"

        [sinks.out]
        type = "kafka"
        inputs = ["in"]
        brokers = ["{brokers}"]
        topic = "{name}"
        format = "json"
        create_topics = {{}}
        {access}
        "#
    );
    std::fs::write(&file, text).unwrap();
    std::fs::write(folder.path().join("password"), "secret-1\n").unwrap();
    std::fs::write(folder.path().join("wrong"), "secret-2\n").unwrap();
    let began = Instant::now();
    let log = folder.path().join("log");
    let mut command = sluice();
    command.env("TEST_PASSWORD", "secret-1").args(["--log=warn", "run"]).arg(&file);
    let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() < SOON => std::thread::park_timeout(Duration::from_millis(20)),
            None => {
                child.kill().unwrap();
                panic!("{name}: not within {SOON:?}:\n{}", std::fs::read_to_string(&log).unwrap());
            }
        }
    };
    (status.code(), std::fs::read_to_string(&log).unwrap(), folder.path().join("rows.json"), folder)
}

fn is_let_in(name: &str, brokers: &str, access: &str) {
    let (code, said, rows, _folder) = run(name, brokers, access);
    assert_eq!(code, Some(0), "{name}: {said}");
    assert_eq!(numbers(&std::fs::read(rows).unwrap()), (0..10).collect::<Vec<_>>(), "{name}");
    let written = Cluster::at(broker().brokers()).read(name);
    assert_eq!(written.iter().flat_map(|record| numbers(&record.value)).count(), 10, "{name}");
}

/// Asserts that one line is said, with all of these in it.
fn is_refused(name: &str, brokers: &str, access: &str, words: &[&str]) {
    let (code, said, ..) = run(name, brokers, access);
    assert_eq!(code, Some(1), "{name}: {said}");
    let errors = said.lines().filter(|line| line.starts_with("sluice: ")).collect::<Vec<_>>();
    let [error] = errors[..] else { panic!("{name}: {said}") };
    assert!(error.starts_with("sluice: sources.in: "), "{name}: {said}");
    words.iter().for_each(|word| assert!(error.contains(word), "{name}: no `{word}` in {said}"));
}

fn sasl(mechanism: &str, password: &str) -> String {
    format!("sasl = {{ mechanism = \"{mechanism}\", username = \"alice\", {password} }}")
}

fn tls(ca: &std::path::Path, client: &str) -> String {
    format!("tls = {{ ca = \"{}\"{client} }}", ca.display())
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn who_knows_the_password_is_let_in_and_who_does_not_is_told_so() {
    let brokers = broker().sasl_brokers();
    is_let_in("plain", brokers, &sasl("plain", "password = \"secret-1\""));
    is_let_in("scram-256", brokers, &sasl("scram-sha-256", "password_env = \"TEST_PASSWORD\""));
    is_let_in("scram-512", brokers, &sasl("scram-sha-512", "password_file = \"password\""));

    let look = "look at `sasl`: mechanism, username, password";
    is_refused("wrong-plain", brokers, &sasl("plain", "password = \"secret-2\""), &[look]);
    is_refused("wrong-scram", brokers, &sasl("scram-sha-512", "password_file = \"wrong\""), &[look]);
    is_refused("no-file", brokers, &sasl("plain", "password_file = \"nowhere\""), &["nowhere cannot be read"]);
    let words = ["the environment variable TEST_NO_PASSWORD, which holds the password, is not set"];
    is_refused("no-variable", brokers, &sasl("plain", "password_env = \"TEST_NO_PASSWORD\""), &words);
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn who_has_a_certificate_is_let_in_and_who_does_not_is_told_so() {
    let (brokers, certificates) = (broker().tls_brokers(), broker().certificates());
    let (certificate, key) = (certificates.certificate.display(), certificates.key.display());
    let client = format!(", certificate = \"{certificate}\", key = \"{key}\"");
    is_let_in("certificate", brokers, &tls(&certificates.ca, &client));
    is_let_in("unverified", brokers, &format!("tls = {{ verify = false{client} }}"));

    let look = "look at `tls`: ca, certificate, key";
    is_refused("no-certificate", brokers, &tls(&certificates.ca, ""), &[look]);
    // The client's certificate is no authority.
    is_refused("wrong-ca", brokers, &tls(&certificates.certificate, &client), &[look]);
    is_refused("system-ca", brokers, &format!("tls = {{ {} }}", &client[2..]), &[look]);
    is_refused("no-ca", brokers, &tls("nowhere.pem".as_ref(), &client), &["nowhere.pem cannot be read: No such file"]);
}

/// Leads to `brokers`, and breaks off the first two connections.
fn broken_twice(brokers: &str) -> String {
    let (listener, brokers) = (TcpListener::bind("127.0.0.1:0").unwrap(), brokers.to_owned());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut connections = listener.incoming().map(Result::unwrap);
        for mut broken in connections.by_ref().take(2) {
            // Not before something was said: it is a connection.
            broken.read_exact(&mut [0]).unwrap();
        }
        for here in connections {
            let there = TcpStream::connect(&brokers).unwrap();
            for (mut from, mut to) in [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there, here)] {
                std::thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Write).ok();
                });
            }
        }
    });
    address.to_string()
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_connection_that_breaks_does_not_hide_that_the_next_is_refused() {
    let certificates = broker().certificates();
    let brokers = broken_twice(broker().tls_brokers());
    is_refused("broken-tls", &brokers, &tls(&certificates.ca, ""), &["look at `tls`: ca, certificate, key"]);
    let brokers = broken_twice(broker().sasl_brokers());
    is_refused("broken-sasl", &brokers, &sasl("plain", "password = \"secret-2\""), &["look at `sasl`"]);
}
