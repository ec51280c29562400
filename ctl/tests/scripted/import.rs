//! `mapping import`: one run says everything that is wrong, at its line, whoever found it.

use mailswitch_proto::control::v1::problem::Kind;
use mailswitch_proto::control::v1::{Finding, Problem};

use crate::support::{Fleet, exits, stderr, stdout};

/// As the control plane refuses rows.
fn refusal(rows: &[(u64, &str)]) -> Problem {
    let finding = |(row, message): &(u64, &str)| Finding {
        severity: "error".to_owned(),
        value: "\"nwe\"".to_owned(),
        message: (*message).to_owned(),
        remedy: "take one of: legacy, new".to_owned(),
        row: *row,
        ..Finding::default()
    };
    Problem::new(Kind::Precondition, "the rows were refused", "")
        .with_findings(rows.iter().map(finding).collect())
}

#[test]
fn what_is_no_line_and_what_is_refused_come_in_one_run_and_nothing_is_imported() {
    let fleet = Fleet::start();
    let rows = "# moved\nalice@example.org\tnew\nbob\n\ncarol@example.org\tnwe\n";
    std::fs::write(fleet.folder().join("moved.tsv"), rows).unwrap();
    *fleet.script.refusal.lock().unwrap() = Some(refusal(&[(2, "there is no destination of this name")]));
    let output = fleet.run(&["mapping", "import", "moved.tsv"]);
    exits(&output, 1);
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "error: 2 lines of moved.tsv are wrong; nothing was imported\n  correct them, and repeat the command\n  \
         moved.tsv:3: error: \"bob\": there is one field; write identifier<TAB>destination\n  \
         moved.tsv:5: error: \"nwe\": there is no destination of this name; take one of: legacy, new\n"
    );
    // It was only asked, because a line was wrong.
    let imported = fleet.script.imported.lock().unwrap();
    assert!(imported[0].change.as_ref().unwrap().dry_run);
    assert_eq!(imported[1].mappings.len(), 2);
}

#[test]
fn rows_that_are_all_lines_are_refused_with_the_exit_code_of_the_refusal() {
    let fleet = Fleet::start();
    std::fs::write(fleet.folder().join("moved.tsv"), "\nalice@example.org nwe\n").unwrap();
    let problem = refusal(&[(1, "there is no destination of this name")]).of_findings(9);
    *fleet.script.refusal.lock().unwrap() = Some(problem);
    let output = fleet.run(&["mapping", "import", "moved.tsv"]);
    exits(&output, 3);
    for line in ["moved.tsv:2: error: \"nwe\": there is no", "  and 8 more\n"] {
        assert!(stderr(&output).contains(line), "{}", stderr(&output));
    }
    assert!(
        !fleet.script.imported.lock().unwrap()[0]
            .change
            .as_ref()
            .unwrap()
            .dry_run
    );
}
