//! The mapping file.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use mailswitch_config::table::mapping::{Mapping, MappingStore};
use mailswitch_sources::{FileError, Mappings, OpenError, Origin, Removal, Setup, What, WriteError};
use tempfile::TempDir;

use crate::rig::{goes_to, listeners, login, named, open, who, with_destinations};

struct Rig {
    mappings: Arc<Mappings>,
    path: PathBuf,
    _directory: TempDir,
}

impl Rig {
    async fn with(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mappings");
        std::fs::write(&path, text).unwrap();
        let store = MappingStore::File { path: path.clone() };
        Self {
            mappings: open(store).await.unwrap(),
            path,
            _directory: directory,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn edit(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    async fn put(&self, login: &str, destination: &str) -> Result<(), WriteError> {
        self.mappings.put(&who(login), &named(destination)).await
    }

    /// No file is left beside it.
    fn stands_alone(&self) {
        let folder = self.path.parent().unwrap();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn a_write_keeps_comments_order_and_what_stands_behind_a_destination() {
    let rig = Rig::with("# moved by hand\n\nzoe  old   since Monday\r\n# the rest\nann new\n").await;
    rig.put("zoe", "new").await.unwrap();
    rig.put("bob", "new").await.unwrap();
    assert_eq!(
        rig.text(),
        "# moved by hand\n\nzoe  new   since Monday\r\n# the rest\nann new\nbob\tnew\n"
    );
    assert_eq!(rig.mappings.delete(&who("zoe")).await.unwrap(), Removal::Removed);
    assert_eq!(rig.text(), "# moved by hand\n\n# the rest\nann new\nbob\tnew\n");
    rig.stands_alone();
}

#[tokio::test]
async fn a_file_that_only_we_write_is_sorted_one_line_each() {
    let rig = Rig::with("").await;
    for login in ["zoe", "ann@x.example", "bob"] {
        rig.put(login, "new").await.unwrap();
    }
    rig.put("bob", "old").await.unwrap();
    assert_eq!(rig.text(), "ann@x.example\tnew\nbob\told\nzoe\tnew\n");
}

#[tokio::test]
async fn mdb_a_write_keeps_the_leading_comments_the_mode_and_the_link() {
    let rig = Rig::with("# keep me\nbob new").await;
    let folder = rig.path.parent().unwrap();
    let real = folder.join("real");
    std::fs::rename(&rig.path, &real).unwrap();
    std::os::unix::fs::symlink("real", &rig.path).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    rig.put("ann", "new").await.unwrap();
    rig.put("cyd", "new").await.unwrap();
    assert_eq!(rig.text(), "# keep me\nann\tnew\nbob new\ncyd\tnew\n");
    assert!(std::fs::symlink_metadata(&rig.path).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn mdb_an_edit_that_waits_for_a_reload_is_not_lost_by_a_write_and_takes_no_effect_by_it() {
    let rig = Rig::with("ann old\nbob old\n").await;
    rig.edit("# by hand\nann new\nbob old\ncyd new\n");
    rig.put("bob", "new").await.unwrap();
    assert_eq!(rig.text(), "# by hand\nann new\nbob new\ncyd new\n");
    assert_eq!(goes_to(&rig.mappings, "bob").await, "new");
    assert_eq!(goes_to(&rig.mappings, "ann").await, "old", "it was not reloaded");
    rig.mappings.reload().await.unwrap();
    assert_eq!(goes_to(&rig.mappings, "ann").await, "new");
    assert_eq!(goes_to(&rig.mappings, "cyd").await, "new");
}

#[tokio::test]
async fn mdb_a_write_to_a_file_that_was_edited_into_nonsense_is_refused_with_its_line() {
    let rig = Rig::with("ann old\n").await;
    for (text, line) in [("ann old\nbob\n", 2), ("ann nowhere\n", 1), ("\nann half\n", 2)] {
        rig.edit(text);
        let refused = rig.put("ann", "new").await.unwrap_err();
        assert!(
            matches!(&refused, WriteError::Conflict(FileError::Line { line: at, .. }) if *at == line),
            "{refused:?}"
        );
        assert_eq!(rig.text(), text, "nothing is written");
        assert_eq!(goes_to(&rig.mappings, "ann").await, "old", "nothing is changed");
    }
    rig.stands_alone();
}

#[tokio::test]
async fn what_a_line_cannot_hold_is_refused() {
    let rig = Rig::with("").await;
    for login in ["#ann", "an\u{a0}n", "\u{feff}ann"] {
        let refused = rig.put(login, "new").await.unwrap_err();
        assert!(matches!(refused, WriteError::CannotHold(_)), "{refused:?}");
    }
    assert_eq!(rig.text(), "");
}

#[tokio::test]
async fn a_mapping_to_where_a_protocol_would_get_nowhere_is_refused() {
    let rig = Rig::with("").await;
    let refused = rig.put("ann", "half").await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "destination half has no pop3, which listener pop3s serves"
    );
    let refused = rig.put("ann", "nowhere").await.unwrap_err();
    assert!(matches!(refused, WriteError::Undeclared { .. }));
    assert!(refused.to_string().ends_with("declared are: half, new, old"));
}

#[tokio::test]
async fn removing_what_is_not_there_leaves_the_file_untouched() {
    let rig = Rig::with("ann new").await;
    let before = std::fs::metadata(&rig.path).unwrap().ino();
    assert_eq!(rig.mappings.delete(&who("bob")).await.unwrap(), Removal::Absent);
    assert_eq!(rig.text(), "ann new");
    assert_eq!(std::fs::metadata(&rig.path).unwrap().ino(), before);
}

#[tokio::test]
async fn of_two_lines_of_one_identifier_a_write_leaves_one() {
    let rig = Rig::with("ann old\n#\nAnn new\n").await;
    rig.put("ann", "old").await.unwrap();
    assert_eq!(rig.text(), "#\nAnn old\n");
    rig.edit("ann old\nann new\n");
    assert_eq!(rig.mappings.delete(&who("ann")).await.unwrap(), Removal::Removed);
    assert_eq!(rig.text(), "");
}

#[tokio::test]
async fn a_byte_order_mark_stays_where_it_was() {
    let rig = Rig::with("\u{feff}bob old\n").await;
    rig.put("ann", "new").await.unwrap();
    assert_eq!(rig.text(), "\u{feff}ann\tnew\nbob old\n");
    rig.put("ann", "old").await.unwrap();
    rig.mappings.reload().await.unwrap();
    assert_eq!(rig.text(), "\u{feff}ann\told\nbob old\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_changes_nothing_and_says_why() {
    let rig = Rig::with("ann old\n").await;
    std::fs::remove_file(&rig.path).unwrap();
    let refused = rig.put("ann", "new").await.unwrap_err();
    assert!(
        matches!(refused, WriteError::File(FileError::Read { .. })),
        "{refused:?}"
    );
    assert_eq!(goes_to(&rig.mappings, "ann").await, "old");
}

#[tokio::test]
async fn a_reload_that_fails_keeps_the_old_table_and_names_file_and_line() {
    let rig = Rig::with("ann new\n").await;
    for (text, line, words) in [
        ("ann old\nbob\n", 2, "without a destination"),
        ("# x\nann nowhere\n", 2, "half, new, old"),
        ("ann half\n", 1, "no pop3"),
    ] {
        rig.edit(text);
        let error = rig.mappings.reload().await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("mappings:{line}: ")) && error.contains(words),
            "{error}"
        );
        assert_eq!(goes_to(&rig.mappings, "ann").await, "new");
    }
    rig.edit("ann old\n");
    rig.mappings.reload().await.unwrap();
    assert_eq!(goes_to(&rig.mappings, "ann").await, "old");
}

#[tokio::test]
async fn mdb_a_reload_drops_the_answers_that_changed_and_no_others() {
    let rig = Rig::with("ann old\nbob new\n").await;
    for who in ["ann", "bob", "cyd", "dan"] {
        login(&rig.mappings, who).await;
    }
    rig.edit("bob new\nann new\ncyd new\n");
    rig.mappings.reload().await.unwrap();
    for (who, destination, cached) in [
        ("ann", "new", false),
        ("bob", "new", true),
        ("cyd", "new", false),
        ("dan", "old", true),
    ] {
        let found = login(&rig.mappings, who).await;
        assert_eq!(found.destination, Some(named(destination)), "{who}");
        assert_eq!(found.cached, cached, "{who}");
    }
    rig.edit("@x.example new\n");
    login(&rig.mappings, "eve@x.example").await;
    rig.mappings.reload().await.unwrap();
    assert_eq!(goes_to(&rig.mappings, "eve@x.example").await, "new");
}

#[tokio::test]
async fn a_mapping_of_a_domain_moves_everybody_in_it_who_has_none() {
    let rig = Rig::with("ann@x.example old\n").await;
    login(&rig.mappings, "bob@x.example").await;
    rig.put("@x.example", "new").await.unwrap();
    assert_eq!(goes_to(&rig.mappings, "bob@x.example").await, "new");
    assert_eq!(goes_to(&rig.mappings, "ann@x.example").await, "old");
    rig.mappings.delete(&who("@x.example")).await.unwrap();
    assert_eq!(goes_to(&rig.mappings, "bob@x.example").await, "old");
}

#[tokio::test]
async fn what_is_asked_by_an_operator_is_not_counted_and_says_what_was_cached() {
    let rig = Rig::with("ann new\nbob old\n").await;
    let first = rig.mappings.get(&who("ann")).await;
    assert!(!first.cached);
    assert_eq!(
        (first.origin, first.origin.as_str()),
        (Origin::Mapping, "mapping")
    );
    assert!(rig.mappings.get(&who("ann")).await.cached);
    assert_eq!(rig.mappings.get(&who("bob")).await.origin.as_str(), "mapping");
    assert_eq!(rig.mappings.get(&who("cyd")).await.origin.as_str(), "default");
    assert_eq!(rig.mappings.stats().hits + rig.mappings.stats().misses, 0);
    login(&rig.mappings, "ann").await;
    login(&rig.mappings, "dan").await;
    let stats = rig.mappings.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 1, 4));
    assert!((stats.hit_rate_pct() - 50.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn after_a_put_the_answer_is_read_anew_and_after_an_invalidation_too() {
    let rig = Rig::with("ann old\nbob old\n").await;
    login(&rig.mappings, "ann").await;
    login(&rig.mappings, "bob").await;
    rig.put("ann", "new").await.unwrap();
    let found = login(&rig.mappings, "ann").await;
    assert_eq!((found.destination, found.cached), (Some(named("new")), false));
    rig.mappings.invalidate(What::One(&who("bob")));
    assert!(!rig.mappings.get(&who("bob")).await.cached);
    assert!(rig.mappings.get(&who("ann")).await.cached);
    rig.mappings.invalidate(What::All);
    assert!(!rig.mappings.get(&who("ann")).await.cached);
}

#[tokio::test]
async fn a_login_under_way_sees_a_write_an_invalidation_and_a_new_default_at_its_next_look() {
    let rig = Rig::with("ann old\n").await;
    let ann = who("ann");
    let first = login(&rig.mappings, "ann").await;
    assert_eq!(rig.mappings.still(&ann, &first).await, first);
    rig.put("ann", "new").await.unwrap();
    let second = rig.mappings.still(&ann, &first).await;
    assert_eq!(second.destination, Some(named("new")));
    rig.mappings.delete(&ann).await.unwrap();
    let third = rig.mappings.still(&ann, &second).await;
    assert_eq!(third.destination, Some(named("old")));

    let store = MappingStore::File {
        path: rig.path.clone(),
    };
    let (fleet, listeners) = (with_destinations(&["old", "new"], "new"), listeners());
    let setup = Setup {
        mapping: &Mapping::new(store),
        fleet: &fleet,
        listeners: &listeners,
    };
    let prepared = rig.mappings.prepare(setup).await.unwrap();
    rig.mappings.adopt(prepared);
    let last = rig.mappings.still(&ann, &third).await;
    assert_eq!(last.destination, Some(named("new")), "the default is another one");
    assert!(last.cached, "what the cache holds is that there is no mapping");
}

#[tokio::test]
async fn mdb_a_configuration_without_a_mapped_destination_is_refused_and_a_rename_of_both_is_taken() {
    let rig = Rig::with("ann new\nbob old\n").await;
    login(&rig.mappings, "ann").await;
    login(&rig.mappings, "bob").await;
    let store = MappingStore::File {
        path: rig.path.clone(),
    };
    let mapping = Mapping::new(store);
    let (renamed, listeners) = (with_destinations(&["old", "fresh"], "old"), listeners());
    let setup = Setup {
        mapping: &mapping,
        fleet: &renamed,
        listeners: &listeners,
    };
    let error = rig.mappings.prepare(setup).await.unwrap_err();
    assert!(
        matches!(error, OpenError::File(FileError::Line { line: 1, .. })),
        "{error:?}"
    );
    assert_eq!(goes_to(&rig.mappings, "ann").await, "new");

    rig.edit("ann fresh\nbob old\n");
    let prepared = rig.mappings.prepare(setup).await.unwrap();
    rig.mappings.adopt(prepared);
    assert_eq!(goes_to(&rig.mappings, "ann").await, "fresh");
    assert!(login(&rig.mappings, "bob").await.cached, "the cache survives");
    assert_eq!(rig.mappings.stats().misses, 3, "the counts survive, too");
}

#[tokio::test]
async fn writes_at_the_same_time_are_all_there_in_the_end() {
    let rig = Rig::with("# start\n").await;
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..30 {
        let mappings = Arc::clone(&rig.mappings);
        writes.spawn(async move { mappings.put(&who(&format!("user{n:02}")), &named("new")).await });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap().unwrap();
    }
    let expected: String = (0..30).map(|n| format!("user{n:02}\tnew\n")).collect();
    assert_eq!(rig.text(), format!("# start\n{expected}"));
    rig.stands_alone();
}
