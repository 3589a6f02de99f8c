//! The crate from outside: against a real broker, beside the collector's own reader, and beside the programs in
//! other languages.
//!
//! What a test needs is looked for when it runs, and a test that does not find it is listed as ignored, with what
//! would help.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the answer")]

mod broker;
mod consume;
mod produce;
mod programs;
mod secure;
mod wire;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// A test: what it needs, and what it does.
type Needs = fn() -> Result<(), String>;
type Test = fn();

fn main() -> ExitCode {
    let kafka: Needs = broker::is_there;
    let nothing: Needs = || Ok(());
    let tests: &[(&str, Needs, Test)] = &[
        (
            "wire::every_field_is_read_as_the_collector_reads_it",
            nothing,
            wire::every_field_is_read_as_the_collector_reads_it,
        ),
        (
            "wire::what_is_written_is_what_the_collector_reads",
            nothing,
            wire::what_is_written_is_what_the_collector_reads,
        ),
        ("programs::go_classes_are_current", nothing, programs::go_classes_are_current),
        ("consume::what_is_committed_does_not_come_again", kafka, consume::what_is_committed_does_not_come_again),
        ("consume::what_is_not_committed_comes_again", kafka, consume::what_is_not_committed_comes_again),
        ("consume::every_format_and_framing", kafka, consume::every_format_and_framing),
        (
            "consume::a_bad_value_says_where_it_is_and_holds_nothing_up",
            kafka,
            consume::a_bad_value_says_where_it_is_and_holds_nothing_up,
        ),
        ("consume::members_of_a_group_share_the_flows", kafka, consume::members_of_a_group_share_the_flows),
        ("consume::a_group_may_begin_with_what_comes", kafka, consume::a_group_may_begin_with_what_comes),
        ("produce::flows_are_packed", kafka, produce::flows_are_packed),
        ("produce::a_flow_that_is_too_long_is_left_out", kafka, produce::a_flow_that_is_too_long_is_left_out),
        ("produce::flows_that_did_not_arrive_are_counted", kafka, produce::flows_that_did_not_arrive_are_counted),
        ("secure::what_is_missing_is_said", nothing, secure::what_is_missing_is_said),
        ("secure::a_password_is_asked_for", kafka, secure::a_password_is_asked_for),
        ("secure::certificates_are_checked_both_ways", kafka, secure::certificates_are_checked_both_ways),
        ("secure::a_topic_that_is_not_there", kafka, secure::a_topic_that_is_not_there),
        ("programs::python", programs::has_python, programs::python),
        ("programs::go", programs::has_go, programs::go),
    ];
    let trials = tests.iter().map(|&(name, needs, test)| {
        Trial::ignorable_test(name, move || match needs() {
            Err(reason) => Ok(Completion::ignored_with(reason)),
            // A panic counts as a failure.
            Ok(()) => {
                test();
                Ok::<_, Failed>(Completion::Completed)
            }
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
