//! The table at the end of the demo.

use std::collections::BTreeMap;

use wayside_tests::weather::Tally;

use super::faults::Stage;

type Row = (&'static str, fn(&Tally) -> u64);

const ROWS: [Row; 8] = [
    ("observations sent", |tally| tally.sent),
    ("stored by the cloud", |tally| tally.delivered),
    ("lost", |tally| tally.lost),
    ("stored twice", |tally| tally.duplicates),
    ("out of order", |tally| tally.misordered),
    ("alarms", |tally| tally.alarms),
    ("alarms that the file does not give", |tally| tally.alarms_wrong),
    ("alarms of the file that are missing", |tally| tally.alarms_missing),
];

/// Prints it: a column a device, one for all.
pub(crate) fn print(tallies: &BTreeMap<String, Tally>, sum: &Tally, stages: &[Stage], wall_s: u64) {
    println!("\n{}", text(tallies, sum));
    println!("What went wrong meanwhile, on purpose:");
    for stage in stages {
        println!("  {}", stage.words());
    }
    let verdict = if sum.is_whole() {
        "Every observation arrived exactly once and in order, and the alarms are those that the file gives."
    } else {
        "NOT everything arrived exactly once and in order."
    };
    println!("{verdict} {wall_s} s.");
}

fn text(tallies: &BTreeMap<String, Tally>, sum: &Tally) -> String {
    let mut text = format!("{:<36}", "");
    for name in tallies.keys() {
        text.push_str(&format!("{:>8}", name.to_uppercase()));
    }
    text.push_str(&format!("{:>8}\n", "all"));
    for (label, of) in ROWS {
        text.push_str(&format!("{label:<36}"));
        for tally in tallies.values().chain([sum]) {
            text.push_str(&format!("{:>8}", of(tally)));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let tally = Tally { sent: 8703, delivered: 8703, alarms: 52, ..Tally::default() };
        let text = text(&BTreeMap::from([("ewr".to_owned(), tally.clone())]), &tally);
        assert!(text.lines().all(|line| line.len() == 36 + 16), "{text}");
        assert!(text.starts_with(&format!("{:<36}     EWR     all\n", "")), "{text}");
    }
}
