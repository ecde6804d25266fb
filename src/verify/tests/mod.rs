//! Faults planted into candidates, each of which must be caught and named; and honest
//! conversions, none of which may be refused. All by the real gates, the real runner and the
//! real encoders.

mod differences;
mod faults;
mod honest;
mod model;
mod shown;

use super::{On, Options, Report, compare};
use crate::ir::Model;

/// Compares tensors and hyper-parameters alone.
fn without_running(reference: &Model, candidate: &Model) -> Report {
    let options = Options { open: None, ..Options::default() };
    compare(reference, candidate, &options).expect("the reference is good")
}

/// Compares everything, on a few ids.
fn with_running(reference: &Model, candidate: &Model) -> Report {
    let on = On::Ids((0..48).map(|i| i * 37 % model::VOCAB as u32).collect());
    let options = Options { on, ..Options::default() };
    compare(reference, candidate, &options).expect("the reference is good")
}

/// The report must say no, and name what was done.
fn assert_caught(report: &Report, named: &str) {
    let text = report.to_text(true);
    assert!(!report.pass, "{named}: not caught\n{text}");
    let names = |finding: &super::Finding| finding.to_string().contains(named);
    assert!(report.findings.iter().any(names), "{named}: not named\n{text}");
}

fn assert_passes(report: &Report) {
    assert!(report.pass, "an honest conversion is refused\n{}", report.to_text(true));
}
