use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use super::*;

/// Asks for the versions of the API (request 18, version 0; KIP-35), which needs no login, and returns
/// whether there was an answer to it.
fn answers(brokers: &str) -> bool {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    let Ok(mut stream) = TcpStream::connect(brokers) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 10];
    // Length, the request's correlation id, error code 0.
    stream.write_all(&REQUEST).is_ok() && stream.read_exact(&mut answer).is_ok() && answer[4..] == [0, 0, 0, 7, 0, 0]
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_broker_starts_stops_is_killed_and_comes_back_at_the_same_address() {
    let mut broker = Broker::start(Options::default().user("alice", "secret-1")).unwrap();
    assert!(answers(broker.brokers()));
    assert!(answers(broker.sasl_brokers()));
    broker.stop().unwrap();
    assert!(!answers(broker.brokers()));
    broker.restart().unwrap();
    assert!(answers(broker.brokers()));
    broker.kill();
    assert!(!answers(broker.brokers()));
    broker.restart().unwrap();
    assert!(answers(broker.brokers()));
    let (brokers, folder) = (broker.brokers().to_owned(), broker.folder.path().to_owned());
    drop(broker);
    assert!(!answers(&brokers) && !folder.exists());
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_shared_broker_is_the_same_for_everyone() {
    let brokers = Broker::shared().unwrap();
    assert!(answers(brokers));
    assert_eq!(Broker::shared().unwrap(), brokers);
}

#[test]
#[cfg(feature = "tls")]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn the_tls_listener_does_not_speak_in_the_clear() {
    let broker = Broker::start(Options::default().tls()).unwrap();
    assert!(answers(broker.brokers()));
    assert!(!answers(broker.tls_brokers()));
    assert!(broker.certificates().ca.is_file() && broker.certificates().key.is_file());
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_failed_start_shows_what_the_broker_printed_last() {
    let error = Broker::start(Options::default().property("log.retention.ms", "soon")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("log.retention.ms"), "{error}");

    let error = Broker::start(Options::default().property("ssl.client.auth", "perhaps")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("perhaps"), "{error}");
}

/// Set for the process that the next test starts and kills.
const CHILD_VARIABLE: &str = "SLUICE_TESTKIT_KAFKA_CHILD";

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_broker_does_not_outlive_a_process_that_was_killed() {
    if env::var_os(CHILD_VARIABLE).is_some() {
        let broker = Broker::start(Options::default()).unwrap();
        println!("\nbroker {} {}", broker.brokers(), broker.folder.path().display());
        // Until the parent is done with this process.
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let this = "kafka::tests::a_broker_does_not_outlive_a_process_that_was_killed";
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", this, "--nocapture"]).env(CHILD_VARIABLE, "1");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.filter_map(|line| line.strip_prefix("broker ").map(str::to_owned)).next().unwrap();
    let (brokers, folder) = line.split_once(' ').unwrap();
    assert!(answers(brokers) && Path::new(folder).is_dir());

    let mut stream = TcpStream::connect(brokers).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // The connection ends when the broker does, in order or by a reset.
    let ended = stream.read(&mut [0; 1]);
    assert!(!ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "the broker is still there");
    assert!(!answers(brokers));
}

#[test]
fn what_is_missing_is_answered_with_the_line_that_gets_it() {
    let error = KafkaError::NotFetched { folder: PathBuf::from("/cache") };
    assert_eq!(error.to_string(), "Apache Kafka is not in /cache: `cargo xtask kafka --fetch` puts it there");
    assert!(KafkaError::NoJava.to_string().contains("apt-get install"));
}
