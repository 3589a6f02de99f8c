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

/// What a test needs: an error says what would help.
type Needs = fn() -> Result<(), String>;

/// A function and its path, which is its name.
macro_rules! test {
    ($needs:expr, $test:path) => {
        (stringify!($test), $needs, $test as fn())
    };
}

fn main() -> ExitCode {
    let kafka: Needs = broker::is_there;
    let own_kafka: Needs = broker::can_start;
    let (python, go): (Needs, Needs) = (programs::has_python, programs::has_go);
    let nothing: Needs = || Ok(());
    let tests = [
        test!(nothing, wire::every_field_is_read_as_the_collector_reads_it),
        test!(nothing, wire::what_is_written_is_what_the_collector_reads),
        test!(nothing, programs::go_classes_are_current),
        test!(kafka, consume::what_is_committed_does_not_come_again),
        test!(kafka, consume::what_is_not_committed_comes_again),
        test!(kafka, consume::every_format_and_framing),
        test!(kafka, consume::a_bad_value_says_where_it_is_and_holds_nothing_up),
        test!(kafka, consume::members_of_a_group_share_the_flows),
        test!(kafka, consume::a_group_may_begin_with_what_comes),
        test!(kafka, produce::flows_are_packed),
        test!(kafka, produce::a_flow_that_is_too_long_is_left_out),
        test!(own_kafka, produce::flows_that_did_not_arrive_are_counted),
        test!(nothing, secure::what_is_missing_is_said),
        test!(own_kafka, secure::a_password_is_asked_for),
        test!(own_kafka, secure::certificates_are_checked_both_ways),
        test!(kafka, secure::a_topic_that_is_not_there),
        test!(python, programs::python),
        test!(go, programs::go),
    ];
    let trials = tests.into_iter().map(|(name, needs, test)| {
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
