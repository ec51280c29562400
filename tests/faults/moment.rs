//! The moment at which a cutover comes to a step, told from inside the very transaction that records it, which then waits a
//! little: a fault can come before the step is committed, and just after.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use mailswitch_tests::{place::Place, postgres::Postgres};
use nix::unistd::{User, chown};

const DATABASE: &str = "mailswitch";

/// Where PostgreSQL leaves a file when a moment has come.
#[derive(Debug)]
pub(crate) struct Moments {
    folder: PathBuf,
}

impl Moments {
    /// Once the control plane has made its tables.
    pub(crate) fn install(place: &Place, postgres: &Postgres) -> Result<Self> {
        let folder = place.folder("moments")?;
        let owner = User::from_name("postgres")?.context("no user postgres")?;
        chown(&folder, Some(owner.uid), Some(owner.gid))?;
        postgres.sql(
            DATABASE,
            "CREATE TABLE fault_moments (account text, step text, file text, seconds float8);
             CREATE FUNCTION fault_moment() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE moment fault_moments;
             BEGIN
                 SELECT * INTO moment FROM fault_moments WHERE account = NEW.account_name AND step = NEW.step;
                 IF FOUND AND (TG_OP = 'INSERT' OR NEW.step <> OLD.step) THEN
                     EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat > ' || moment.file);
                     PERFORM pg_sleep(moment.seconds);
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER fault_moment AFTER INSERT OR UPDATE ON operations
                 FOR EACH ROW EXECUTE FUNCTION fault_moment()",
        )?;
        Ok(Self { folder })
    }

    /// The file that there will be as soon as this account's cutover records this step; its transaction waits so long then.
    pub(crate) fn expect(
        &self,
        postgres: &Postgres,
        account: &str,
        step: &str,
        wait: Duration,
    ) -> Result<Moment> {
        let file = self.folder.join(account);
        let _ = fs::remove_file(&file);
        postgres.sql(
            DATABASE,
            &format!(
                "INSERT INTO fault_moments VALUES ('{account}', '{step}', '{}', {})",
                file.display(),
                wait.as_secs_f64()
            ),
        )?;
        Ok(Moment(file))
    }
}

pub(crate) struct Moment(PathBuf);

impl Moment {
    pub(crate) fn has_come(&self) -> bool {
        Path::exists(&self.0)
    }
}
