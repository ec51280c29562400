//! The file in use: what is on the disk when something is acknowledged, what a restart finds, and whose the directory is.

use super::*;

#[test]
fn a_corrupt_file_is_set_aside_and_a_torn_one_goes_on() {
    let example = example();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let opened = Directory::open(directory.path()).unwrap();

    std::fs::write(&path, &example.bytes[..example.bytes.len() - 1]).unwrap();
    let (recovered, _) = Writer::recover(&opened).unwrap();
    assert!(matches!(recovered, Recovered::Table(_, Torn::Dropped(_))));
    assert_eq!(
        std::fs::metadata(&path).unwrap().len() as usize,
        example.after[2].0
    );

    // What is served and acknowledged from now on may not be lost unnoticed later.
    let (_, tail, _) = read(&File::open(&path).unwrap()).unwrap();
    assert_eq!(tail.header.acknowledged as usize, example.after[2].0);

    let mut bytes = example.bytes.clone();
    bytes[200] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (recovered, _) = Writer::recover(&opened).unwrap();
    assert!(matches!(recovered, Recovered::Corrupt(Corruption::Record(_))));
    assert!(!path.exists());
    assert_eq!(
        std::fs::read(directory.path().join("state.corrupt")).unwrap(),
        bytes
    );
    assert!(matches!(Writer::recover(&opened).unwrap().0, Recovered::Nothing));
}

/// A writer over a table that a test changes.
struct Node {
    table: Arc<Mutex<Table>>,
    writer: Writer,
}

impl Node {
    fn start(directory: &Directory, table: Table) -> Self {
        let table = Arc::new(Mutex::new(table));
        let (_, prepared) = Writer::recover(directory).unwrap();
        let source = table.clone();
        let writer = prepared.start(move || Snapshot::of(&source.lock())).unwrap();
        Self { table, writer }
    }

    fn apply(&self, changes: Vec<wire::Change>, sync: Sync) -> Position {
        let payload = payload(changes);
        let mut table = self.table.lock();
        let at = table.position().after(&payload);
        table.apply(&wire::ChangeSet::decode(payload.clone()).unwrap(), at);
        self.writer.append(at, payload, sync);
        at
    }

