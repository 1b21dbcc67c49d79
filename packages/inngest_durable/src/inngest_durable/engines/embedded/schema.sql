-- Everything the embedded engine remembers. One file, WAL mode; `user_version` is the last number in `migrations`.
--
--   meta      one row per setting                         secret: 32 random bytes made with the file
--   runs      one row per accepted run                    read by ID, by due time, by owner
--     steps   one row per step of a run: its memo         read all together, by run
--     waits   one row per step that waits for an event,   looked up by what arrives, not by run
--             a signal or another run
--   run_events  one row per thing that happened in a run  what live views show
--   events    one row per event sent                      kept so that one counts once, and for late waits
--   workers   one row per process that runs an engine     alive while it holds <db>.workers/<id>.lock
--
-- IDs of runs and workers are ULIDs: they grow with time, so inserts stay at the right edge of each index.
-- Times are seconds since the epoch. Requests and responses are msgpack, results and failures are JSON.
-- There is no CHECK of statuses: SQLite builds the list anew for each row, which costs half as much as the insert.

CREATE TABLE meta (
    name   TEXT PRIMARY KEY NOT NULL,
    value  BLOB NOT NULL
) WITHOUT ROWID;

-- Small columns come first, so that reading them does not walk through a large request. For the same reason this is
-- a rowid table: rows of any size stay out of the index of IDs. `worker` and `pid` accepted the run, whoever owns it.
-- `events_before` is the last event that was there when the row was written.
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

-- `epoch` and `seq` say which pass recorded the step first, and in which order that pass recorded its steps. A step that
-- completed at its first attempt has `started_at` and `ended_at`: with `seq` for a number, they are its run event.
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

-- An event with an ID that was there in the last 24 hours is the same event. `ts` is the sender's, in milliseconds.
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

-- `path` and `value` are one field that the event has to have, empty where any will do; `spec` is the rest of the
-- match. A wait that is resolved while its run executes stays until the run is parked, which makes it due at once.
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

-- Within a run, numbers grow in the order of commits, those in `steps.seq` included: a stream that was cut off goes on
-- after the last it has seen. The run's end is in its row.
CREATE TABLE run_events (
    id      INTEGER PRIMARY KEY,
    run_id  TEXT NOT NULL,
    at      REAL NOT NULL,
    kind    TEXT NOT NULL,
    data    TEXT NOT NULL
);
CREATE INDEX run_events_of ON run_events (run_id, id);
