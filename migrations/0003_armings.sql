-- Accounts that are admitted only under a live lease (promise L1 to L5), and nodes that are not to serve (promise N3).

-- One arming of one account, until it is taken back.
CREATE TABLE armings (
    id        uuid PRIMARY KEY,
    operation uuid REFERENCES operations,   -- the cutover that it ends with; null: made ahead
    account   uuid,                         -- no reference: null for a single identifier
    name      text COLLATE "C" NOT NULL,    -- of the account
    revision  bigint NOT NULL,              -- at which it was made
    keys      bytea NOT NULL,               -- packed
    armed_at  timestamptz NOT NULL DEFAULT now(),
    armed_by  text NOT NULL DEFAULT ''
);
CREATE INDEX armings_name ON armings (name);
CREATE INDEX armings_operation ON armings (operation) WHERE operation IS NOT NULL;

-- The primary key is what keeps two armings off one login.
CREATE TABLE armed_identifiers (
    identifier text COLLATE "C" PRIMARY KEY,
    key        bytea NOT NULL,
    arming     uuid NOT NULL REFERENCES armings ON DELETE CASCADE
);
CREATE INDEX armed_identifiers_arming ON armed_identifiers (arming);
CREATE INDEX armed_identifiers_key ON armed_identifiers (key);

-- "It is on my disk, and a lease that was granted at or after its revision is live" (promise L4), by arming and process.
CREATE TABLE arming_acks (
    arming           uuid NOT NULL REFERENCES armings ON DELETE CASCADE,
    instance         uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    applied_revision bigint NOT NULL,
    applied_digest   bytea NOT NULL,
    at               timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (arming, instance)
);
CREATE INDEX arming_acks_instance ON arming_acks (instance);

ALTER TABLE holds
    ADD COLUMN arming uuid;                              -- that it follows; no reference: the hold goes first

ALTER TABLE operations
    ADD COLUMN arming        uuid,
    ADD COLUMN lease_ms      bigint  NOT NULL DEFAULT 0,     -- 0: of before there were leases
    ADD COLUMN fenced_is_off boolean NOT NULL DEFAULT false, -- the operator's word (promise N3)
    ADD COLUMN lapsed        text[]  NOT NULL DEFAULT '{}',  -- nodes that the flip counted by a lapse (promise L3)
    ADD COLUMN taken_as_off  text[]  NOT NULL DEFAULT '{}';  -- … by the operator's word

-- Whether it touched an armed account, or armed or disarmed one: a lease is granted only to a node that has applied the
-- last of them (promise L2).
ALTER TABLE changes ADD COLUMN armed boolean NOT NULL DEFAULT false;
CREATE INDEX changes_armed ON changes (revision) WHERE armed;

-- By name, so that a process that is started again is one, too.
CREATE TABLE fences (
    node      text COLLATE "C" PRIMARY KEY,
    fenced_at timestamptz NOT NULL DEFAULT now(),
    fenced_by text NOT NULL DEFAULT ''
);

UPDATE versions SET schema = 3;
