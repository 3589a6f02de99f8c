//! Plugins in a process of their own: they do what they do in the collector's, and what happens to the process happens to
//! nothing else.

use std::ffi::OsString;
use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sluice_flow::col;
use sluice_pipeline::Stage;
use sluice_plugin::outside::Outside;
use sluice_plugin::tables::{TableSpec, Tables};
use sluice_plugin::{Host, HostSettings, Isolation, Limits, OnError};

use crate::{Bench, batch, guest};

/// Says to [`Bench::new`] that plugins are to run in processes.
const EVERYWHERE: &str = "SLUICE_TEST_OUTSIDE";

/// The process: this test program, told to run the main function that follows and, so that it can be found, a word.
fn processes(main: &str, word: &str) -> Outside {
    let args = [main, word, "--exact", "--ignored", "--nocapture"];
    Outside {
        program: std::env::current_exe().unwrap(),
        args: args.map(OsString::from).to_vec(),
        ..Outside::this_program("")
    }
}

#[test]
#[ignore = "the main function of the processes that the other tests start"]
fn process_for_plugins() {
    sluice_plugin::outside::serve().unwrap();
}

/// What a host may start: nothing, unless every plugin is to run in a process.
pub(crate) fn outside() -> (Option<Outside>, Option<Isolation>) {
    match std::env::var_os(EVERYWHERE) {
        Some(_) => {
            let outside = processes("outside::process_for_plugins", "all");
            (Some(outside), Some(Isolation { group: "all".to_owned() }))
        }
        None => (None, None),
    }
}

#[test]
fn what_holds_for_a_plugin_in_the_collector_holds_for_one_in_a_process() {
    let modules =
        ["failure::", "loading::", "per_partition::", "rollback::", "services::", "swap::", "transaction::", "world::"];
    // The first is about a host that can start none, those of tables have a test of their own below.
    let others = ["loaded_without_another_process", "that_changed_is_seen_by_the_next_batch"];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(modules).args(others.iter().flat_map(|other| ["--skip", other])).env(EVERYWHERE, "");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = said.rsplit("test result: ok. ").next().and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(passed.is_some_and(|passed: u32| passed > 50), "{said}");
}

/// A stage of the test plugin in a process of its own with this main function.
fn isolated(main: &str, mode: &str, arg: u32) -> Bench {
    let mut bench = Bench::new(mode, arg);
    let word = bench.dir.path().display().to_string();
    let outside = Some(processes(main, &word));
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("code");
    let settings = HostSettings { cache_dir: Some(cache), outside, fuel: false };
    bench.host = Host::new(settings, Arc::clone(&bench.metrics)).unwrap();
    bench.spec.isolation = Some(Isolation { group: "own".to_owned() });
    bench
}

/// The processes that were started for `bench`.
fn pids(bench: &Bench) -> Vec<String> {
    let word = bench.dir.path().display().to_string();
    let is_it = |pid: &String| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&word)
    };
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    entries.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(is_it).collect()
}

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

/// Number of the first row, by a plugin that counts rows over all batches.
fn counted(stage: &mut Box<dyn Stage>) -> u64 {
    stage.process(batch()).out.expect("rows come out").number(col::CUSTOMER_ID, 0)
}

#[test]
fn a_process_that_is_killed_costs_one_batch_and_comes_back_with_the_last_snapshot() {
    let bench = isolated("outside::process_for_plugins", "count", 0);
    let mut stage = bench.load().instance();
    let mut later = |now_ms| {
        let mut batch = batch();
        batch.stamp(9, now_ms);
        stage.process(batch)
    };
    assert_eq!(later(0).rows(), 3);
    // The second one is ten seconds later: six rows are in the snapshot, and three are not.
    assert_eq!(later(10_000).rows(), 3);
    assert_eq!(later(10_001).out.unwrap().number(col::CUSTOMER_ID, 0), 7);
    let [pid] = &pids(&bench)[..] else { panic!("one process: {:?}", pids(&bench)) };
    kill(pid);
    let lost = later(10_002);
    assert_eq!((lost.dropped, lost.out.is_none()), (vec![("process", 3)], true));
    assert_eq!(later(10_003).out.unwrap().number(col::CUSTOMER_ID, 0), 7);
    let [new] = &pids(&bench)[..] else { panic!("one process: {:?}", pids(&bench)) };
    assert_ne!(new, pid);
    assert_eq!(bench.metric("sluice_stage_plugin_traps_total{stage=\"tag\",kind=\"process\"}"), 1.0);
}

