//! A plugin that does what a test tells it to: good, odd or hostile. `"mode"` in the configuration says what.
//!
//! What it found out it gives back as the text of a `fatal` failure, which the host shows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;

use exports::sluice::plugin::stage::{self, Failure, Manifest};
use exports::sluice::plugin::{state, timer};
use sluice::plugin::types::{Cmp, Denied};
use sluice::plugin::{assets, batch, events, kernels, keys, log, metrics, tables};

wit_bindgen::generate!({ path: "../../../../wit", world: "stateful" });

struct Guest;
export!(Guest);

/// The tests write another first digit here, in the compiled component: another version of the plugin.
static VERSION: &str = "1.0.0-guest-version";

// The columns, by name: see `wit/columns.md`.
const SRC_HI: u16 = 12;
const SRC_LO: u16 = 13;
const BYTES: u16 = 20;
const SRC_AS: u16 = 22;
const PROTO: u16 = 29;
const DST_PORT: u16 = 31;
const LABELS: u16 = 52;
const CUSTOMER: u16 = 128;
const NOTE: u16 = 137;

#[derive(Default)]
struct State {
    mode: String,
    arg: u32,
    rows: u64,
    calls: u32,
    table: Option<tables::Table>,
    /// Opened in `init`, in mode `joined`.
    tables: Vec<tables::Table>,
    /// As many bytes as `arg` says, in modes `ballast` and `pattern`: a large state.
    ballast: Vec<u8>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// A byte that tells where it is.
fn pattern(at: u32) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8
}

fn version() -> u8 {
    black_box(VERSION).as_bytes()[0] - b'0'
}

/// The value of `"key":` in flat JSON.
fn value_of<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let from = json.find(&format!("\"{key}\":"))? + key.len() + 3;
    let rest = json[from..].trim_start();
    let to = rest.find([',', '}'])?;
    Some(rest[..to].trim().trim_matches('"'))
}

