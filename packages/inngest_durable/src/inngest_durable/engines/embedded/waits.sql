-- Queries about events, and about steps that wait for them, for signals and for other runs; see `queries.sql`.

-- name: add_event
INSERT INTO events (id, app_id, name, data, ts, received_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (app_id, id) DO UPDATE SET
    name = excluded.name, data = excluded.data, ts = excluded.ts, received_at = excluded.received_at
WHERE events.received_at <= excluded.received_at - 86400

-- What came since a moment by the clock, or since the run's row was written: the clock may have been set back since
-- then, and the row is written some milliseconds after the run began.

-- name: events_since
SELECT id, name, data, ts, received_at, seq FROM events WHERE app_id = ? AND name = ? AND received_at >= ?
UNION
SELECT id, name, data, ts, received_at, seq FROM events
WHERE seq > (SELECT events_before FROM runs WHERE id = ?) AND +app_id = ? AND +name = ?
ORDER BY received_at, seq

-- name: oldest_event
SELECT min(received_at) FROM events

-- name: prune_events
DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE received_at < ? ORDER BY received_at LIMIT ?)

-- name: add_wait
INSERT INTO waits (run_id, key, app_id, kind, name, path, value, spec, resolved) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (run_id, key) DO UPDATE SET
    app_id = excluded.app_id, kind = excluded.kind, name = excluded.name, path = excluded.path,
    value = excluded.value, spec = excluded.spec, resolved = 0

-- An event looks at the waits for its name one path after the other, each by a seek in the index, and then only at
-- those with its own value there. Until when a step waits is in its row: what comes then, or later, is too late.

-- name: first_path
SELECT min(path) FROM waits INDEXED BY waits_for WHERE app_id = ? AND kind = 'event' AND name = ? AND resolved = 0

-- name: next_path
SELECT min(path) FROM waits INDEXED BY waits_for
WHERE app_id = ? AND kind = 'event' AND name = ? AND path > ? AND resolved = 0

-- name: waits_at
SELECT waits.run_id, waits.key, waits.spec, steps.wake_at FROM waits INDEXED BY waits_for
JOIN steps ON steps.run_id = waits.run_id AND steps.key = waits.key
WHERE waits.app_id = ? AND waits.kind = ? AND waits.name = ? AND waits.path = ? AND waits.value = ?
AND waits.resolved = 0

-- name: waits_for_run
SELECT waits.run_id, waits.key, steps.wake_at FROM waits INDEXED BY waits_for
JOIN steps ON steps.run_id = waits.run_id AND steps.key = waits.key
WHERE waits.app_id = (SELECT app_id FROM runs WHERE id = ?) AND waits.kind = 'run' AND waits.name = ?
AND waits.resolved = 0

-- name: awaited
SELECT name FROM waits WHERE run_id = ? AND key = ?

-- name: complete_step
UPDATE steps SET state = ?, attempt = 1, wake_at = NULL, result = nullif(?, ''), failure = nullif(?, '')
WHERE run_id = ? AND key = ? AND state = 'waiting'

-- name: make_due
UPDATE runs SET wake_at = min(wake_at, ?) WHERE id = ? AND status = 'waiting'

-- name: resolve_wait
UPDATE waits SET resolved = 1 WHERE run_id = ? AND key = ?

-- name: drop_wait
DELETE FROM waits WHERE run_id = ? AND key = ?

-- name: drop_waits
DELETE FROM waits WHERE run_id = ?

-- name: drop_resolved_waits
DELETE FROM waits WHERE run_id = ? AND resolved = 1

-- name: resolved_waits
SELECT key FROM waits INDEXED BY waits_resolved WHERE run_id = ? AND resolved = 1

-- name: arrived
SELECT run_id, key FROM waits INDEXED BY waits_resolved WHERE resolved = 1

-- name: memo
SELECT key, id, op, state, attempt, result, failure, wake_at, fingerprint FROM steps WHERE run_id = ? AND key = ?

-- name: is_running
SELECT 1 FROM runs INDEXED BY runs_owned WHERE id = ? AND epoch = ? AND status = 'running'
