//! One process of a node hands its directory to the next (decision 0027): at each point at which either of them dies, who
//! starts next replaces those that are gone, none of those that live, and serves nothing that others were told is over.

use super::*;
use crate::state_file::Estate;
use mailswitch_proto::id::InstanceId;

/// A process that has, or had, the directory.
struct Process {
    directory: Arc<Directory>,
    estate: Arc<Estate>,
    table: Arc<Mutex<Table>>,
    writer: Writer,
}

impl Process {
    fn start(path: &Path) -> Self {
        let directory = Arc::new(Directory::open(path).unwrap());
        let (recovered, prepared) = Writer::recover(&directory).unwrap();
        let table = match recovered {
            Recovered::Table(table, _) => *table,
            _ => table(),
        };
        let table = Arc::new(Mutex::new(table));
        let source = table.clone();
        let writer = prepared.start(move || Snapshot::of(&source.lock())).unwrap();
        Self {
            estate: Estate::new(Arc::clone(&directory), &writer),
            directory,
            table,
            writer,
        }
    }

    /// One that was registered, with a table on its disk that may be served.
    async fn welcomed(path: &Path) -> Self {
        let process = Self::start(path);
        process.directory.welcomed(&process.directory.replaces()).unwrap();
        process.writer.mark(Mark::None);
        process.writer.rewrite();
        let at = process.table.lock().position();
        process.durable(at).await;
        process
    }

    fn hold(&self, account: &str) -> Position {
        let payload = payload(vec![held(&[account], HoldId::random())]);
        let mut table = self.table.lock();
        let at = table.position().after(&payload);
        table.apply(&wire::ChangeSet::decode(payload.clone()).unwrap(), at);
        self.writer.append(at, payload, Sync::First);
        at
    }

    async fn durable(&self, at: Position) {
        let mut durable = self.writer.durable();
        let reached = durable.wait_for(|durable| durable.position == Some(at) && durable.failure.is_none());
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap()
            .unwrap();
    }

    async fn hand_over(&self) -> Result<(), DirectoryError> {
        let estate = Arc::clone(&self.estate);
        tokio::task::spawn_blocking(move || estate.hand_over())
            .await
            .unwrap()
    }

    async fn take_back(&self) {
        let estate = Arc::clone(&self.estate);
        let taken = tokio::task::spawn_blocking(move || estate.take_back_when_free());
        tokio::time::timeout(Duration::from_secs(10), taken)
            .await
            .unwrap()
            .unwrap();
    }

    fn id(&self) -> InstanceId {
        self.directory.instance()
    }
}

fn on_disk(path: &Path) -> (Mark, Position) {
    let (table, tail, _) = read(&File::open(path.join(FILE)).unwrap()).unwrap();
    (tail.header.mark, table.position())
}

fn life_files(path: &Path) -> usize {
    let all = std::fs::read_dir(path).unwrap().flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().starts_with("instance."))
        .count()
}

#[tokio::test]
async fn who_hands_over_goes_on_from_memory_and_who_follows_may_serve_nothing_before_it_has_synced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let old = Process::welcomed(path).await;
    let at = old.hold("ann");
    old.durable(at).await;
    old.hand_over().await.unwrap();
    assert_eq!(on_disk(path), (Mark::Left, at), "all of it, and the mark");
    let later = old.hold("bob");
    old.durable(later).await;
    assert_eq!(on_disk(path), (Mark::Left, at), "it has no disk any more");
    // A mark that it sets itself binds nobody.
    old.writer.mark(Mark::Left);
    let mut durable = old.writer.durable();
    let marked = durable.wait_for(|durable| durable.mark == Mark::Left);
    tokio::time::timeout(Duration::from_secs(10), marked)
        .await
        .unwrap()
        .unwrap();

    let new = Process::start(path);
    assert_ne!(new.id(), old.id());
    assert_eq!(new.directory.replaces(), [], "it lives");
    assert_eq!(new.writer.durable().borrow().mark, Mark::Left);
    assert!(matches!(Directory::open(path), Err(DirectoryError::InUse(_))));
    // What it is told later is on no disk of anybody.
    old.directory.welcomed(&[]).unwrap();
    assert!(matches!(
        old.directory.renew(),
        Err(DirectoryError::HandedOver(_))
    ));
}

#[tokio::test]
async fn the_old_process_is_replaced_once_it_is_gone_and_not_a_moment_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let old = Process::welcomed(path).await;
    old.hand_over().await.unwrap();
    let new = Process::welcomed(path).await;
    for _ in 0..3 {
        new.directory.look_for_gone();
        assert_eq!(new.directory.replaces(), []);
        assert!(new.directory.follows_somebody());
    }
    let gone = old.id();
    drop(old);
    new.directory.look_for_gone();
    assert_eq!(new.directory.replaces(), [gone]);
    // Until the control plane has it, the next start names it, too.
    new.directory.welcomed(&[]).unwrap();
    assert_eq!(new.directory.replaces(), [gone]);
    new.directory.welcomed(&[gone]).unwrap();
    assert!(!new.directory.follows_somebody());
    assert_eq!(life_files(path), 0);
    let before = new.id();
    drop(new);
    assert_eq!(Process::start(path).directory.replaces(), [before]);
}

