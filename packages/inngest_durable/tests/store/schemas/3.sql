-- A database as version 3 of the schema has it, for the tests of migrations. Never changed once that version is out.
--
-- Three runs of the endpoint `order` of `shop`, whose steps are charge, pause (a sleep) and ship: one is completed, one
-- waits in its pause, and one was in its step ship when its worker died.

PRAGMA journal_mode = WAL;
PRAGMA application_id = 0x696E6E67;
PRAGMA user_version = 3;

CREATE TABLE meta (
    name   TEXT PRIMARY KEY NOT NULL,
    value  BLOB NOT NULL
) WITHOUT ROWID;

-- Small columns come first, so that reading them does not walk through a large request. For the same reason this is
-- a rowid table: rows of any size stay out of the index of IDs.
CREATE TABLE runs (
    id             TEXT PRIMARY KEY NOT NULL,
    status         TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    owner          TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    wake_at        REAL,
    quiet_seconds  REAL NOT NULL,
    recoveries     INTEGER NOT NULL,
    created_at     REAL NOT NULL,
    ended_at       REAL,
    deadline       REAL,
    idempotency_scope   TEXT,
    idempotency_key     TEXT,
    idempotency_digest  TEXT,
    app_id         TEXT NOT NULL,
    endpoint       TEXT NOT NULL,
    failure        TEXT,
    response       BLOB,
    request        BLOB NOT NULL,
    worker         TEXT,
    pid            INTEGER,
    events_before  INTEGER
);

-- Both indexes cover their queries (which takes `status` too, though it is the same in all their entries) and hold
-- unfinished runs only: finished ones cost them nothing. `runs_owned` also answers the guard of a checkpoint, from a
-- handful of pages however many runs there are; hence its order.
CREATE INDEX runs_due ON runs (app_id, wake_at, id, epoch, recoveries, status) WHERE status = 'waiting';
CREATE INDEX runs_owned ON runs (id, epoch, owner, recoveries, status) WHERE status = 'running';

