//! The worked examples of the reference, with real paths in the place of their own.

use mailswitch_tests::ca::Ca;

use super::*;

const CLUB: &str = include_str!("../../../data-plane/config/tests/examples/club.toml");
const CLUSTER: &str = include_str!("../../../data-plane/config/tests/examples/cluster.toml");

/// They need HTTP and the stores of a later version to run; every rule is checked all the same.
#[test]
fn the_examples_with_http_and_other_stores_are_in_order() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let public = ca.issue(place.path(), "mail.club.example", place.address(2))?;
    std::fs::rename(&public.cert, place.path().join("chain.pem"))?;
    std::fs::write(
        place.path().join("admin.token"),
        "0123456789abcdef0123456789abcdef\n",
    )?;
    for (name, text) in [("club", CLUB), ("cluster", CLUSTER)] {
        let path = place.path().join(format!("{name}.toml"));
        std::fs::write(
            &path,
            text.replace("/etc/mailswitch", &place.path().display().to_string()),
        )?;
        let output = run(&["--offline", "--check", &path.display().to_string()])?;
        let said = said(&output);
        assert!(output.status.success(), "{name}: {said}");
        assert!(
            said.lines().all(|line| line.contains("this version")),
            "nothing but what this version does not serve: {said}"
        );
        assert!(!said.contains("hunter2"));
    }
    Ok(())
}
