//! `sluice demo`: exporters, an attack and a pipeline in one process.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sluice_pipeline::Stop;
use sluice_wire::export::{TrafficSettings, Version};
use tracing::{error, info};

use crate::build::prepare;
use crate::config;
use crate::failure::Failure;
use crate::generate::{Generator, GeneratorSettings, attack_on};
use crate::run::run_prepared;

/// What the demo runs: the same files as in `examples/demo`, so that they can be looked at and changed.
const FILES: [(&str, &str); 5] = [
    ("demo.toml", include_str!("../../../examples/demo/demo.toml")),
    ("customers.csv", include_str!("../../../examples/demo/customers.csv")),
    ("countries.csv", include_str!("../../../examples/demo/countries.csv")),
    ("as-names.csv", include_str!("../../../examples/demo/as-names.csv")),
    ("demo.key", include_str!("../../../examples/demo/demo.key")),
];

/// The host that is attacked, of customer 1001.
const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));

/// N of "1 in N packets" that the exporters announce.
const SAMPLING_RATE: u32 = 100;

/// Exporters: one each of NetFlow v5, v9, IPFIX and sFlow.
const EXPORTERS: u16 = 4;

/// Runs the demo for `time`, or until a signal; with `write` only writes its files.
pub(crate) fn demo(time: Option<Duration>, rate: u64, write: Option<&Path>) -> Result<(), Failure> {
    if let Some(folder) = write {
        write_files(folder)?;
        eprintln!("wrote {}; run it with: sluice run {0}/demo.toml", folder.display());
        return Ok(());
    }
    let folder = tempfile::tempdir().map_err(|error| Failure::running("no temporary folder", error))?;
    write_files(folder.path())?;
    let prepared = prepare(config::load(&folder.path().join("demo.toml"))?)?;

    let stop = Stop::new();
    let (tell, told) = mpsc::channel();
    let exporters = thread::spawn({
        let stop = stop.clone();
        move || {
            // No address: the pipeline did not open its socket, and says why itself.
            let Ok(to) = told.recv() else { return };
            if let Err(error) = export(to, rate, time, &stop) {
                error!(error = &error as &dyn std::error::Error, "the demo's exporters stopped");
            }
            stop.cancel();
        }
    });
    let outcome = run_prepared(prepared, None, &stop, |_, addr| {
        // The receiver is waiting in the thread above.
        if tell.send(addr).is_err() {
            stop.cancel();
        }
    });
    drop(tell);
    drop(exporters.join());
    outcome
}

/// Sends made-up traffic with an attack in it.
fn export(to: SocketAddr, rate: u64, time: Option<Duration>, stop: &Stop) -> std::io::Result<()> {
    let (start, length) = match time {
        Some(time) => (time / 4, time / 4),
        None => (Duration::from_secs(5), Duration::from_secs(15)),
    };
    info!(victim = %VICTIM, starts_in = ?start, lasts = ?length, "the attack of the demo");
    let traffic = TrafficSettings {
        sampling_rate: SAMPLING_RATE,
        attack: Some(attack_on(VICTIM, start, length)),
        ..TrafficSettings::default()
    };
    let settings = GeneratorSettings { to, versions: Version::ALL.to_vec(), exporters: EXPORTERS, rate, traffic };
    let done = Generator::open(settings)?.run(stop, time, None, |_, _| {})?;
    info!(records = done.records, datagrams = done.sent.datagrams, "the exporters of the demo have sent");
    Ok(())
}

fn write_files(folder: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::running(folder.display().to_string(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    FILES.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text)).map_err(failed)
}
