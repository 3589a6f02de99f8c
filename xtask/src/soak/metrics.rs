//! What the collector counts, read from its metrics page and from its books at the end.

/// The sum of a metric over its labels.
pub(super) fn counter(metrics: &str, name: &str) -> u64 {
    let of_it = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    of_it.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

/// The values of a metric that have labels, with what is between the braces.
fn series<'m>(metrics: &'m str, name: &str) -> impl Iterator<Item = (&'m str, u64)> {
    let rest = metrics.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{'));
    rest.filter_map(|rest| {
        let (labels, value) = rest.rsplit_once("} ")?;
        Some((labels, value.parse::<f64>().ok()? as u64))
    })
}

/// The value of one label.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let from = labels.find(&format!("{name}=\""))? + name.len() + 2;
    labels[from..].split('"').next()
}

/// Instances that were exchanged.
pub(super) fn exchanges(metrics: &str) -> u64 {
    counter(metrics, "sluice_stage_plugin_swaps_total")
}

/// Bounds of the histogram of pauses in seconds, and how many are below each.
pub(super) fn pauses(metrics: &str) -> Vec<(&str, u64)> {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for (labels, count) in series(metrics, "sluice_stage_plugin_swap_seconds_bucket") {
        let bound = label(labels, "le").unwrap_or_default();
        match sums.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => sums.push((bound, count)),
        }
    }
    sums
}

/// The least bound that so many in a hundred are below.
pub(super) fn percentile<'p>(pauses: &[(&'p str, u64)], percent: u64) -> &'p str {
    let all = pauses.last().map_or(0, |(_, count)| *count);
    pauses.iter().find(|(_, below)| below * 100 >= all * percent).map_or("0", |(bound, _)| bound)
}

/// Rows that sources, stages and sinks dropped, by name and reason, as the books at the end have it.
pub(super) fn dropped(books: &str) -> Vec<(&str, &str, u64)> {
    let mut dropped = Vec::new();
    for line in books.lines().filter(|line| KINDS.iter().any(|kind| line.starts_with(kind))) {
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        // Kind, name and three sums; then `ROWS REASON, ...`.
        let words: Vec<&str> = line.split_whitespace().skip(5).collect();
        for pair in words.chunks_exact(2) {
            if let Ok(rows) = pair[0].parse() {
                dropped.push((name, pair[1].trim_end_matches(','), rows));
            }
        }
    }
    dropped
}

const KINDS: [&str; 3] = ["source ", "stage ", "sink "];

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# HELP pauses
sluice_stage_plugin_swap_seconds_bucket{le=\"0.001\",stage=\"a\"} 50
sluice_stage_plugin_swap_seconds_bucket{le=\"0.003\",stage=\"a\"} 97
sluice_stage_plugin_swap_seconds_bucket{le=\"+Inf\",stage=\"a\"} 97
sluice_stage_plugin_swap_seconds_bucket{le=\"0.001\",stage=\"b\"} 1
sluice_stage_plugin_swap_seconds_bucket{le=\"0.003\",stage=\"b\"} 2
sluice_stage_plugin_swap_seconds_bucket{le=\"+Inf\",stage=\"b\"} 3
sluice_stage_plugin_swaps_total{stage=\"a\"} 97
sluice_stage_plugin_swaps_total{stage=\"b\"} 3
";

    #[test]
    fn a_percentile_is_the_bound_that_so_many_are_below() {
        let pauses = pauses(METRICS);
        assert_eq!(pauses, [("0.001", 51), ("0.003", 99), ("+Inf", 100)]);
        assert_eq!(percentile(&pauses, 50), "0.001");
        assert_eq!(percentile(&pauses, 99), "0.003");
        assert_eq!(percentile(&pauses, 100), "+Inf");
        assert_eq!(percentile(&[], 99), "0");
        assert_eq!(exchanges(METRICS), 100);
    }

    #[test]
    fn what_was_dropped_stands_in_the_books_by_reason() {
        let books = "\
       name            in          out      dropped  why
source edge           100           90           10  10 pipeline_full
stage  guest           90           80           10  7 quarantined, 3 trap
sink   out             80           80            0
";
        let due = [("edge", "pipeline_full", 10), ("guest", "quarantined", 7), ("guest", "trap", 3)];
        assert_eq!(dropped(books), due);
    }
}
