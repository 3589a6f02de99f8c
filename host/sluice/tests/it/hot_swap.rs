//! A plugin is exchanged while flows go through it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::tool::{Running, exporter, metrics_with, netflow5};

/// A component that does the same as the built-in splitter and has another digest: a custom section
/// (component model binary format, "Custom Section") is appended.
pub(crate) fn splitter(version: u8) -> Vec<u8> {
    let mut component = fs::read(Path::new(env!("OUT_DIR")).join("sluice_plugin_splitter.wasm")).unwrap();
    let section = [7, b'v', b'e', b'r', b's', b'i', b'o', b'n', version];
    component.extend([0, section.len() as u8]);
    component.extend(section);
    component
}

#[test]
fn a_plugin_that_is_exchanged_under_load_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("split.wasm");
    fs::write(&plugin, splitter(0)).unwrap();
    let config = folder.path().join("sluice.toml");
    let text = r#"
        [admin]
        listen = "127.0.0.1:0"

        [sources.edge]
        type = "udp"
        listen = "127.0.0.1:0"
        batch_rows = 64
        batch_delay_ms = 5

        [stages.split]
        inputs = ["edge"]
        plugin = "./split.wasm"
        grant = { read = ["proto"] }
        config = { name = "proto-{proto}" }

        [sinks.out]
        type = "null"
        inputs = ["split.*"]
    "#;
    fs::write(&config, text).unwrap();

    let mut run = Running::start(&config);
    let admin = run.wait_for("metrics on")["message"].as_str().unwrap().to_owned();
    let admin = admin.split('/').nth(2).unwrap().parse().unwrap();
    let to = run.listening();

    // The exporter never runs ahead of what the collector says it has delivered, so UDP loses nothing.
    let (is_done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = thread::spawn({
        let (is_done, sent) = (Arc::clone(&is_done), Arc::clone(&sent));
        move || {
            let socket = exporter(to);
            let hosts: Vec<u8> = (1..=30).collect();
            while !is_done.load(Ordering::Acquire) {
                for _ in 0..20 {
                    let before = sent.fetch_add(30, Ordering::AcqRel);
                    socket.send(&netflow5(before as u32, &hosts)).unwrap();
                }
                let delivered = sent.load(Ordering::Acquire);
                metrics_with(admin, &format!("sluice_sink_out_rows_total{{sink=\"out\"}} {delivered}"));
            }
        }
    });

    for version in 1..=5 {
        fs::write(&plugin, splitter(version)).unwrap();
        run.signal("HUP");
        run.wait_for("new plugin takes over");
        fs::write(&plugin, b"not a component").unwrap();
        run.signal("HUP");
        run.wait_for("plugin not exchanged");
    }
    is_done.store(true, Ordering::Release);
    load.join().unwrap();

    let ended = run.stop();
    let sent = sent.load(Ordering::Acquire);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(sent > 0);
    assert_eq!(ended.books("edge"), (sent, sent, 0));
    assert_eq!(ended.books("split"), (sent, sent, 0));
    assert_eq!(ended.books("out"), (sent, sent, 0));
}
