//! A private PostgreSQL lives as long as it is needed, and no longer.

use std::time::Duration;

use mailswitch_control_plane::database::{Database, Place};
use mailswitch_control_plane::store::audit::Proof;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_started_again_and_writers_carry_on() {
    let scene = Scene::new().await;
    let pid = std::fs::read_to_string(scene.state_dir.path().join("postgresql/postmaster.pid")).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap());
    let first = scene
        .map("alice@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let next = scene
        .map("bob@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.revision, first.revision.next());
    // Its children live for a moment longer, and may have made that change.
    let another = async {
        let file = scene.state_dir.path().join("postgresql/postmaster.pid");
        let first = pid.to_string();
        while std::fs::read_to_string(&file).is_ok_and(|now| now.lines().next() == Some(&first)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), another)
        .await
        .unwrap();
    assert_eq!(scene.mapped("alice@example.org").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_server_works_below_a_deep_directory_and_names_a_directory_that_is_shut() {
    use std::os::unix::fs::PermissionsExt as _;
    let top = tempfile::tempdir().unwrap();
    std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let deep = top.path().join("a-directory-with-a-long-name/".repeat(5));
    std::fs::create_dir_all(&deep).unwrap();
    let database = Database::open(Place::Private(&deep)).await.unwrap();
    let socket = std::fs::read_to_string(deep.join("postgresql.socket-dir")).unwrap();
    assert!(socket.len() < 60, "{socket}");
    let fleet = database.fleet();
    database.close().await;
    let database = Database::open(Place::Private(&deep)).await.unwrap();
    assert_eq!(database.fleet(), fleet);
    assert_eq!(
        std::fs::read_to_string(deep.join("postgresql.socket-dir")).unwrap(),
        socket,
        "the same one"
    );
    database.close().await;
    std::fs::remove_dir_all(socket.trim()).unwrap();

    if nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let error = Database::open(Place::Private(&deep))
            .await
            .err()
            .unwrap()
            .to_string();
        let shut = top.path().canonicalize().unwrap();
        assert!(
            error.contains("chmod o+x") && error.contains(&shut.display().to_string()),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_server_survives_its_owner_and_is_taken_up_by_the_next_one() {
    let scene = Scene::new().await;
    let made = scene
        .map("alice@example.org", Some("new"), Proof::Standing)
        .await
        .unwrap()
        .unwrap();
    let Scene {
        database, state_dir, ..
    } = scene;
    let fleet = database.fleet();
    // A second control plane on the same directory is kept away from it.
    let second = Database::open(Place::Private(state_dir.path()))
        .await
        .err()
        .unwrap();
    assert!(second.to_string().contains("another control plane"), "{second}");
    database.close().await;
    assert!(
        !state_dir.path().join("postgresql/postmaster.pid").exists(),
        "it was stopped in order"
    );

    // Now one that nobody stops: as after a kill -9 of the control plane.
    let orphan = Orphan::start(state_dir.path());
    let database = Database::open(Place::Private(state_dir.path())).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{}/cwd", orphan.0)).exists() || orphan.is_zombie());
    assert_eq!(database.fleet(), fleet);
    let mut conn = database.pool().acquire().await.unwrap();
    let (_, at) = mailswitch_control_plane::store::fleet::fleet_get(&mut conn)
        .await
        .unwrap();
    assert_eq!(at, made);
    drop(conn);
    database.close().await;

    // The installed version changed.
    std::fs::write(state_dir.path().join("postgresql/PG_VERSION"), "9\n").unwrap();
    let error = Database::open(Place::Private(state_dir.path()))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("PostgreSQL 9") && error.contains("postgresql-9"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_that_is_killed_leaves_no_server() {
    let scene = Scene::bare().await;
    let Scene {
        database,
        mut watchdog,
        state_dir,
        ..
    } = scene;
    database.close().await;
    let orphan = Orphan::start(state_dir.path());
    assert!(!orphan.is_zombie());
    watchdog.bite();
    assert!(orphan.is_zombie(), "it was ended");
    assert!(!state_dir.path().exists());
}

/// A server that the test started on a state directory, as a dead control plane leaves it.
struct Orphan(u32, std::cell::RefCell<std::process::Child>);

impl Orphan {
    fn start(state_dir: &std::path::Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        use std::os::unix::process::CommandExt as _;
        let data = state_dir.join("postgresql");
        let owner = std::fs::metadata(&data).unwrap();
        let newest = std::fs::read_dir("/usr/lib/postgresql")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("bin/postgres"))
            .max()
            .unwrap();
        let mut command = std::process::Command::new(newest);
        command
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses="])
            .arg("-k")
            .arg(state_dir.join("run"));
        command.current_dir("/").stderr(std::process::Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        // What it starts is ended by the database that takes over, and waited for in `is_zombie`.
        #[allow(clippy::zombie_processes)]
        let child = command.spawn().unwrap();
        let pid = child.id();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if text.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Self(pid, std::cell::RefCell::new(child));
            }
            assert!(std::time::Instant::now() < deadline, "it does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_zombie(&self) -> bool {
        self.1.borrow_mut().try_wait().unwrap().is_some()
    }
}
