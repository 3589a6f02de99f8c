//! The detector's state as bytes.
//!
//! Kept are the windows, the alarms and what was learned. What the sketch holds is left out: a subject
//! that was not watched yet is noticed a window later at most.

use crate::addr::Addr;
use crate::codec::{Reader, put};
use crate::config::Scope;
use crate::detector::{Alarm, Detector};
use crate::level::Level;
use crate::meter::Meter;

/// Version of the bytes.
const VERSION: u64 = 1;

/// Bounds of what a snapshot may announce: those that the configuration has.
const MAX_LEVELS: usize = 7;
const MAX_METERS: usize = 15;
const MAX_BUCKETS: usize = 60;
const MAX_SUBJECTS: usize = 1 << 16;
const MAX_ALARMS: usize = 1024;
const HOURS: usize = 24;

/// The state as bytes: version, window, time, what was learned, levels, alarms. All numbers are LEB128; an
/// optional number is 0, or 1 more than it is.
pub(crate) fn snapshot(detector: &Detector) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, VERSION);
    put(&mut out, detector.buckets as u64);
    put(&mut out, detector.bucket_ms);
    put_option(&mut out, detector.current);
    put(&mut out, detector.first);
    match (&detector.learned, detector.levels.last()) {
        (Some(learned), Some(level)) => {
            put_meters(&mut out, &level.meters);
            put_option(&mut out, learned.started_ms);
            for highest in learned.highest.iter().flatten() {
                put(&mut out, *highest);
            }
        }
        _ => put(&mut out, 0),
    }
    put(&mut out, detector.levels.len() as u64);
    for level in &detector.levels {
        put_scope(&mut out, level.scope);
        put_meters(&mut out, &level.meters);
        let subjects = level.subjects();
        put(&mut out, subjects.len() as u64);
        for (subject, cells) in subjects {
            put(&mut out, subject.hi);
            put(&mut out, subject.lo);
            for cell in cells {
                put(&mut out, cell);
            }
        }
    }
    put(&mut out, detector.alarms.len() as u64);
    for alarm in &detector.alarms {
        let subject =
            detector.levels.get(alarm.level).and_then(|level| level.slot(alarm.slot)).map(|slot| slot.subject);
        let subject = subject.unwrap_or_default();
        for number in [alarm.level as u64, subject.hi, subject.lo, alarm.meter as u64, alarm.raised_ms] {
            put(&mut out, number);
        }
        put_option(&mut out, alarm.below_since);
        put(&mut out, alarm.peak);
    }
    out
}

/// Fills a detector that has seen nothing. Levels whose thresholds are for other things than they were, or windows of
/// another shape, begin empty, with their alarms; the rest is taken over. False: bytes of another version.
///
/// # Errors
/// If the bytes end early, go on too long, or say what cannot be.
pub(crate) fn restore(detector: &mut Detector, data: &[u8]) -> Result<bool, String> {
    let mut reader = Reader::new(data);
    if data.is_empty() || reader.number()? != VERSION {
        return Ok(false);
    }
    let buckets = usize::try_from(reader.number()?).ok().filter(|buckets| (1..=MAX_BUCKETS).contains(buckets));
    let buckets = buckets.ok_or("the snapshot announces a window of no possible size")?;
    let same_window = reader.number()? == detector.bucket_ms && buckets == detector.buckets;
    let (current, first) = (option(&mut reader)?, reader.number()?);
    if current.is_some_and(|current| first > current) {
        return Err("the snapshot began after it ended".into());
    }
    if same_window {
        (detector.current, detector.first) = (current, first);
    }
    restore_learned(detector, &mut reader, same_window)?;
    let levels = reader.count("levels", MAX_LEVELS)?;
    // By level of the snapshot: the level here that takes it over.
    let mut places: Vec<Option<usize>> = Vec::new();
    for _ in 0..levels {
        let scope = scope(&mut reader)?;
        let codes = meters(&mut reader)?;
        let same = |level: &Level| {
            level.scope == scope && codes.iter().copied().eq(level.meters.iter().map(|meter| meter.code()))
        };
        let mut here = detector.levels.iter().enumerate();
        let place =
            here.find(|(at, level)| same_window && same(level) && !places.contains(&Some(*at))).map(|(at, _)| at);
        for _ in 0..reader.count("subjects", MAX_SUBJECTS)? {
            let subject = Addr { hi: reader.number()?, lo: reader.number()? };
            let cells = (0..buckets * codes.len()).map(|_| reader.number()).collect::<Result<Vec<_>, _>>()?;
            if let Some(level) = place.and_then(|at| detector.levels.get_mut(at)) {
                level.insert(subject, &cells).map_err(|what| format!("the snapshot holds {what}"))?;
            }
        }
        places.push(place);
    }
    for _ in 0..reader.count("alarms", MAX_ALARMS)? {
        let level = usize::try_from(reader.number()?).ok().and_then(|level| places.get(level));
        let level = *level.ok_or("the snapshot holds an alarm of no level")?;
        let subject = Addr { hi: reader.number()?, lo: reader.number()? };
        let meter = reader.number()?;
        let (raised_ms, below_since, peak) = (reader.number()?, option(&mut reader)?, reader.number()?);
        let Some(at) = level else { continue };
        let Some(level) = detector.levels.get_mut(at) else { continue };
        let meter = usize::try_from(meter).ok().filter(|meter| *meter < level.meters.len());
        let meter = meter.ok_or("the snapshot holds an alarm of no meter")?;
        // Fewer subjects may be watched than were.
        let Some(slot) = level.slot_of(subject) else { continue };
        if level.slot(slot).is_some_and(|slot| slot.raised >> meter & 1 == 1) {
            return Err("the snapshot holds an alarm twice".into());
        }
        level.mark(slot, 1 << meter, true);
        detector.alarms.push(Alarm { level: at, slot, meter, raised_ms, below_since, peak });
    }
    reader.end()?;
    Ok(true)
}