#[test]
fn a_process_goes_on_when_everybody_is_asked_to_stop() {
    let bench = isolated("outside::process_for_plugins", "count", 0);
    let mut stage = bench.load().instance();
    assert_eq!(counted(&mut stage), 1);
    for signal in ["-TERM", "-INT", "-HUP"] {
        assert!(Command::new("kill").arg(signal).args(pids(&bench)).status().unwrap().success());
    }
    assert_eq!(counted(&mut stage), 4);
}

#[test]
fn versions_that_were_exchanged_are_let_go_in_the_process_too() {
    let bench = isolated("outside::process_for_plugins", "count", 0);
    let loaded = bench.load();
    let mut stage = loaded.instance();
    let [pid] = &pids(&bench)[..] else { panic!("one process: {:?}", pids(&bench)) };
    // Code is mapped and executable; the program's own comes from a file.
    let mapped = || {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        maps.lines().filter(|line| line.contains(" r-xp ") && line.split_whitespace().nth(4) == Some("0")).count()
    };
    let mut exchange = |to: u8| {
        bench.install(&guest::version(to));
        loaded.reload().unwrap();
        counted(&mut stage)
    };
    assert_eq!((exchange(2), exchange(1)), (1, 4));
    let before = mapped();
    assert!(before > 0);
    let numbers: Vec<u64> = (0..8).map(|swap| exchange(if swap % 2 == 0 { 2 } else { 1 })).collect();
    assert_eq!(numbers, (0..8).map(|swap| 7 + 3 * swap).collect::<Vec<_>>());
    // What was let go last may still be on its way.
    let began = Instant::now();
    while mapped() > before + 1 {
        assert!(began.elapsed() < Duration::from_secs(120), "{before} before, {} now", mapped());
    }
}

#[test]
fn a_process_ends_with_the_last_stage_in_it() {
    let bench = isolated("outside::process_for_plugins", "count", 0);
    let loaded = bench.load();
    let stage = loaded.instance();
    assert_eq!(pids(&bench).len(), 1);
    drop((loaded, stage));
    assert_eq!(pids(&bench), Vec::<String>::new());
}

#[test]
fn stages_of_a_group_share_a_process_and_others_do_not() {
    let bench = isolated("outside::process_for_plugins", "count", 0);
    let load = |name: &str, group: &str| {
        let isolation = Some(Isolation { group: group.to_owned() });
        let spec = sluice_plugin::StageSpec { name: name.to_owned(), isolation, ..bench.spec.clone() };
        sluice_plugin::Loaded::load(&bench.host, spec).unwrap()
    };
    let stages = [load("a", "tenant"), load("b", "tenant")];
    assert_eq!(pids(&bench).len(), 1);
    let other = load("c", "other");
    assert_eq!(pids(&bench).len(), 2);
    // Each has a state of its own all the same.
    let mut instances: Vec<_> = stages.iter().chain([&other]).map(sluice_plugin::Loaded::instance).collect();
    for expected in [1, 4] {
        assert!(instances.iter_mut().all(|stage| counted(stage) == expected));
    }
}

#[test]
fn a_table_that_changed_is_seen_in_the_process_soon_after() {
    changed_is_seen(TableSpec::prefix, "192.0.2.0/24,100\n", "192.0.2.0/24,everyone\n198.51.100.0/24,everyone\n");
    changed_is_seen(TableSpec::values, "192.0.2.1,100\n", "192.0.2.1,everyone\n198.51.100.7,everyone\n");
    let spec = |path| TableSpec::Prefix { path, column: Some("cid".to_owned()) };
    let after = "net,site,cid\n192.0.2.0/24,x,everyone\n198.51.100.0/24,y,everyone\n";
    changed_is_seen(spec, "net,cid,site\n192.0.2.0/24,100,x\n198.51.100.0/24,,y\n", after);
}

/// A table of `before`, which has a value for the first address only, is exchanged for `after`.
fn changed_is_seen(spec: impl FnOnce(PathBuf) -> TableSpec, before: &str, after: &str) {
    let mut bench = isolated("outside::process_for_plugins", "tables", 0);
    let path = bench.dir.path().join("customers.csv");
    fs::write(&path, before).unwrap();
    let tables = Arc::new(Tables::load([("customers".to_owned(), spec(path.clone()))]).unwrap());
    bench.spec.services.tables = Arc::clone(&tables);
    bench.spec.on_error = OnError::Stop;
    let mut stage = bench.load().instance();
    let mut words = || stage.process(batch()).stop.unwrap().split(']').next().unwrap().to_owned();
    assert_eq!(words(), "stage tag: [\"100\", \"\", \"\"");
    fs::write(&path, after).unwrap();
    assert!(tables.reload("customers").unwrap());
    // It is sent beside the batches, which do not wait for it.
    let began = Instant::now();
    while words() != "stage tag: [\"everyone\", \"everyone\", \"\"" {
        assert!(began.elapsed() < Duration::from_secs(120), "never seen");
    }
    // A process that comes later has the table as it is now.
    kill(&pids(&bench)[0]);
    assert!(words().contains("signal 9"));
    assert_eq!(words(), "stage tag: [\"everyone\", \"everyone\", \"\"");
}

