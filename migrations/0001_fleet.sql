-- The first schema: one fleet, its log of changes, what routes, who moves, and who did what.
--
-- Rules: migrations only expand (a contract waits one release); `versions` says which programs may read and
-- write. Every routing write goes through change_seal(), as the last statement before the commit.

CREATE TABLE versions (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema        integer NOT NULL,
    oldest_reader integer NOT NULL,   -- a program that knows less than this schema must not read
    oldest_writer integer NOT NULL    -- … must not write
);
INSERT INTO versions (schema, oldest_reader, oldest_writer) VALUES (1, 1, 1);

-- The counter row. Whoever updates it holds up every other writer until the commit: so it is updated last.
CREATE TABLE fleet (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    fleet      uuid NOT NULL,
    hash_key   bytea NOT NULL CHECK (octet_length(hash_key) = 16),
    revision   bigint NOT NULL DEFAULT 0,
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    made_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

-- The log that the feed reads. `revision` is null only inside the transaction that writes the row; `id` lets a
-- writer whose connection broke at the commit find out how it ended.
CREATE TABLE changes (
    id          uuid PRIMARY KEY,
    revision    bigint UNIQUE,
    digest      bytea,
    payload     bytea NOT NULL,
    keys        bytea NOT NULL,         -- packed; all that the change touches
    breadth     text NOT NULL CHECK (breadth IN ('keys', 'nodes', 'everything')),
    traceparent text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE changes ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Every revision there was, also those whose change was trimmed: the audit log names changes by id, and a node's old
-- position is compared with this. Kept as long as the audit log.
CREATE TABLE revisions (
    revision bigint PRIMARY KEY,
    digest   bytea NOT NULL,
    change   uuid NOT NULL UNIQUE,
    at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE resources (
    kind     text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL DEFAULT '',
    site     text COLLATE "C" NOT NULL DEFAULT '',
    body     text NOT NULL,            -- the TOML table as JSON, keys in order
    revision bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, name, site)
);

CREATE TABLE mappings (
    identifier  text COLLATE "C" PRIMARY KEY,   -- in normal form, or "@domain"
    key         bytea NOT NULL CHECK (octet_length(key) = 16),
    destination text COLLATE "C" NOT NULL
);
CREATE INDEX mappings_destination ON mappings (destination);

CREATE TABLE accounts (
    id       uuid PRIMARY KEY,
    name     text COLLATE "C" NOT NULL,   -- its first identifier
    grp      text COLLATE "C" NOT NULL DEFAULT '',
    made_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX accounts_grp ON accounts (grp) WHERE grp <> '';

CREATE TABLE account_identifiers (
    identifier text COLLATE "C" PRIMARY KEY,
    key        bytea NOT NULL CHECK (octet_length(key) = 16),
    account    uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    ordinal    integer NOT NULL
);
CREATE INDEX account_identifiers_account ON account_identifiers (account, ordinal);
CREATE INDEX account_identifiers_key ON account_identifiers (key);

CREATE TABLE account_addresses (
    account uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    address text COLLATE "C" NOT NULL,
    PRIMARY KEY (account, address)
);
CREATE INDEX account_addresses_address ON account_addresses (address);

-- One row per process of a node (promise N1): all of them count in a flip.
CREATE TABLE nodes (
    instance            uuid PRIMARY KEY,
    name                text COLLATE "C" NOT NULL,
    machine             bytea NOT NULL,
    site                text NOT NULL,
    version             text NOT NULL,
    listeners           jsonb NOT NULL DEFAULT '[]',
    registered_revision bigint NOT NULL DEFAULT 0,
    registered_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX nodes_name ON nodes (name);

-- A recorded cutover or rollback. (term, holder) fence its driver (promise F1).
CREATE TABLE operations (
    id             uuid PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('cutover', 'rollback')),
    rolls_back     uuid REFERENCES operations,
    account        uuid,                 -- no reference: the record outlives the account
    account_name   text NOT NULL,
    identifiers    text[] NOT NULL,
    keys           bytea NOT NULL,
    from_any       text[] NOT NULL,      -- --from, as given
    source         text NOT NULL,        -- where it was, and goes back to
    target         text NOT NULL,
    step           text NOT NULL,
    outcome        text,
    hold           uuid,
    hold_revision  bigint,
    end_revision   bigint,
    copy           text NOT NULL,        -- 'none', 'wanted', 'passed'
    verify         text NOT NULL,
    drain_timeout_ms bigint NOT NULL,
    max_hold_ms    bigint NOT NULL,
    deadline       timestamptz,
    abort_asked    text,                 -- by whom, and why
    cause          text NOT NULL DEFAULT '',
    missing        text[] NOT NULL DEFAULT '{}',
    traceparent    text NOT NULL DEFAULT '',
    reason         text NOT NULL DEFAULT '',
    started_by     text NOT NULL,
    started_from   text NOT NULL DEFAULT '',
    started_at     timestamptz NOT NULL DEFAULT now(),
    held_at        timestamptz,
    ended_at       timestamptz,
    term           bigint NOT NULL,
    holder         uuid NOT NULL
);
CREATE INDEX operations_open ON operations (started_at) WHERE ended_at IS NULL;
CREATE INDEX operations_account ON operations (account_name, started_at DESC);

-- The holds in force. The primary key of held_identifiers is what keeps two operations off one login.
CREATE TABLE holds (
    id        uuid PRIMARY KEY,
    operation uuid NOT NULL UNIQUE REFERENCES operations,
    revision  bigint NOT NULL DEFAULT 0,
    source    text NOT NULL,
    target    text NOT NULL,
    deadline  timestamptz NOT NULL,
    drain_timeout_ms bigint NOT NULL,
    keys      bytea NOT NULL
);
CREATE TABLE held_identifiers (
    identifier text COLLATE "C" PRIMARY KEY,
    key        bytea NOT NULL,
    hold       uuid NOT NULL REFERENCES holds ON DELETE CASCADE
);
CREATE INDEX held_identifiers_hold ON held_identifiers (hold);

-- "No session of it is left here" (promise Q4), by hold and process. They go when the process is replaced; they
-- outlive the hold as the record of what a flip rested on.
CREATE TABLE hold_acks (
    hold             uuid NOT NULL,
    instance         uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    applied_revision bigint NOT NULL,
    applied_digest   bytea NOT NULL,
    at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hold, instance)
);
CREATE INDEX hold_acks_instance ON hold_acks (instance);

-- A backend leg that did not end (promise Q2).
CREATE TABLE hold_stuck (
    hold        uuid NOT NULL,
    instance    uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    node        text NOT NULL,
    destination text NOT NULL,
    session     text NOT NULL,
    protocol    text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hold, instance, session)
);

-- A copy or verify command, run by mailswitchctl under a lease (promise F6). By hold: a result of another hold
-- has no row here.
CREATE TABLE hooks (
    hold       uuid NOT NULL,
    hook       text NOT NULL CHECK (hook IN ('copy', 'verify')),
    renewals   bigint NOT NULL DEFAULT 0,
    finished   text CHECK (finished IN ('passed', 'failed')),
    detail     text NOT NULL DEFAULT '',
    PRIMARY KEY (hold, hook)
);

CREATE TABLE audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    change    uuid,                      -- of revisions; null: nothing that routes
    at        timestamptz NOT NULL DEFAULT now(),
    who       text NOT NULL,
    from_addr text NOT NULL DEFAULT '',
    verb      text NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    before    text NOT NULL DEFAULT '',
    after     text NOT NULL DEFAULT '',
    reason    text NOT NULL DEFAULT '',
    trace     text NOT NULL DEFAULT '',
    unproven  boolean NOT NULL DEFAULT false
);
CREATE INDEX audit_subject ON audit (subject, id DESC);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE idempotency (
    key      uuid PRIMARY KEY,
    verb     text NOT NULL,
    request  bytea NOT NULL,             -- SHA-256 of what was asked
    revision bigint NOT NULL DEFAULT 0,
    digest   bytea NOT NULL DEFAULT '',
    output   jsonb NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_at ON idempotency (at);

-- Replicas and the work that one of them does at a time.
CREATE TABLE replicas (
    instance  uuid PRIMARY KEY,
    name      text NOT NULL,
    advertise text NOT NULL DEFAULT '',
    version   text NOT NULL,
    seen_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE duties (
    name   text PRIMARY KEY,
    holder uuid NOT NULL,
    term   bigint NOT NULL,
    until  timestamptz NOT NULL
);

-- Gives the staged change `staged` its number, as successor of the position that its writer knows, and wakes the
-- readers. Sent in one round trip with the COMMIT, so that no writer is ever stopped between the two.
CREATE FUNCTION change_seal(staged uuid, known_revision bigint, known_digest bytea, sealed_digest bytea)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE fleet SET revision = known_revision + 1, digest = sealed_digest
        WHERE revision = known_revision AND digest = known_digest;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another change was committed first' USING ERRCODE = 'MS001';
    END IF;
    UPDATE changes SET revision = known_revision + 1, digest = sealed_digest WHERE id = staged;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the change is not staged' USING ERRCODE = 'MS002';
    END IF;
    INSERT INTO revisions (revision, digest, change) VALUES (known_revision + 1, sealed_digest, staged);
    PERFORM pg_notify('mailswitch_changes', (known_revision + 1)::text);
END $$;
