-- Every query of the store, by name. A write that belongs to a pass carries its guard (run, epoch, status) in the
-- same statement: it changed one row, or the pass has lost the run.
--
-- Where most rows have no value, an empty one is bound and made NULL here: Python's sqlite3 looks for an adapter for
-- each None (and for each bytes, but not for a bytearray), which takes as long as binding five texts.

-- name: insert_run
INSERT INTO runs (
    id, status, epoch, owner, attempt, wake_at, quiet_seconds, recoveries, created_at, deadline, idempotency_scope,
    idempotency_key, idempotency_digest, app_id, endpoint, request, worker, pid, events_before
) VALUES (
    ?, ?, ?, ?, ?, nullif(?, -1), ?, ?, ?, nullif(?, -1), nullif(?, ''), nullif(?, ''), nullif(?, ''), ?, ?, ?,
    nullif(?, ''), nullif(?, -1), (SELECT coalesce(max(seq), 0) FROM events)
)
ON CONFLICT (idempotency_scope, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING

-- What nearly every run is: without an idempotency key, a deadline or a time to wait for.

-- name: insert_plain_run
INSERT INTO runs (
    id, status, epoch, owner, attempt, quiet_seconds, recoveries, created_at, app_id, endpoint, request, worker, pid,
    events_before
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM events))

-- name: save_memo
INSERT INTO steps (run_id, epoch, key, id, op, state, seq, attempt, wake_at, fingerprint, failure, result)
SELECT id, epoch, ?, ?, ?, ?, ?, ?, nullif(?, -1), ?, nullif(?, ''), nullif(?, '')
FROM runs INDEXED BY runs_owned WHERE id = ? AND epoch = ? AND status = 'running'
ON CONFLICT (run_id, key) DO UPDATE SET
    id = excluded.id, op = excluded.op, state = excluded.state, attempt = excluded.attempt,
    wake_at = excluded.wake_at, fingerprint = excluded.fingerprint, failure = excluded.failure,
    result = excluded.result
WHERE steps.state NOT IN ('completed', 'failed')

-- What nearly every memo is: of a step that completed at its first attempt. The run that is not at this epoch any more
-- gives a NULL, which the column refuses, and a key that is there already is refused too: both leave the row out.

-- name: save_completed
INSERT OR IGNORE INTO steps (
    run_id, epoch, key, id, op, state, seq, attempt, fingerprint, result, started_at, ended_at
)
VALUES (
    (SELECT id FROM runs INDEXED BY runs_owned WHERE id = ? AND epoch = ? AND status = 'running'),
    ?, ?, ?, 'run', 'completed', ?, 1, ?, ?, ?, ?
)

-- name: reset_recoveries
UPDATE runs SET recoveries = 0 WHERE id = ? AND recoveries > 0

-- name: park_run
UPDATE runs SET status = 'waiting', owner = '', wake_at = ?, attempt = ?, quiet_seconds = ?
WHERE id = ? AND epoch = ? AND status = 'running'

-- name: wake_run
UPDATE runs SET wake_at = min(wake_at, ?), quiet_seconds = ?
WHERE id = ? AND epoch = ? AND status = 'waiting'

-- name: recover_run
UPDATE runs SET status = 'waiting', owner = '', wake_at = ?, recoveries = recoveries + 1
WHERE id = ? AND epoch = ? AND status = 'running'

-- A suspect is a run that has been under way at two deaths of a worker. One of an application at a time is entered, so
-- that the next death tells which of them it was.

-- name: claim_run
UPDATE runs SET status = 'running', owner = ?, epoch = epoch + 1, wake_at = NULL
WHERE id = ? AND epoch = ? AND status = 'waiting' AND (
    recoveries < 2
    OR NOT EXISTS (
        SELECT 1 FROM runs AS other
        WHERE other.status = 'running' AND other.recoveries >= 2 AND other.app_id = runs.app_id
    )
)

-- name: finish_run
UPDATE runs SET status = ?, owner = '', wake_at = NULL, ended_at = ?, failure = nullif(?, ''), response = ?
WHERE id = ? AND epoch = ? AND status = 'running'