/// What becomes of a batch when the process answers with `lie`.
fn told(lie: &str) -> String {
    let mut bench = isolated("outside::process_that_lies", "pass", 0);
    bench.host = {
        let mut outside = processes("outside::process_that_lies", &bench.dir.path().display().to_string());
        outside.args.push(format!("lie={lie}").into());
        // Compiled by the others: this one cannot.
        let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("code");
        let settings = HostSettings { cache_dir: Some(cache), outside: Some(outside), fuel: false };
        Host::new(settings, Arc::clone(&bench.metrics)).unwrap()
    };
    bench.spec.on_error = OnError::Stop;
    bench.spec.limits = Limits { deadline_ms: 1, ..Limits::default() };
    let mut stage = bench.load().instance();
    let processed = stage.process(batch());
    assert_eq!(processed.dropped, [("process", 3)]);
    assert!(processed.out.is_none() && processed.dead.is_none());
    assert_eq!(pids(&bench), Vec::<String>::new(), "it is ended");
    processed.stop.unwrap()
}

#[test]
fn a_process_that_breaks_a_rule_is_ended_and_nothing_that_it_says_is_taken() {
    drop(Bench::new("pass", 0).load());
    let rule = "stage tag: the process broke a rule and was ended: ";
    for (lie, answer) in [
        ("column", "it wrote column 20, which it was not granted"),
        ("width", "it wrote column 128 in another width or length"),
        ("length", "a column in it ends early"),
        ("codes", "a column in it has codes beyond its words"),
        ("keep", "a part of it ends early"),
        ("route", "a row with a route that has no name"),
        ("more", "1 bytes of a part mean nothing"),
        ("noise", "a call that ended in no way"),
        ("huge", "a frame of 18446744073709551615 bytes, more than 268435456"),
        ("kind", "an unknown kind of frame"),
    ] {
        assert_eq!(told(lie), format!("{rule}{answer}"), "{lie}");
    }
    assert_eq!(told("silence"), "stage tag: the process did not answer in time and was ended");
    assert!(told("end").starts_with("stage tag: the process ended with exit code 3"));
}

#[test]
fn a_process_that_dies_again_and_again_is_started_again_later_each_time() {
    drop(Bench::new("pass", 0).load());
    let mut bench = isolated("outside::process_that_lies", "pass", 0);
    let mut outside = processes("outside::process_that_lies", &bench.dir.path().display().to_string());
    outside.args.push("lie=end".into());
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("code");
    let settings = HostSettings { cache_dir: Some(cache), outside: Some(outside), fuel: false };
    bench.host = Host::new(settings, Arc::clone(&bench.metrics)).unwrap();
    bench.spec.on_error = OnError::Stop;
    bench.spec.failure.quarantine = None;
    let mut stage = bench.load().instance();
    let mut why = || {
        let processed = stage.process(batch());
        assert_eq!(processed.dropped, [("process", 3)]);
        processed.stop.unwrap()
    };
    assert!(why().contains("ended with exit code 3"));
    assert!(why().contains("ended with exit code 3"), "the second is started at once");
    for _ in 0..3 {
        // Not before a pause, in which no process is started for any batch.
        let began = Instant::now();
        while !why().contains("times; it is started again in ") {
            assert!(began.elapsed() < Duration::from_secs(120), "started again and again");
        }
        while !why().contains("ended with exit code 3") {
            assert!(began.elapsed() < Duration::from_secs(120), "never started again");
        }
    }
    // Five deaths are at least 100 + 200 + 400 ms of pauses.
    assert!(why().contains("has died 5 times") || why().contains("has died 6 times"));
}

#[test]
fn a_program_that_starts_no_processes_says_so() {
    let mut bench = Bench::new("pass", 0);
    bench.host = Host::new(HostSettings::default(), Arc::clone(&bench.metrics)).unwrap();
    bench.spec.isolation = Some(Isolation { group: "own".to_owned() });
    let expected =
        "stage tag: isolation: this program starts no processes for plugins; use the collector's `sluice run`";
    assert_eq!(bench.error(), expected);
}

