ALTER TABLE runs ADD COLUMN worker TEXT;
ALTER TABLE runs ADD COLUMN pid INTEGER;
ALTER TABLE steps ADD COLUMN started_at REAL;
ALTER TABLE steps ADD COLUMN ended_at REAL;

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