-- name: insert_run_event
INSERT INTO run_events (id, run_id, at, kind, data) VALUES (?, ?, ?, ?, ?)

-- name: last_run_event
SELECT max(id) FROM run_events

-- name: last_step
SELECT max(seq) FROM steps WHERE run_id = ?

-- A step that completed at its first attempt is told by its memo, which was written in the place that `seq` says.

-- The runs that a run has invoked, those that these have invoked, and so on. One that has ended may have left others.

-- name: invoked
WITH RECURSIVE invoked (id, status) AS (
    SELECT id, status FROM runs WHERE id = ?
    UNION
    SELECT child.id, child.status FROM invoked JOIN runs AS child
        ON child.idempotency_scope = ?
        AND child.idempotency_key > invoked.id || '/' AND child.idempotency_key < invoked.id || '0'
)
SELECT id FROM invoked WHERE status IN ('running', 'waiting')

-- name: starter
SELECT worker, pid FROM runs WHERE id = ?

-- name: run_events
SELECT id AS number, at, kind, data, 0.0 FROM run_events WHERE run_id = ? AND id > ?
UNION ALL
SELECT seq, ended_at, '', key, started_at FROM steps WHERE run_id = ? AND seq > ? AND ended_at IS NOT NULL
ORDER BY number LIMIT ?

-- name: status
SELECT status FROM runs WHERE id = ?

-- Of many runs at once: one statement for each would take five times as long.

-- name: cancelled
SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(?)) AND status = 'cancelled'

-- name: memoized
SELECT key FROM steps WHERE run_id = ? AND state IN ('completed', 'failed') ORDER BY epoch, seq

-- name: prune_run_events
DELETE FROM run_events WHERE run_id = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)

-- name: cancel_run
UPDATE runs SET status = 'cancelled', owner = '', wake_at = NULL, ended_at = ?
WHERE id = ? AND status IN ('running', 'waiting')

-- name: is_running
SELECT 1 FROM runs INDEXED BY runs_owned WHERE id = ? AND epoch = ? AND status = 'running'

-- name: add_worker
INSERT INTO workers (id, pid, host, started_at) VALUES (?, ?, ?, ?)

-- name: drop_worker
DELETE FROM workers WHERE id = ?

-- name: prune_run
DELETE FROM runs WHERE id = ? AND ended_at IS NOT NULL

-- name: ended_runs
SELECT id, ended_at FROM runs WHERE id > ? AND id < ? ORDER BY id LIMIT ?

-- name: run
SELECT id, app_id, endpoint, request, created_at, status, attempt, epoch, owner, wake_at, quiet_seconds, recoveries,
    response, failure, ended_at, deadline, idempotency_scope, idempotency_key, idempotency_digest
FROM runs WHERE id = ?

-- name: find
SELECT id FROM runs WHERE idempotency_scope = ? AND idempotency_key = ?

-- name: memos
SELECT key, id, op, state, attempt, result, failure, wake_at, fingerprint
FROM steps WHERE run_id = ? ORDER BY epoch, seq

-- name: due
SELECT id, epoch, wake_at, recoveries FROM runs
WHERE status = 'waiting' AND app_id = ? AND wake_at <= ? AND (
    recoveries < 2
    OR NOT EXISTS (
        SELECT 1 FROM runs AS other
        WHERE other.status = 'running' AND other.recoveries >= 2 AND other.app_id = runs.app_id
    )
)
ORDER BY wake_at, id LIMIT ?

-- name: orphans
SELECT id, epoch, 0.0, recoveries FROM runs INDEXED BY runs_owned
WHERE status = 'running' AND owner = ? ORDER BY id

-- The owner of a run may be recorded no more: it has stopped while something was still under way there.

-- name: workers
SELECT id FROM workers UNION SELECT owner FROM runs INDEXED BY runs_owned WHERE status = 'running' ORDER BY id

-- name: secret
SELECT value FROM meta WHERE name = 'secret'

-- name: insert_secret
INSERT INTO meta (name, value) VALUES ('secret', ?)