#[tokio::test]
async fn a_new_process_that_dies_is_followed_by_one_that_leaves_the_old_one_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let old = Process::welcomed(path).await;
    old.hand_over().await.unwrap();
    // It had said Hello, and may be registered: it is taken up.
    let unheard = Process::start(path);
    let id = unheard.id();
    drop(unheard);
    let heard = Process::start(path);
    assert_eq!((heard.id(), heard.directory.replaces()), (id, Vec::new()));
    assert_eq!(on_disk(path).0, Mark::Left, "it has not synced");
    heard.directory.welcomed(&[]).unwrap();
    drop(heard);
    let third = Process::start(path);
    assert_ne!(third.id(), id);
    assert_eq!(third.directory.replaces(), [id]);
    assert_eq!(on_disk(path).0, Mark::Left, "nor has the one before");
    third.directory.welcomed(&[id]).unwrap();
    let (third_id, old_id) = (third.id(), old.id());
    drop((third, old));
    // Both are gone: the machine went down.
    assert_eq!(Process::start(path).directory.replaces(), [third_id, old_id]);
}

#[tokio::test]
async fn an_old_process_whose_successor_dies_before_it_serves_has_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for welcomed in [false, true] {
        let old = Process::welcomed(path).await;
        old.hand_over().await.unwrap();
        let at = old.hold("ann");
        old.durable(at).await;
        let new = Process::start(path);
        if welcomed {
            new.directory.welcomed(&[]).unwrap();
        }
        let failed = new.id();
        // While it lives nothing is taken back.
        let mut taking = Box::pin(old.take_back());
        assert!(
            tokio::time::timeout(Duration::from_millis(500), &mut taking)
                .await
                .is_err()
        );
        drop(new);
        taking.await;
        assert!(matches!(Directory::open(path), Err(DirectoryError::InUse(_))));
        assert_eq!(on_disk(path), (Mark::None, at), "what it had in memory, too");
        assert_eq!(old.directory.replaces(), [failed], "it may be registered");
        assert_eq!(life_files(path), 0);
        let later = old.hold("bob");
        old.durable(later).await;
        assert_eq!(on_disk(path).1, later);
        // It is a process like any other: the next start replaces both.
        let id = old.id();
        drop(old);
        let next = Process::start(path);
        assert_eq!(next.directory.replaces(), [failed, id]);
        next.directory.welcomed(&[failed, id]).unwrap();
    }
}

#[tokio::test]
async fn three_generations_live_side_by_side_and_each_is_replaced_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = Process::welcomed(path).await;
    first.hand_over().await.unwrap();
    let second = Process::welcomed(path).await;
    second.hand_over().await.unwrap();
    let third = Process::welcomed(path).await;
    let ids = [first.id(), second.id()];
    drop(second);
    third.directory.look_for_gone();
    assert_eq!(third.directory.replaces(), [ids[1]]);
    third.directory.welcomed(&[ids[1]]).unwrap();
    assert!(third.directory.follows_somebody());
    drop(first);
    third.directory.look_for_gone();
    assert_eq!(third.directory.replaces(), [ids[0]]);
}

#[tokio::test]
async fn a_lock_file_that_somebody_removed_proves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let old = Process::welcomed(path).await;
    old.hand_over().await.unwrap();
    std::fs::remove_file(path.join(format!("instance.{}", old.id()))).unwrap();
    let new = Process::welcomed(path).await;
    new.directory.look_for_gone();
    assert_eq!(new.directory.replaces(), []);
    drop((new, old));
    let next = Process::start(path);
    assert_eq!(next.directory.replaces().len(), 1, "only who had the directory");
}

#[tokio::test]
async fn a_directory_that_cannot_be_handed_over_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let old = Process::welcomed(path).await;
    let elsewhere = path.with_extension("moved");
    std::fs::rename(path, &elsewhere).unwrap();
    assert!(old.hand_over().await.is_err());
    std::fs::rename(&elsewhere, path).unwrap();
    assert!(matches!(Directory::open(path), Err(DirectoryError::InUse(_))));
    assert_eq!(on_disk(path).0, Mark::None);
    let at = old.hold("ann");
    old.durable(at).await;
    assert_eq!(on_disk(path).1, at);
    // The next try works.
    old.hand_over().await.unwrap();
    old.hand_over().await.unwrap();
    assert!(Directory::open(path).is_ok());
}
