//! The transaction of a change. Its commit is part of another statement, so it is begun and ended by hand.

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use super::writer::Size;

/// A transaction whose commit is part of another statement. Dropped in the middle (the caller was cancelled), it takes
/// its connection with it: nobody inherits an open transaction.
pub(super) struct OpenTransaction {
    conn: PoolConnection<Postgres>,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    Ended,
}

impl OpenTransaction {
    pub(super) async fn begin(pool: &PgPool, size: Size) -> Result<Self, sqlx::Error> {
        let mut txn = Self {
            conn: pool.acquire().await?,
            state: State::Open,
        };
        sqlx::raw_sql(match size {
            Size::Short => "BEGIN",
            // A million rows are read, compared and written: seconds between statements, and minutes in one. Nobody waits
            // for it meanwhile but whoever wants the same rows.
            Size::Bulk => {
                "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL statement_timeout = '10min';
                 SET LOCAL lock_timeout = '10s'"
            }
        })
        .execute(&mut *txn.conn)
        .await?;
        Ok(txn)
    }

    pub(super) fn conn(&mut self) -> &mut sqlx::PgConnection {
        &mut self.conn
    }

    pub(super) fn ended(&mut self) {
        self.state = State::Ended;
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.conn).await?;
        self.ended();
        Ok(())
    }

    pub(super) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(&mut *self.conn).await?;
        self.ended();
        Ok(())
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.conn.close_on_drop();
        }
    }
}