    async fn durable(&self, at: Position) {
        let mut durable = self.writer.durable();
        let reached = durable.wait_for(|durable| durable.position == Some(at));
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_hold_is_on_the_disk_when_it_may_be_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Directory::open(directory.path()).unwrap();
    let node = Node::start(&opened, table());
    node.writer.rewrite();
    node.durable(table().position()).await;
    let at = node.apply(vec![held(&["ann"], HoldId::random())], Sync::First);
    node.durable(at).await;
    // The acknowledged offset covers the record, so that losing it later would be noticed.
    let file = File::open(directory.path().join(FILE)).unwrap();
    let (table, tail, _) = read(&file).unwrap();
    assert_eq!(table.position(), at);
    assert_eq!(tail.header.acknowledged, file.metadata().unwrap().len());
    assert_eq!(table.look(&ActingFor::one(who("ann"), [])), Look::Held);
}

#[tokio::test]
async fn a_table_that_missed_a_part_of_a_change_is_never_kept_as_if_it_were_whole() {
    let directory = tempfile::tempdir().unwrap();
    {
        let opened = Directory::open(directory.path()).unwrap();
        let node = Node::start(&opened, table());
        node.writer.rewrite();
        node.durable(table().position()).await;
        let damaged = wire::Change {
            keys: vec![0; 17].into(),
            ..mapped(&[], "new")
        };
        let at = node.apply(vec![damaged], Sync::Behind);
        node.durable(at).await;
        // For any reason: the journal is long, or the disk failed before.
        node.writer.rewrite();
        let mut durable = node.writer.durable();
        let refused = durable.wait_for(|durable| durable.failure.is_some());
        tokio::time::timeout(Duration::from_secs(10), refused)
            .await
            .unwrap()
            .unwrap();
    }
    let opened = Directory::open(directory.path()).unwrap();
    let (Recovered::Table(table, _), _) = Writer::recover(&opened).unwrap() else {
        panic!("the file was not read");
    };
    assert_eq!(table.serving(), Serving::NotSynced);
}

#[tokio::test]
async fn what_was_applied_is_there_after_a_restart_and_a_long_journal_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let (expected, longest) = {
        let opened = Directory::open(directory.path()).unwrap();
        let node = Node::start(&opened, table());
        node.writer.rewrite();
        let names: Vec<String> = (0..2000).map(|n| format!("user{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut longest = 0;
        for round in 0..120 {
            let destination = ["old", "new"][round % 2];
            let at = node.apply(vec![mapped(&names, destination)], Sync::Behind);
            node.durable(at).await;
            longest = longest.max(std::fs::metadata(directory.path().join(FILE)).unwrap().len());
        }
        (answers(&node.table.lock()), longest)
    };
    assert!(
        longest < 2 << 20,
        "{longest} bytes: 3.8 MB of changes were never compacted"
    );
    let opened = Directory::open(directory.path()).unwrap();
    let (Recovered::Table(table, Torn::No), _) = Writer::recover(&opened).unwrap() else {
        panic!("the file was not read");
    };
    assert_eq!(answers(&table), expected);
    assert_eq!(table.len(), 2003);
    let user = table.look(&ActingFor::one(who("user7"), []));
    assert!(matches!(user, Look::Route(route) if route.destination == DestinationName::from("new")));
}

#[tokio::test]
async fn a_disk_that_fails_acknowledges_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Directory::open(directory.path()).unwrap();
    let node = Node::start(&opened, table());
    std::fs::remove_dir_all(directory.path()).unwrap();
    node.apply(vec![held(&["ann"], HoldId::random())], Sync::First);
    let mut durable = node.writer.durable();
    let failed = durable.wait_for(|durable| durable.failure.is_some());
    let failed = tokio::time::timeout(Duration::from_secs(10), failed)
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!(failed.position, None);
}

#[tokio::test]
async fn the_mark_survives_restarts_and_new_files_until_it_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = |opened: &Directory| Writer::recover(opened).unwrap().1.mark();
    let opened = Directory::open(directory.path()).unwrap();
    for mark in [Mark::Left, Mark::None] {
        let node = Node::start(&opened, table());
        node.writer.rewrite();
        node.writer.mark(mark);
        let mut durable = node.writer.durable();
        let reached = durable.wait_for(|durable| durable.mark == mark);
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(on_disk(&opened), mark, "on the disk when it is said to be");
        // A delta, and a file that is written anew, leave it.
        let at = node.apply(vec![mapped(&["bob"], "third")], Sync::First);
        node.writer.rewrite();
        node.durable(at).await;
        drop(node);
        assert_eq!(on_disk(&opened), mark);
    }
}

#[test]
fn a_directory_belongs_to_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let first = Directory::open(directory.path()).unwrap();
    assert!(matches!(
        Directory::open(directory.path()),
        Err(DirectoryError::InUse(_))
    ));
    drop(first);
    assert!(Directory::open(directory.path()).is_ok());
}

#[test]
fn the_next_start_replaces_the_instance_that_was_welcomed_and_takes_up_one_that_was_not() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Directory::open(directory.path()).unwrap();
    let first = open();
    let id = first.instance();
    assert_eq!(first.replaces(), []);
    drop(first);
    // It said Hello and heard nothing: it may be registered.
    let second = open();
    assert_eq!((second.instance(), second.replaces()), (id, Vec::new()));
    second.welcomed(&[]).unwrap();
    drop(second);
    let third = open();
    assert_ne!(third.instance(), id);
    assert_eq!(third.replaces(), [id]);
    let machine = third.machine();
    drop(third);
    assert_eq!(open().machine(), machine);
}

#[test]
fn a_process_that_goes_on_under_a_new_instance_is_replaced_as_if_it_had_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Directory::open(directory.path()).unwrap();
    let first = opened.instance();
    opened.welcomed(&[]).unwrap();
    opened.renew().unwrap();
    let second = opened.instance();
    assert_ne!(second, first);
    assert_eq!(opened.replaces(), [first]);
    drop(opened);
    // It may have said Hello, and be registered: it is taken up again.
    let next = Directory::open(directory.path()).unwrap();
    assert_eq!((next.instance(), next.replaces()), (second, vec![first]));
}
