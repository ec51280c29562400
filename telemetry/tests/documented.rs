//! `docs/telemetry.md` and the names in the code are the same.

use std::collections::BTreeSet;

use mailswitch_telemetry::name;

const DOCS: &str = include_str!("../../docs/telemetry.md");

/// The names in the first column of the table under a heading.
fn listed(heading: &str) -> BTreeSet<&'static str> {
    let section = DOCS
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .expect("the section");
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_span_is_documented_and_every_documented_span_exists() {
    assert_eq!(listed("Spans"), name::span::ALL.iter().copied().collect());
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    assert_eq!(listed("Metrics"), name::metric::ALL.iter().copied().collect());
}

#[test]
fn every_attribute_is_documented_and_every_documented_attribute_exists() {
    assert_eq!(listed("Attributes"), name::ALL.iter().copied().collect());
}