fn restore_learned(detector: &mut Detector, reader: &mut Reader<'_>, same_window: bool) -> Result<(), String> {
    let codes = meters(reader)?;
    if codes.is_empty() {
        return Ok(());
    }
    let started_ms = option(reader)?;
    let mut highest = Vec::new();
    for _ in &codes {
        let mut hours = [0; HOURS];
        for hour in &mut hours {
            *hour = reader.number()?;
        }
        highest.push(hours);
    }
    if let (Some(learned), Some(level)) = (&mut detector.learned, detector.levels.last())
        && same_window
        && codes.iter().copied().eq(level.meters.iter().map(|meter| meter.code()))
    {
        learned.started_ms = started_ms;
        learned.highest = highest;
    }
    Ok(())
}

fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    // The largest number and none are the same; no time is that late.
    put(out, number.map_or(0, |number| number.saturating_add(1)));
}

fn option(reader: &mut Reader<'_>) -> Result<Option<u64>, String> {
    Ok(reader.number()?.checked_sub(1))
}

fn put_meters(out: &mut Vec<u8>, meters: &[Meter]) {
    put(out, meters.len() as u64);
    for meter in meters {
        put(out, meter.code().into());
    }
}

fn meters(reader: &mut Reader<'_>) -> Result<Vec<u8>, String> {
    let count = reader.count("meters", MAX_METERS)?;
    let code = |number: u64| u8::try_from(number).map_err(|_| format!("the snapshot holds meter {number}"));
    (0..count).map(|_| reader.number().and_then(code)).collect()
}

fn put_scope(out: &mut Vec<u8>, scope: Scope) {
    let (code, v4, v6) = match scope {
        Scope::Hosts => (0, None, None),
        Scope::Prefixes { v4, v6 } => (1, v4, v6),
        Scope::Network => (2, None, None),
        Scope::Learned => (3, None, None),
    };
    put(out, code);
    put_option(out, v4.map(u64::from));
    put_option(out, v6.map(u64::from));
}

fn scope(reader: &mut Reader<'_>) -> Result<Scope, String> {
    let (code, v4, v6) = (reader.number()?, option(reader)?, option(reader)?);
    let length = |bits: Option<u64>| {
        bits.map(|bits| u8::try_from(bits).map_err(|_| format!("the snapshot holds a prefix of {bits} bits")))
    };
    match code {
        0 => Ok(Scope::Hosts),
        1 => Ok(Scope::Prefixes { v4: length(v4).transpose()?, v6: length(v6).transpose()? }),
        2 => Ok(Scope::Network),
        3 => Ok(Scope::Learned),
        _ => Err(format!("the snapshot holds a level of kind {code}")),
    }
}
