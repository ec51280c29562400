//! What is wrong with the rows of an import is said row by row, so that it can be told at its line.

use mailswitch_proto::control::v1 as control;

use crate::stage::{Stage, because, refused};

async fn import(stage: &Stage, rows: &[(&str, &str)]) -> Vec<(u64, String)> {
    let mapping = |(identifier, destination): &(&str, &str)| control::Mapping {
        identifier: (*identifier).to_owned(),
        destination: (*destination).to_owned(),
    };
    let request = control::MappingImportRequest {
        change: because("a test"),
        unproven: false,
        mappings: rows.iter().map(mapping).collect(),
    };
    let mut operator = stage.operator().await;
    let problem = refused(operator.mapping_import(tokio_stream::once(request)).await);
    assert_eq!(problem.findings_total, problem.findings.len() as u64);
    let findings = problem.findings.into_iter();
    findings.map(|finding| (finding.row, finding.message)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_row_is_named_by_its_number_also_when_there_is_only_one() {
    let stage = Stage::configured().await;
    let wrong = import(
        &stage,
        &[("alice@example.org", "new"), ("a b", "new"), ("carol", "nwe")],
    )
    .await;
    let rows: Vec<u64> = wrong.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [2, 3], "{wrong:?}");
    let wrong = import(&stage, &[("carol", "nwe")]).await;
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].0, 1);
    assert!(wrong[0].1.contains("nwe"), "{wrong:?}");
    assert_eq!(stage.status().await.mappings, 0, "nothing was changed");
}
