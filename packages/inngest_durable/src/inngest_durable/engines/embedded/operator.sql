-- What people ask of the database, through the command line; see `queries.sql`. The first goes through all runs.

-- name: listed_runs
SELECT id, app_id, endpoint, status, attempt, created_at, ended_at, wake_at,
    CASE WHEN json_valid(failure) THEN json_extract(failure, '$.name') END
FROM runs WHERE ? IN ('', status) AND ? IN ('', endpoint) ORDER BY id DESC LIMIT ?

-- name: waits_of
SELECT key, kind, name FROM waits WHERE run_id = ? AND resolved = 0 ORDER BY key

-- name: process_of
SELECT pid, host FROM workers WHERE id = ?
