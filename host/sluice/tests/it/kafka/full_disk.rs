//! A disk buffer on a disk that is full.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use sluice_testkit::kafka::{Broker, Options};

use super::cluster::{Cluster, until};
use super::pipeline::{Config, admin, metric, until_metric};
use crate::tool::{exporter, netflow5};

/// Names the small disk to the process that has it.
const FOLDER_VARIABLE: &str = "SLUICE_TEST_SMALL_DISK";

/// The test that is run again there.
const THIS: &str = "kafka::full_disk::a_full_disk_is_told_loses_nothing_that_it_has_and_goes_on_when_there_is_room";

fn on_a_small_disk(folder: &Path) {
    let mut broker = Broker::start(Options::default()).unwrap();
    let cluster = Cluster::at(broker.brokers());
    cluster.topic("full", 1);
    let config = Config::new(&format!(
        r#"
        [admin]
        listen = "127.0.0.1:0"
        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_delay_ms = 20
        [sinks.out]
        type = "kafka"
        inputs = ["edge"]
        brokers = ["{}"]
        topic = "full"
        format = "json"
        buffer = {{ path = "{}" }}
        "#,
        broker.brokers(),
        folder.join("kafka.queue").display()
    ));
    let mut run = config.start();
    let admin = admin(&mut run);
    let socket = exporter(run.listening());
    broker.stop().unwrap();
    // Somebody else has most of the disk.
    let filler = folder.join("filler");
    fs::write(&filler, vec![1; 12 << 20]).unwrap();

    let (mut sent, mut delivered) = (0, -1.0);
    let out = || metric(admin, "sluice_sink_out_rows_total", "sink=\"out\"").unwrap_or_default();
    until("the disk is full", || {
        (0..50).for_each(|_| assert!(socket.send(&netflow5(sent, &[7; 30])).is_ok()));
        sent += 1;
        let before = std::mem::replace(&mut delivered, out());
        (before == delivered && delivered > 0.0 && sent > 20).then_some(())
    });
    let said = run.wait_for("sink unavailable, trying again until it is back");
    let why = said["error"].as_str().unwrap().to_owned();
    assert!(why.ends_with("kafka.queue cannot be written: No space left on device (os error 28)"), "{why}");
    fs::remove_file(&filler).unwrap();
    run.wait_for("sink is back");
    broker.restart().unwrap();
    until_metric(admin, "sluice_sink_out_rows_total", "sink=\"out\"", delivered + 1.0);
    until("the buffer is empty", || {
        let waits = metric(admin, "sluice_sink_buffer_rows", "sink=\"out\"");
        (waits == Some(0.0) && cluster.length("full") as f64 >= out()).then_some(())
    });
    let ended = run.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    // What found the pipeline full is in the books of the source; what the sink took is in the topic.
    let (_, handed_on, _) = ended.books("edge");
    assert_eq!(ended.books("out"), (handed_on, handed_on, 0));
    let arrived = cluster.read("full").len() as u64;
    assert!(arrived >= handed_on, "{arrived} of {handed_on}");
}

#[test]
#[cfg_attr(not(kafka), ignore = "needs Apache Kafka: cargo xtask kafka --fetch")]
fn a_full_disk_is_told_loses_nothing_that_it_has_and_goes_on_when_there_is_room() {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        return on_a_small_disk(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // In a name space of its own: that needs no privileges on most machines, and nothing stays mounted.
    const MOUNT: &str = "mount -t tmpfs -o size=20m tmpfs \"$0\" || exit 97; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]).arg(folder.path());
    command.arg(env::current_exe().unwrap()).args(["--exact", THIS, "--nocapture"]);
    let ran = command.env(FOLDER_VARIABLE, folder.path()).output();
    let (code, said) = match &ran {
        Ok(ran) => (ran.status.code(), String::from_utf8_lossy(&ran.stderr)),
        Err(error) => (None, error.to_string().into()),
    };
    match code {
        Some(0) => {}
        Some(101) => panic!("{said}"),
        // Said, not passed over in silence.
        _ => println!("skipped: no small file system can be mounted here: {said}"),
    }
}