-- One run for each key that a client sent, and for nothing else.
CREATE UNIQUE INDEX runs_idempotent ON runs (idempotency_scope, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- `epoch` and `seq` say which pass recorded the step first, and in which order that pass recorded its steps.
CREATE TABLE steps (
    run_id       TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key          TEXT NOT NULL,
    id           TEXT NOT NULL,
    op           TEXT NOT NULL,
    state        TEXT NOT NULL,
    epoch        INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    wake_at      REAL,
    fingerprint  TEXT NOT NULL,
    failure      TEXT,
    result       TEXT,
    started_at   REAL,
    ended_at     REAL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;

CREATE TABLE workers (
    id          TEXT PRIMARY KEY NOT NULL,
    pid         INTEGER NOT NULL,
    host        TEXT NOT NULL,
    started_at  REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    app_id       TEXT NOT NULL,
    name         TEXT NOT NULL,
    data         TEXT NOT NULL,
    ts           INTEGER NOT NULL,
    received_at  REAL NOT NULL
);
CREATE UNIQUE INDEX events_once ON events (app_id, id);
CREATE INDEX events_named ON events (app_id, name, received_at);
CREATE INDEX events_received ON events (received_at);

CREATE TABLE waits (
    run_id    TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key       TEXT NOT NULL,
    app_id    TEXT NOT NULL,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    path      TEXT NOT NULL,
    value     TEXT NOT NULL,
    spec      TEXT NOT NULL,
    resolved  INTEGER NOT NULL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
CREATE INDEX waits_for ON waits (app_id, kind, name, path, value, run_id, key) WHERE resolved = 0;
CREATE UNIQUE INDEX waits_signal ON waits (app_id, name) WHERE kind = 'signal' AND resolved = 0;
CREATE INDEX waits_resolved ON waits (run_id, key) WHERE resolved = 1;

CREATE TABLE run_events (
    id      INTEGER PRIMARY KEY,
    run_id  TEXT NOT NULL,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    data    TEXT NOT NULL
);
CREATE INDEX run_events_of ON run_events (run_id, id);

INSERT INTO meta VALUES ('secret', X'FC11505A2BF6841AD587711A6CBBEE21D4F393C8844241693FB89C57EF5F9EFD');

INSERT INTO workers VALUES ('01HF7YAT7T0W3GE1R70W3GE1R7', 9045, 'vm', 1700000000.25);

INSERT INTO runs VALUES (
    '01HF7YAV72040G2081040G2081', 'completed', 1, '', 1, NULL, 0.0, 0, 1700000001.25, 1700000001.75, NULL,
    '02f914ace9b283873004072a7f801cbd', 'order-1', 'b81184318e433d4cd3b1c011ab61b042', 'shop', 'order', NULL,
    X'83A6737461747573CCC8A7686561646572739292C40C636F6E74656E742D74797065C4106170706C69636174696F6E2F6A736F6E92C40E636F6E74656E742D6C656E677468C4023437A4626F6479C42F7B22636861726765223A7B2270616964223A31322E357D2C2270617263656C223A7B2270617263656C223A327D7D0A',
    X'8BA66D6574686F64A3474554A6736368656D65A468747470A9726F6F745F70617468A0A470617468A62F6F72646572A87261775F70617468C4062F6F72646572AC71756572795F737472696E67C400A7686561646572739292C40F6964656D706F74656E63792D6B6579C4076F726465722D3192C404686F7374C4096C6F63616C686F7374A6636C69656E74C0A6736572766572C0AC687474705F76657273696F6EA3312E31A4626F6479C400',
    NULL, NULL, 0
);
INSERT INTO runs VALUES (
    '01HF7YAW6A081040G2081040G2', 'waiting', 1, '', 1, 1700000062.25, 0.0, 0, 1700000002.25, NULL, NULL,
    NULL, NULL, NULL, 'shop', 'order', NULL, NULL,
    X'8BA66D6574686F64A3474554A6736368656D65A468747470A9726F6F745F70617468A0A470617468A62F6F72646572A87261775F70617468C4062F6F72646572AC71756572795F737472696E67C400A7686561646572739192C404686F7374C4096C6F63616C686F7374A6636C69656E74C0A6736572766572C0AC687474705F76657273696F6EA3312E31A4626F6479C400',
    NULL, NULL, 0
);
INSERT INTO runs VALUES (
    '01HF7YAX5J0C1G60R30C1G60R3', 'running', 2, '01HF7YAT7T0W3GE1R70W3GE1R7', 1, NULL, 0.0, 0, 1700000003.25, NULL, NULL,
    NULL, NULL, NULL, 'shop', 'order', NULL, NULL,
    X'8BA66D6574686F64A3474554A6736368656D65A468747470A9726F6F745F70617468A0A470617468A62F6F72646572A87261775F70617468C4062F6F72646572AC71756572795F737472696E67C400A7686561646572739192C404686F7374C4096C6F63616C686F7374A6636C69656E74C0A6736572766572C0AC687474705F76657273696F6EA3312E31A4626F6479C400',
    NULL, NULL, 0
);

INSERT INTO steps VALUES ('01HF7YAV72040G2081040G2081', 'charge', 'charge', 'run', 'completed', 1, 1, 1, NULL, '', NULL, '{"paid":12.5}', NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAV72040G2081040G2081', 'pause', 'pause', 'sleep', 'completed', 1, 2, 1, NULL, '', NULL, 'null', NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAV72040G2081040G2081', 'ship', 'ship', 'run', 'completed', 2, 3, 1, NULL, '', NULL, '{"parcel":2}', NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAW6A081040G2081040G2', 'charge', 'charge', 'run', 'completed', 1, 4, 1, NULL, '', NULL, '{"paid":12.5}', NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAW6A081040G2081040G2', 'pause', 'pause', 'sleep', 'waiting', 1, 5, 0, 1700000062.25, '', NULL, NULL, NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAX5J0C1G60R30C1G60R3', 'charge', 'charge', 'run', 'completed', 1, 6, 1, NULL, '', NULL, '{"paid":12.5}', NULL, NULL);
INSERT INTO steps VALUES ('01HF7YAX5J0C1G60R30C1G60R3', 'pause', 'pause', 'sleep', 'completed', 1, 7, 1, NULL, '', NULL, 'null', NULL, NULL);