impl stage::Guest for Guest {
    fn init(config: String) -> Result<Manifest, String> {
        let mode = value_of(&config, "mode").unwrap_or("pass").to_owned();
        let arg = value_of(&config, "arg").and_then(|arg| arg.parse().ok()).unwrap_or(0);
        match mode.as_str() {
            "init-fails" => return Err("there is no `threshold`".to_owned()),
            "init-traps" => panic!("in init"),
            "init-loops" => loop {
                black_box(0);
            },
            "outside" => {
                let answers = (batch::rows(), batch::u64s(BYTES), batch::keep(&[]), batch::has(BYTES));
                return Err(format!("{answers:?} {:?}", batch::column_of("bytes")));
            }
            // A table tells the first from the later ones.
            "starts-once" if version() == 7 => {
                while let Err(Denied::NoBatch) = tables::open("customers")?.lookup_columns(0, PROTO) {}
            }
            "fits" => {
                let (hi, lo) =
                    [(0, PROTO), (SRC_HI, SRC_LO), (SRC_HI, PROTO), (PROTO, BYTES), (BYTES, BYTES), (0, NOTE)][arg as usize];
                match tables::open("customers")?.lookup_columns(hi, lo) {
                    Err(Denied::NoBatch) => {}
                    answer => return Err(format!("`table`: {answer:?}")),
                }
            }
            _ => {}
        }
        if version() == 5 {
            return Err("version 5 does not like this".to_owned());
        }
        let mut reads = vec![SRC_HI, SRC_LO, BYTES, SRC_AS];
        if version() == 6 {
            reads.push(black_box(PROTO));
        }
        if mode == "greedy" {
            reads.extend([PROTO, DST_PORT]);
        }
        if mode == "unknown-column" {
            reads.push(500);
        }
        let mut writes = vec![SRC_AS, CUSTOMER];
        // Version 9 has forgotten what it is there for.
        if mode == "hide" && version() != 9 || mode == "truncate" && arg == 1 {
            writes.extend([SRC_HI, SRC_LO]);
        }
        if mode == "joined" {
            writes.extend([SRC_HI, SRC_LO]);
        }
        if mode == "groups" {
            reads.extend([PROTO, NOTE, LABELS]);
            writes.push(NOTE);
        }
        if mode.starts_with("into") {
            reads.extend([PROTO, DST_PORT, CUSTOMER, NOTE]);
            writes.extend([BYTES, PROTO, DST_PORT, NOTE, LABELS]);
        }
        if mode == "fill" {
            reads.extend([CUSTOMER, PROTO, DST_PORT]);
            writes.extend([BYTES, PROTO, DST_PORT, NOTE]);
        }
        let name = if mode == "bad-name" { "a\nb".to_owned() } else { "guest".to_owned() };
        let keeps_state = ["count", "count-to", "half-state", "brittle-state", "ballast", "pattern"].contains(&mode.as_str());
        let stateful = keeps_state || version() == 8;
        let tick_ms = (mode == "tick").then_some(100);
        let ballast = match mode.as_str() {
            "ballast" => vec![1; arg as usize],
            "pattern" => (0..arg).map(pattern).collect(),
            _ => Vec::new(),
        };
        let tables = match mode.as_str() {
            "joined" => ["customers", "sites"].into_iter().map(tables::open).collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        STATE.with_borrow_mut(|state| *state = State { mode, arg, ballast, tables, ..State::default() });
        Ok(Manifest { name, version: VERSION.to_owned(), reads, writes, stateful, tick_ms })
    }

    fn process() -> Result<(), Failure> {
        let (mode, arg) = STATE.with_borrow_mut(|state| {
            state.calls += 1;
            (state.mode.clone(), state.arg)
        });
        assert!(version() != 9 || STATE.with_borrow(|state| state.calls) < 3, "version 9 has done enough");
        run(&mode, arg).map_err(Failure::Fatal)?;
        if ["retry", "retry-burn"].contains(&mode.as_str()) && STATE.with_borrow(|state| state.calls <= state.arg) {
            batch::set_u32s(SRC_AS, &vec![9; batch::rows() as usize]).map_err(fatal)?;
            return Err(Failure::RetryLater("the table is not there yet".to_owned()));
        }
        Ok(())
    }
}

fn fatal(denied: Denied) -> Failure {
    Failure::Fatal(format!("{denied:?}"))
}

fn report<T: std::fmt::Debug>(found: T) -> Result<(), String> {
    Err(format!("{found:?}"))
}

fn run(mode: &str, arg: u32) -> Result<(), String> {
    let rows = batch::rows();
    let failed = |denied: Denied| format!("{denied:?}");
    match mode {
        // Two address columns in, one number out: what the boundary costs.
        "boundary" => {
            let hi = batch::u64s(SRC_HI).map_err(failed)?;
            let lo = batch::u64s(SRC_LO).map_err(failed)?;
            batch::set_u32s(CUSTOMER, &hashes(&hi, &lo)).map_err(failed)
        }
        // Hides the source address (0), or does so badly: not at all (1), half of it (2), without letting a row through (3); by
        // leaving some of its bits (4) or all of them (5).
        "hide" => {
            if arg >= 4 {
                let bits = if arg == 4 { (24, 48) } else { (32, 128) };
                return kernels::truncate(SRC_HI, SRC_LO, bits.0, bits.1).map(drop).map_err(failed);
            }
            if arg == 3 {
                return batch::keep(&vec![0; rows.div_ceil(32) as usize]).map_err(failed);
            }
            if arg != 1 {
                batch::set_u64s(SRC_HI, &vec![0; rows as usize]).map_err(failed)?;
            }
            if arg == 0 {
                batch::clear(SRC_LO).map_err(failed)?;
            }
            Ok(())
        }
        // Numbers every row it has seen, over all batches.
        "count" | "tick" => {
            let from = STATE.with_borrow_mut(|state| {
                let from = state.rows;
                state.rows += u64::from(rows);
                from
            });
            let numbers: Vec<u32> = (0..rows).map(|row| from as u32 + row + 1).collect();
            batch::set_u32s(CUSTOMER, &numbers).map_err(failed)?;
            batch::set_u32s(SRC_AS, &vec![u32::from(version()); rows as usize]).map_err(failed)?;
            if arg > 0 && batch::u64s(BYTES).unwrap_or_default().contains(&u64::from(arg)) {
                panic!("row of {arg} bytes");
            }
            Ok(())
        }
        // Traps when it has seen so many rows, over all batches.
        "count-to" | "half-state" | "brittle-state" => {
            let from = STATE.with_borrow_mut(|state| {
                state.rows += u64::from(rows);
                state.rows - u64::from(rows)
            });
            assert!(arg == 0 || from + u64::from(rows) < u64::from(arg), "{arg} rows");
            batch::set_u32s(CUSTOMER, &vec![from as u32 + 1; rows as usize]).map_err(failed)
        }
        // How many bytes it knows, or 0 if one of them is not what it was.
        "pattern" => {
            let bytes = STATE.with_borrow(|state| {
                let is_whole = (0..).zip(&state.ballast).all(|(at, byte)| *byte == pattern(at));
                if is_whole { state.ballast.len() as u32 } else { 0 }
            });
            batch::set_u32s(CUSTOMER, &vec![bytes; rows as usize]).map_err(failed)
        }
        // Says that it is stateless, and counts its calls.
        "calls" => {
            let calls = STATE.with_borrow(|state| state.calls);
            batch::set_u32s(CUSTOMER, &vec![calls; rows as usize]).map_err(failed)
        }
        "leak" => {
            std::mem::forget(black_box(vec![1_u8; arg as usize]));
            batch::set_u32s(SRC_AS, &vec![9; rows as usize]).map_err(failed)
        }
        // So many bytes for each row, given back at the end.
        "hungry" => {
            let bytes = black_box(vec![1_u8; (arg * rows) as usize]);
            batch::set_u32s(SRC_AS, &vec![u32::from(bytes[0]); rows as usize]).map_err(failed)
        }
        // Ends at a row as "trap" does, in other ways.
        "poison-loop" | "poison-refuse" | "poison-memory" => {
            if batch::u64s(BYTES).unwrap_or_default().contains(&u64::from(arg)) {
                match mode {
                    "poison-loop" => loop {
                        black_box(0);
                    },
                    "poison-refuse" => return Err(format!("a row of {arg}\u{1b}[2J bytes")),
                    _ => drop(black_box(vec![1_u8; 1 << 30])),
                }
            }
            batch::set_u32s(SRC_AS, &vec![9; rows as usize]).map_err(failed)
        }
        // Work, in thousands of turns of a loop.
        "burn" | "retry-burn" => {
            let work = (0..u64::from(arg) * 1000).fold(1_u64, |sum, turn| black_box(sum.rotate_left(5) ^ turn));
            batch::set_u32s(SRC_AS, &vec![9 + (work == 0) as u32; rows as usize]).map_err(failed)
        }
        "handles" => {
            let opened = (0..arg).take_while(|_| keys::open("secret").map(std::mem::forget).is_ok()).count();
            report((opened, keys::open("secret").err()))
        }
        // Opens what it never closes, and goes on when it gets no more.
        "leak-handles" => {
            for _ in 0..arg {
                keys::open("secret").map(std::mem::forget).unwrap_or_default();
            }
            batch::set_u32s(SRC_AS, &vec![9; rows as usize]).map_err(failed)
        }
        "lists" => {
            let offsets: Vec<u32> = (0..=rows).map(|row| if row == 0 { 0 } else { arg }).collect();
            report(batch::set_u32_lists(LABELS, &offsets, &vec![7; arg as usize]))
        }
        "words" => {
            let words = vec!["word".to_owned(); arg as usize];
            let long = "x".repeat(5000);
            let codes = vec![0; rows as usize];
            report((batch::set_texts(NOTE, &words, &codes), batch::set_texts(NOTE, &[long], &codes)))
        }
        // A column that is not in its manifest.
        "asks" => {
            black_box(batch::u8s(PROTO).ok());
            Ok(())
        }
        "trap" => {
            batch::set_u32s(SRC_AS, &vec![9; rows as usize]).map_err(failed)?;
            emit("before-the-trap");
            assert!(!batch::u64s(BYTES).unwrap_or_default().contains(&u64::from(arg)), "row of {arg} bytes");
            Ok(())
        }
        "loop" => loop {
            black_box(0);
        },
        // A loop that is mostly in the host.
        "loop-in-host" => loop {
            black_box(kernels::test(BYTES, Cmp::Eq, 1)).ok();
        },
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack" => {
            fn down(depth: u64) -> u64 {
                let space = black_box([depth; 64]);
                if depth == u64::MAX { 0 } else { down(depth + 1) + space[7] }
            }
            report(down(0))
        }
        "exit" => std::process::exit(3),
        "fatal" => {
            batch::set_u32s(SRC_AS, &vec![9; rows as usize]).map_err(failed)?;
            Err("these rows are not for me".to_owned())
        }
        "columns" => report((
            (batch::u64s(BYTES), batch::f64s(BYTES), batch::raw(PROTO), batch::u8s(PROTO)),
            (batch::u32s(BYTES), batch::u16s(DST_PORT), batch::u64s(9999), batch::has(BYTES), batch::has(SRC_AS)),
            (batch::texts(NOTE), batch::u32_lists(LABELS), batch::column_of("note"), batch::column_of("nothing")),
            (batch::id(), batch::now_ms()),
        )),
        "writes" => {
            let mut found = Vec::new();
            let one = vec![1; rows as usize];
            found.push(format!("{:?}", batch::set_u32s(DST_PORT, &one)));
            found.push(format!("{:?}", batch::set_u32s(SRC_AS, &one[1..])));
            found.push(format!("{:?}", batch::set_u64s(SRC_AS, &[])));
            found.push(format!("{:?}", batch::clear(BYTES)));
            found.push(format!("{:?}", batch::set_raw(SRC_AS, &[0; 3])));
            found.push(format!("{:?}", batch::set_raw(SRC_AS, &1_u32.to_le_bytes().repeat(rows as usize))));
            found.push(format!("{:?}", batch::u32s(SRC_AS)));
            found.push(format!("{:?}", kernels::fill_u32(SRC_AS, &[0b10], 5)));
            found.push(format!("{:?}", batch::u32s(SRC_AS)));
            found.push(format!("{:?}", kernels::sum(SRC_AS, &[0b111])));
            found.push(format!("{:?}", batch::clear(SRC_AS)));
            found.push(format!("{:?}", batch::u32s(SRC_AS)));
            let word = |word: &str| word.to_owned();
            found.push(format!("{:?}", batch::set_texts(NOTE, &[word("a")], &vec![1; rows as usize])));
            found.push(format!("{:?}", batch::set_texts(NOTE, &[word("a"), word("b")], &vec![1; rows as usize])));
            found.push(format!("{:?}", batch::texts(NOTE)));
            found.push(format!("{:?}", batch::set_u32_lists(LABELS, &[0, 2, 1, 3], &[7, 8, 9])));
            found.push(format!("{:?}", batch::set_u32_lists(LABELS, &[0, 2, 2, 3], &[7, 8, 9])));
            found.push(format!("{:?}", batch::u32_lists(LABELS)));
            Err(found.join("\n"))
        }
        "marks" => {
            let mut found = Vec::new();
            found.push(format!("{:?}", batch::keep(&[])));
            found.push(format!("{:?}", batch::keep(&[0b101])));
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            found.push(format!("{:?}", batch::route(&names(&["a"]), &[0])));
            found.push(format!("{:?}", batch::route(&names(&["a"]), &[0, 0, 1])));
            found.push(format!("{:?}", batch::route(&names(&[""]), &[0, 0, 0])));
            found.push(format!("{:?}", batch::route(&names(&[&"x".repeat(250)]), &[0, 0, 0])));
            found.push(format!("{:?}", batch::route(&vec!["x".to_owned(); 4097], &[0, 0, 0])));
            found.push(format!("{:?}", batch::route(&names(&["a", "b"]), &[1, 0, 0])));
            if arg == 0 { Err(found.join("\n")) } else { Ok(()) }
        }
        // As many names as there may be; half of them of this call alone.
        "names" => {
            let calls = STATE.with_borrow(|state| state.calls);
            let name = |nth: u32| if nth.is_multiple_of(2) { format!("of-all-{nth}") } else { format!("of-{calls}-{nth}") };
            let names: Vec<String> = (0..4096).map(name).collect();
            batch::route(&names, &[0, 4094, 4095]).map_err(failed)
        }
        "kernels" => {
            let mut found = Vec::new();
            found.push(format!("{:?}", kernels::test(BYTES, Cmp::Ge, 20)));
            found.push(format!("{:?}", kernels::test(SRC_AS, Cmp::Eq, 0)));
            found.push(format!("{:?}", kernels::test(NOTE, Cmp::Eq, 0)));
            found.push(format!("{:?}", kernels::test(DST_PORT, Cmp::Eq, 0)));
            found.push(format!("{:?}", kernels::test_in(BYTES, &[10, 30])));
            found.push(format!("{:?}", kernels::test_in(BYTES, &(20..100).collect::<Vec<_>>())));
            let comparison = |column, op, value| kernels::Comparison { column, op, value };
            let (some, large) = (comparison(BYTES, Cmp::Ge, 20), comparison(BYTES, Cmp::Lt, 30));
            found.push(format!("{:?}", kernels::test_all(&[some, large])));
            found.push(format!("{:?}", kernels::test_all(&[])));
            found.push(format!("{:?}", kernels::test_all(&[some, comparison(DST_PORT, Cmp::Eq, 0)])));
            found.push(format!("{:?}", kernels::test_all(&[some; 65])));
            let net = 0x0000_ffff_c000_0200;
            found.push(format!("{:?}", kernels::test_prefix(SRC_HI, SRC_LO, 0, net, 120)));
            found.push(format!("{:?}", kernels::test_prefix(SRC_HI, SRC_LO, 0, net, 0)));
            found.push(format!("{:?}", kernels::test_prefix(SRC_HI, SRC_LO, 0, net, 129)));
            found.push(format!("{:?}", kernels::sum(BYTES, &[0b101])));
            found.push(format!("{:?}", kernels::sum(BYTES, &[])));
            found.push(format!("{:?}", kernels::fill_u32(BYTES, &[0], 1)));
            found.push(format!("{:?}", kernels::fill_u32(CUSTOMER, &[0b100], 7)));
            Err(found.join("\n"))
        }
        // Truncates the source address, which it may write if the argument is 1.
        "truncate" => {
            let address = || (batch::u64s(SRC_HI), batch::u64s(SRC_LO));
            let refused = [(SRC_HI, SRC_LO, 33, 128), (SRC_HI, SRC_LO, 32, 129), (SRC_LO, SRC_LO, 32, 128), (SRC_AS, SRC_LO, 32, 128)];
            let refused = refused.map(|(hi, lo, v4, v6)| kernels::truncate(hi, lo, v4, v6).err());
            let mut found = vec![format!("{refused:?} {:?}", kernels::truncate(SRC_HI, PROTO, 32, 128).err())];
            for (v4, v6) in [(32, 128), (24, 128), (24, 48), (8, 48), (0, 0)] {
                found.push(format!("{v4}/{v6} {:?} {:x?}", kernels::truncate(SRC_HI, SRC_LO, v4, v6), address()));
            }
            if arg == 1 {
                batch::set_u64s(SRC_HI, &vec![u64::MAX; rows as usize]).map_err(failed)?;
                batch::clear(SRC_LO).map_err(failed)?;
                found.push(format!("half {:?} {:x?}", kernels::truncate(SRC_HI, SRC_LO, 32, 20), address()));
                batch::clear(SRC_HI).map_err(failed)?;
                batch::clear(SRC_LO).map_err(failed)?;
                found.push(format!("none {:?} {:?}", kernels::truncate(SRC_HI, SRC_LO, 32, 128), kernels::truncate(SRC_HI, SRC_LO, 0, 0)));
            }
            Err(found.join("\n"))
        }
        "fill" => {
            let found = [
                format!("{:?} {:?}", kernels::fill(PROTO, &[0b010], 256), kernels::fill(DST_PORT, &[0], 1 << 16)),
                format!("{:?} {:?}", kernels::fill(CUSTOMER, &[0b111], 1 << 32), kernels::fill(NOTE, &[0], 0)),
                format!("{:?} {:?}", kernels::fill(PROTO, &[], 1), kernels::fill(SRC_HI, &[0], 1)),
                format!("{:?} {:?}", kernels::fill(PROTO, &[0b010], 17), kernels::fill(PROTO, &[0b100], 255)),
                format!("{:?}", batch::u8s(PROTO)),
                format!("{:?} {:?}", kernels::fill(DST_PORT, &[0b110], 0xffff), batch::u16s(DST_PORT)),
                // Bits beyond the last row mean nothing.
                format!("{:?} {:?}", kernels::fill(CUSTOMER, &[!0], 7), batch::u32s(CUSTOMER)),
                format!("{:?} {:?}", kernels::fill(BYTES, &[0b001], u64::MAX), batch::u64s(BYTES)),
                format!("{:?} {:?} {:?}", batch::clear(BYTES), kernels::fill(BYTES, &[0b001], 1), batch::u64s(BYTES)),
            ];
            Err(found.join("\n"))
        }
        // Groups rows and asks for them, or keeps and routes them if the argument is 1.
        "groups" if arg == 1 => {
            kernels::group(&[BYTES], Some(&[0b101])).map_err(failed)?;
            kernels::keep_groups(&[0b011]).map_err(failed)?;
            kernels::route_groups(&["x".into(), "y".into()], &[1, 0, 0]).map_err(failed)
        }
        "groups" => {
            let names = ["x".to_owned(), "y".to_owned()];
            let nothing = |found: &mut Vec<String>| {
                found.push(format!("{:?} {:?}", kernels::group_of_rows(), kernels::group_counts(None)));
                found.push(format!("{:?} {:?}", kernels::group_sums(BYTES, None, None), kernels::keep_groups(&[])));
                found.push(format!("{:?}", kernels::route_groups(&[], &[])));
            };
            let mut found = Vec::new();
            nothing(&mut found);
            found.push(format!("{:?} {:?}", kernels::group(&[LABELS], None), kernels::group(&[PROTO; 9], None)));
            found.push(format!("{:?} {:?}", kernels::group(&[PROTO], Some(&[])), kernels::group(&[DST_PORT], None)));
            batch::set_texts(NOTE, &["a".into(), "b".into(), "a".into()], &[0, 1, 2]).map_err(failed)?;
            found.push(format!("words {:?} {:?}", kernels::group(&[NOTE], None), kernels::group_of_rows()));
            found.push(format!("{:?} {:?}", kernels::group_counts(None), kernels::group_counts(Some(&[!0b001]))));
            found.push(format!("{:?} {:?}", kernels::group_sums(BYTES, None, None), kernels::group_sums(PROTO, Some(BYTES), None)));
            found.push(format!("{:?} {:?}", kernels::group_sums(BYTES, None, Some(&[0b110])), kernels::group_sums(BYTES, Some(BYTES), Some(&[0b110]))));
            found.push(format!("{:?} {:?}", kernels::group_sums(SRC_AS, None, None), kernels::group_sums(BYTES, Some(SRC_AS), None)));
            found.push(format!("{:?} {:?}", kernels::group_sums(NOTE, None, None), kernels::group_sums(BYTES, Some(NOTE), None)));
            found.push(format!("{:?} {:?}", kernels::group_sums(BYTES, None, Some(&[])), kernels::group_counts(Some(&[0, 0]))));
            found.push(format!("rest {:?} {:?}", kernels::group(&[SRC_HI, SRC_LO, PROTO], Some(&[0b101])), kernels::group_of_rows()));
            found.push(format!("{:?} {:?}", kernels::group_counts(None), kernels::group_sums(BYTES, None, None)));
            found.push(format!("{:?} {:?} {:?}", kernels::numbers_at(BYTES, &[0, 2]), kernels::numbers_at(BYTES, &[0; 4]), kernels::numbers_at(SRC_AS, &[1])));
            found.push(format!("{:?} {:?} {:?}", kernels::texts_at(NOTE, &[1, 2]), kernels::texts_at(NOTE, &[3]), kernels::texts_at(BYTES, &[0])));
            found.push(format!("{:?} {:?}", kernels::numbers_at(NOTE, &[0]), kernels::numbers_at(DST_PORT, &[0])));
            found.push(format!("{:?} {:?}", kernels::keep_groups(&[]), kernels::keep_groups(&[0b101])));
            found.push(format!("{:?} {:?}", kernels::route_groups(&names, &[0, 1]), kernels::route_groups(&names, &[0, 1, 2])));
            found.push(format!("{:?}", kernels::route_groups(&names, &[0, 1, 0])));
            found.push(format!("all {:?} {:?}", kernels::group(&[], None), kernels::group_of_rows()));
            // One that is refused leaves none.
            found.push(format!("{:?}", kernels::group(&[DST_PORT], None)));
            nothing(&mut found);
            Err(found.join("\n"))
        }
        "tables" => {
            let wrong = tables::open("nothing").err();
            let refused = tables::open("hidden").err();
            STATE.with_borrow_mut(|state| {
                if state.table.is_none() {
                    state.table = Some(tables::open("customers")?);
                }
                let table = state.table.as_ref().ok_or("no table")?;
                let codes = table.lookup_columns(SRC_HI, SRC_LO).map_err(failed)?;
                let same = table.lookup(&batch::u64s(SRC_HI).map_err(failed)?, &batch::u64s(SRC_LO).map_err(failed)?);
                assert_eq!(codes, same);
                let words: Vec<_> = codes.iter().map(|code| table.value(*code).unwrap_or_default()).collect();
                Err(format!("{words:?} {} {wrong:?} {refused:?}", table.codes()))
            })
        }
        "into" => {
            let table = tables::open("customers")?;
            let into = |column, only: Option<&[u32]>, keep| table.lookup_into(SRC_HI, SRC_LO, column, only, keep);
            let notes = || batch::texts(NOTE).map(|(words, codes)| {
                let rows: Vec<_> = codes.iter().map(|code| words[*code as usize].clone()).collect();
                (words, rows)
            });
            let mut found = vec![format!("{:?} {:?}", into(NOTE, None, false), notes())];
            found.push(format!("{:?} {:?}", into(NOTE, Some(&[0b010]), false), notes()));
            found.push(format!("{:?} {:?}", into(NOTE, Some(&[0b101]), true), notes()));
            found.push(format!("{:?} {:?}", into(BYTES, Some(&[0b110]), true), batch::u64s(BYTES)));
            found.push(format!("{:?} {:?}", into(BYTES, None, false), batch::u64s(BYTES)));
            found.push(format!("{:?} {:?}", into(PROTO, None, true), batch::u8s(PROTO)));
            found.push(format!("{:?} {:?}", into(PROTO, None, false), batch::u8s(PROTO)));
            found.push(format!("{:?} {:?}", into(DST_PORT, None, true), batch::u16s(DST_PORT)));
            found.push(format!("{:?} {:?}", into(CUSTOMER, Some(&[0b001]), false), batch::u32s(CUSTOMER)));
            found.push(format!("{:?} {:?}", into(LABELS, None, false), into(SRC_HI, None, false)));
            found.push(format!("{:?} {:?}", into(NOTE, Some(&[]), false), into(BYTES, Some(&[0, 0]), true)));
            found.push(format!("{:?} {:?}", table.lookup_into(0, PROTO, NOTE, None, false), table.lookup_into(500, 501, NOTE, None, false)));
            Err(found.join("\n"))
        }
        // Of every 32 rows those of `arg`, turned by one bit a word: first written, and then the others.
        "into-many" => {
            let table = tables::open("customers")?;
            let only: Vec<u32> = (0..rows.div_ceil(32)).map(|word| arg.rotate_left(word)).collect();
            let others: Vec<u32> = only.iter().map(|word| !word).collect();
            batch::set_u32s(CUSTOMER, &vec![9; rows as usize]).map_err(failed)?;
            batch::set_texts(NOTE, &["before".to_owned()], &vec![0; rows as usize]).map_err(failed)?;
            table.lookup_into(SRC_HI, SRC_LO, CUSTOMER, Some(&only), true).map_err(failed)?;
            table.lookup_into(SRC_HI, SRC_LO, NOTE, Some(&only), true).map_err(failed)?;
            table.lookup_into(SRC_HI, SRC_LO, BYTES, Some(&others), false).map_err(failed)
        }
        "joined" => STATE.with_borrow(|state| {
            let found = || {
                let of = |table: &tables::Table| -> Result<String, String> {
                    let codes = table.lookup_columns(SRC_HI, SRC_LO).map_err(failed)?;
                    let words: Vec<_> = codes.iter().map(|code| table.value(*code).unwrap_or_default()).collect();
                    Ok(words.join(" "))
                };
                Ok::<_, String>(state.tables.iter().map(of).collect::<Result<Vec<_>, _>>()?.join(", "))
            };
            let mut lines = vec![found()?, found()?];
            if state.arg == 1 {
                return Ok(());
            }
            // Other addresses in the same columns.
            let mut lo = batch::u64s(SRC_LO).map_err(failed)?;
            lo.swap(0, 1);
            batch::set_u64s(SRC_LO, &lo).map_err(failed)?;
            if state.arg == 2 {
                return Ok(());
            }
            lines.push(found()?);
            batch::clear(SRC_HI).map_err(failed)?;
            lines.push(found()?);
            Err(lines.join("\n"))
        }),
        "values" => {
            STATE.with_borrow_mut(|state| {
                if state.table.is_none() {
                    state.table = Some(tables::open("customers")?);
                }
                let table = state.table.as_ref().ok_or("no table")?;
                let words = |codes: Vec<u32>| -> Vec<_> {
                    codes.iter().map(|code| table.value(*code).unwrap_or_default()).collect()
                };
                let columns = |hi, lo| format!("{:?}", table.lookup_columns(hi, lo).map(words));
                let src_hi = batch::u64s(SRC_HI).map_err(failed)?;
                let (src_lo, bytes) = (batch::u64s(SRC_LO).map_err(failed)?, batch::u64s(BYTES).map_err(failed)?);
                let found = [
                    format!("proto {}", columns(0, PROTO)),
                    format!("bytes {} {:?}", columns(0, BYTES), words(table.lookup(&[0; 3], &bytes))),
                    format!("proto, bytes {} {:?}", columns(PROTO, BYTES), words(table.lookup(&[6; 3], &bytes))),
                    format!("address {} {:?}", columns(SRC_HI, SRC_LO), words(table.lookup(&src_hi, &src_lo))),
                    format!("address, bytes {} {:?}", columns(SRC_HI, BYTES), words(table.lookup(&src_lo, &bytes))),
                    format!("absent {} {}", columns(0, SRC_AS), columns(PROTO, SRC_AS)),
                    format!("refused {} {} {}", columns(0, NOTE), columns(PROTO, DST_PORT), columns(PROTO, 0)),
                ];
                Err(found.join("\n"))
            })
        }
        "keys" => {
            let key = keys::open("secret")?;
            let refused = keys::open("hidden").err();
            key.prefix_preserving(SRC_HI, SRC_LO).map_err(failed)?;
            let first = batch::u64s(SRC_LO).map_err(failed)?;
            key.keyed_hash(SRC_HI, SRC_LO).map_err(failed)?;
            let second = batch::u64s(SRC_LO).map_err(failed)?;
            let denied = (key.prefix_preserving(BYTES, BYTES), key.prefix_preserving(PROTO, PROTO));
            Err(format!("{first:x?} {second:x?} {:x?} {denied:?} {refused:?}", key.prf(&[0], &[1])))
        }
        "assets" => {
            report((assets::read("names").map(|bytes| bytes.len()), assets::read("hidden"), assets::read("nothing")))
        }
        "log" => {
            for line in 0..arg {
                log::log(log::Level::Info, &format!("line {line}"));
            }
            Ok(())
        }
        "metrics" => {
            metrics::count("rows_seen", rows);
            metrics::gauge("fill", 0.5);
            metrics::count("Not a name", 1);
            for name in 0..arg {
                metrics::count(&format!("name_{name}"), 1);
            }
            Ok(())
        }
        "alerts" | "alerts-refuse" => {
            for _ in 0..arg {
                emit("flood");
            }
            if mode == "alerts" { Ok(()) } else { Err("these rows are not for me".to_owned()) }
        }
        // One about so many characters.
        "alert-of" => {
            emit_about("long", "€".repeat(arg as usize));
            Ok(())
        }
        "wasi" => {
            println!("to standard output");
            eprint!("to standard error, no end of line");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let start = std::time::Instant::now();
            let random = HashMap::<u8, u8>::new().hasher().clone();
            let random = std::hash::BuildHasher::hash_one(&random, 1);
            report((
                now,
                start.elapsed(),
                random,
                std::env::args().count(),
                std::env::vars().count(),
                std::fs::read("/etc/passwd").map_err(|error| error.kind()).err(),
                std::fs::write("/tmp/x", "x").map_err(|error| error.kind()).err(),
                std::net::TcpStream::connect("127.0.0.1:1").map_err(|error| error.kind()).err(),
                std::io::Read::read(&mut std::io::stdin(), &mut [0; 8]).ok(),
            ))
        }
        _ => Ok(()),
    }
}

