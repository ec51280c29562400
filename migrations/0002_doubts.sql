-- What a hold met on each node, and the processes that know, or may know, more than this database (promise D3).

ALTER TABLE hold_acks
    ADD COLUMN sessions_closed bigint NOT NULL DEFAULT 0,
    ADD COLUMN logins_parked   bigint NOT NULL DEFAULT 0;

-- While there is a row, no change takes a revision but the operator's word on a node (`node forget`). Rows are no part of
-- the chain: they are written also into a database that is to be replaced by the right one.
CREATE TABLE doubts (
    instance uuid PRIMARY KEY,            -- registered, or not: registrations are lost with revisions
    node     text COLLATE "C" NOT NULL,
    revision bigint,                      -- where it stands, outside of this chain; null: it has not said since
    digest   bytea,
    at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((revision IS NULL) = (digest IS NULL))
);

UPDATE versions SET schema = 2;