#[test]
fn a_component_is_compiled_in_a_process_too() {
    let mut bench = isolated("outside::process_for_plugins", "count", 0);
    let outside = Some(processes("outside::process_for_plugins", "compile"));
    // With no cache it cannot come from anywhere else.
    bench.host = Host::new(HostSettings { cache_dir: None, outside, fuel: false }, Arc::clone(&bench.metrics)).unwrap();
    bench.spec.isolation = None;
    assert_eq!(counted(&mut bench.load().instance()), 1);
    bench.install(&guest::guest()[..guest::guest().len() / 2]);
    assert!(bench.error().contains("guest.wasm does not compile: "), "{}", bench.error());
}

fn read_frame(from: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    from.read_exact(&mut head).unwrap();
    let mut bytes = vec![0; u64::from_le_bytes(head[1..].try_into().unwrap()) as usize];
    from.read_exact(&mut bytes).unwrap();
    (head[0], bytes)
}

fn write_frame(to: &mut UnixStream, kind: u8, bytes: &[u8]) {
    to.write_all(&[&[kind][..], &(bytes.len() as u64).to_le_bytes(), bytes].concat()).unwrap();
}

fn accept(control: &UnixStream) -> UnixStream {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut files = RecvAncillaryBuffer::new(&mut space);
    recvmsg(control, &mut [IoSliceMut::new(&mut [0])], &mut files, RecvFlags::CMSG_CLOEXEC).unwrap();
    let Some(RecvAncillaryMessage::ScmRights(mut files)) = files.drain().next() else { panic!("no socket") };
    UnixStream::from(files.next().unwrap())
}

#[test]
#[ignore = "the main function of a process that breaks the rules: what somebody could make of one that broke out"]
fn process_that_lies() {
    const ANSWER: u8 = 14;
    let lie = std::env::args().find_map(|arg| arg.strip_prefix("lie=").map(str::to_owned)).unwrap();
    let mut control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    assert_eq!(read_frame(&mut control).0, 5, "an order to run");
    write_frame(&mut control, ANSWER, &[]);
    // The load: a head and the code. The answer is a manifest that reads and writes what the guest does.
    let mut pipe = accept(&control);
    assert_eq!((read_frame(&mut pipe).0, read_frame(&mut pipe).0), (6, 7));
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let columns = [3_u16, 12, 13, 20, 2, 22, 128].iter().flat_map(|number| number.to_le_bytes()).collect();
    write_frame(&mut pipe, ANSWER, &[text("liar"), text("1"), columns, vec![0; 7]].concat());
    let mut pipe = accept(&control);
    assert_eq!(read_frame(&mut pipe).0, 8, "a start");
    // A report of nothing: five numbers, seven empty lists, and no column.
    let nothing = [0; 72];
    write_frame(&mut pipe, ANSWER, &nothing);
    assert_eq!(read_frame(&mut pipe).0, 9, "a batch of three rows");
    let done = |changes: &[u8]| [&[0][..], &nothing, changes].concat();
    let (customer, note) = (128_u16.to_le_bytes(), 137_u16.to_le_bytes());
    let answer = match lie.as_str() {
        "column" => done(&[1, 0, 20, 0, 0, 0, 0]),
        // A column of u64 in the place of u32, all rows 0.
        "width" => done(&[&[1, 0][..], &customer, &[1, 3, 1], &[0; 8], &[0, 0]].concat()),
        "length" => done(&[&[1, 0][..], &customer, &[1, 2, 0], &[0; 8]].concat()),
        // A column of text without words, and code 7 in each row.
        "codes" => done(&[&[1, 0][..], &note, &[1, 4], &[0; 4], &[1, 7, 0, 0, 0], &[0, 0]].concat()),
        "keep" => done(&[0, 0, 1, 0xff]),
        "route" => done(&[&[0, 0, 0, 1][..], &[0; 4], &[0; 6]].concat()),
        "more" => done(&[0, 0, 0, 0, 0]),
        "noise" => vec![0xff; 100],
        "huge" => {
            pipe.write_all(&[&[ANSWER][..], &[0xff; 8]].concat()).unwrap();
            Vec::new()
        }
        "kind" => {
            write_frame(&mut pipe, 99, &[]);
            Vec::new()
        }
        "end" => std::process::exit(3),
        _ => Vec::new(),
    };
    if !answer.is_empty() {
        write_frame(&mut pipe, ANSWER, &answer);
    }
    // Until the host has had enough.
    control.read_to_end(&mut Vec::new()).map(drop).unwrap_or_default();
}