fn emit(kind: &str) {
    emit_about(kind, "192.0.2.1".to_owned());
}

fn emit_about(kind: &str, subject: String) {
    events::emit(&events::Alert {
        kind: kind.to_owned(),
        severity: 4,
        subject,
        value: 2.0,
        threshold: 1.0,
        note: "two\nlines".to_owned(),
    });
}

impl timer::Guest for Guest {
    fn tick(now_ms: u64) {
        emit("tick");
        assert_eq!(batch::now_ms(), now_ms);
        assert!(batch::u64s(BYTES).is_err() && batch::rows() == 0, "a batch in tick");
    }
}

impl state::Guest for Guest {
    fn snapshot() -> Vec<u8> {
        STATE.with_borrow(|state| {
            let is_large = ["ballast", "pattern"].contains(&state.mode.as_str());
            if is_large { state.ballast.clone() } else { state.rows.to_le_bytes().to_vec() }
        })
    }

    fn restore(data: Vec<u8>) -> Result<bool, String> {
        match version() {
            3 => return Err("version 3 wants a longer state".to_owned()),
            4 => panic!("in restore"),
            7 => return Ok(false),
            _ => {}
        }
        let mode = STATE.with_borrow(|state| state.mode.clone());
        if ["ballast", "pattern"].contains(&mode.as_str()) {
            STATE.with_borrow_mut(|state| state.ballast = data);
            return Ok(true);
        }
        if mode == "brittle-state" {
            assert_eq!(data.len(), 8, "bytes of state");
        }
        let bytes = data.try_into().map_err(|data: Vec<u8>| format!("{} bytes", data.len()))?;
        STATE.with_borrow_mut(|state| state.rows = u64::from_le_bytes(bytes));
        if mode == "half-state" {
            STATE.with_borrow_mut(|state| state.rows /= 2);
        }
        Ok(true)
    }
}

/// As a plugin should: a loop over rows in a function of its own, eight rows a turn.
#[inline(never)]
fn hashes(hi: &[u64], lo: &[u64]) -> Vec<u32> {
    let hash = |hi: u64, lo: u64| ((hi ^ lo).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let mut hashes = vec![0; hi.len()];
    let (out, out_rest) = hashes.as_chunks_mut::<8>();
    let (hi, hi_rest) = hi.as_chunks::<8>();
    let (lo, lo_rest) = lo.as_chunks::<8>();
    for ((out, hi), lo) in out.iter_mut().zip(hi).zip(lo) {
        *out = std::array::from_fn(|at| hash(hi[at], lo[at]));
    }
    for ((out, hi), lo) in out_rest.iter_mut().zip(hi_rest).zip(lo_rest) {
        *out = hash(*hi, *lo);
    }
    hashes
}
