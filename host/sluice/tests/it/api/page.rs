//! The how-to page: what it shows works.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Collector, ask, bearer};
use crate::tool::{exporter, netflow5};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/admin-api.md");
    fs::read_to_string(path).unwrap()
}

/// The lines of the page that are commands, in their order.
fn commands(page: &str) -> Vec<String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter(|line| line.starts_with("sluice ")).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let page = page();
    let toml = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let pipeline = super::CONFIG.split("[sources.edge]").nth(1).unwrap();
    let config = format!("{}\n[sources.edge]{pipeline}", toml.replace("127.0.0.1:9188", "127.0.0.1:0"));
    let collector = Collector::with(&config);
    let folder = collector.folder.path().to_owned();
    let commands = commands(&page);
    assert!(commands.len() > 12, "{commands:?}");
    // The first makes the token that all others use; the collector was started before, so it has to be told.
    let mut is_told = false;
    let socket = exporter(collector.to);
    for command in &commands {
        let words = command.replacen("sluice", env!("CARGO_BIN_EXE_sluice"), 1);
        let mut shell = Command::new("sh");
        shell.args(["-c", &words]).current_dir(&folder).env("SLUICE_ADMIN", format!("http://{}", collector.admin));
        shell.env_remove("SLUICE_TOKEN").env_remove("SLUICE_LOG");
        let mut child = shell.stdout(std::process::Stdio::null()).spawn().unwrap();
        // Rows for the tails, which end when they have seen enough.
        let began = std::time::Instant::now();
        let status = loop {
            socket.send(&netflow5(0, &[1, 2, 3])).unwrap();
            collector.get("/v1/balance");
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < super::PATIENCE, "{command} never ends");
        };
        assert!(status.success(), "{command}");
        if !std::mem::replace(&mut is_told, true) {
            assert_eq!(collector.call("POST", "/v1/reload").0, 200);
        }
    }
    // The line for curl: its header and its path.
    let curl =
        page.lines().find_map(|line| line.strip_prefix("    curl -H \"Authorization: Bearer $(cat laptop.token)\" "));
    let path = curl.unwrap().trim_matches('"').strip_prefix("http://127.0.0.1:9188").unwrap();
    let token = fs::read_to_string(folder.join("laptop.token")).unwrap();
    assert_eq!(ask(collector.admin, "GET", path, &bearer(token.trim()), b"").status, 200);
    collector.stop();
}

#[test]
fn the_example_of_a_signature_has_the_digest_of_no_body() {
    let digest = super::hex(&<sha2::Sha256 as sha2::Digest>::digest(b""));
    assert!(page().contains(&format!(
        "    GET\n    /v1/exporters?limit=20\n    {digest}\n    1700000000\n    0123456789abcdef\n"
    )));
}
