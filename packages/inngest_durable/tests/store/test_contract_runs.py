"""How every store takes a run from one status to the next, and who finds it there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from inngest_durable._core.model import (
    RUN_TRANSITIONS,
    Failure,
    Finish,
    Idempotency,
    Park,
    RecordedResponse,
    RunStatus,
)
from inngest_durable.engines.base import FencedError
from inngest_durable.engines.records import (
    AddWorker,
    CancelRun,
    ClaimRun,
    DropWorker,
    FinishRun,
    Insert,
    ParkRun,
    RecoverRun,
    SaveMemo,
    WakeRun,
    Write,
)
from inngest_durable.engines.store import DueRun, Store
from msgspec.structs import replace

from packages.inngest_durable.tests.store.samples import APP, OTHER_WORKER, WORKER, Samples, outcomes

# Each write that may change a run's status.
CHANGES: list[Callable[[str], Write]] = [
    lambda run_id: ParkRun(run_id, 1, Park(5.0, 1)),
    lambda run_id: WakeRun(run_id, 1, 1.0, 1.0),
    lambda run_id: RecoverRun(run_id, 1, 1.0),
    lambda run_id: ClaimRun(run_id, 1, OTHER_WORKER),
    lambda run_id: FinishRun(run_id, 1, Finish(RunStatus.COMPLETED, None), 9.0),
    lambda run_id: FinishRun(run_id, 1, Finish(RunStatus.FAILED, None), 9.0),
    lambda run_id: CancelRun(run_id, 9.0),
]


async def test_unknown_run_is_none_and_has_no_memos(store: Store) -> None:
    assert store.run("01JX") is None
    assert store.memos("01JX") == []


async def test_run_comes_back_as_it_was(store: Store, samples: Samples) -> None:
    plain = samples.run()
    odd_request = replace(plain.request, client=None, server=None, headers=(), body=b"x" * 100_000)
    numbers = {"attempt": 2, "epoch": 3, "quiet_seconds": 0.05, "recoveries": 2, "deadline": 99.5}
    odd = samples.run(request=odd_request, owner="", **numbers)
    await store.write(Insert(plain))
    await store.write(Insert(odd))

    assert store.run(plain.id) == plain
    assert store.run(odd.id) == odd


@pytest.mark.parametrize("end", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
async def test_run_that_ended_takes_no_more_writes(store: Store, samples: Samples, end: RunStatus) -> None:
    run = samples.run()
    await store.write(Insert(run), FinishRun(run.id, 1, Finish(end, None), 9.0))
    ended = store.run(run.id)
    late: list[Write] = [
        SaveMemo(run.id, 1, samples.memo()),
        ParkRun(run.id, 1, Park(5.0, 1)),
        WakeRun(run.id, 1, 1.0, 1.0),
        RecoverRun(run.id, 1, 1.0),
        ClaimRun(run.id, 1, OTHER_WORKER),
        FinishRun(run.id, 1, Finish(RunStatus.COMPLETED, None), 10.0),
    ]

    assert await outcomes(*(store.write(write) for write in late)) == [FencedError] * len(late)
    assert store.run(run.id) == ended
    assert store.due(APP, 100.0, 10) == []
    assert store.orphans([run.owner, ""]) == []


@pytest.mark.parametrize("before", RunStatus)
async def test_store_makes_the_status_changes_of_the_table(store: Store, samples: Samples, before: RunStatus) -> None:
    """Those, all of them and no others, whatever is written to a run in each status."""
    after = set()
    for change in CHANGES:
        run = samples.run(status=before, wake_at=5.0)
        await store.write(Insert(run))
        if await outcomes(store.write(change(run.id))) == [None]:
            after.add(store.status(run.id))

    assert after - {before} == RUN_TRANSITIONS[before]
    assert before not in RUN_TRANSITIONS[before]


async def test_parked_run_waits_and_is_due_at_its_time(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run))
    await store.write(ParkRun(run.id, 1, Park(5.0, 3, 0.4)))

    assert store.run(run.id) == replace(
        run, status=RunStatus.WAITING, owner="", wake_at=5.0, attempt=3, quiet_seconds=0.4
    )
    assert store.due(APP, 4.9, 10) == []
    assert store.due(APP, 5.0, 10) == [DueRun(run.id, 1, 5.0)]
    assert store.orphans([run.owner, ""]) == []


async def test_woken_run_is_due_earlier_but_never_later(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 1)))
    await store.write(WakeRun(run.id, 1, 3.0, 0.1))

    assert store.due(APP, 10.0, 10) == [DueRun(run.id, 1, 3.0)]

    await store.write(WakeRun(run.id, 1, 8.0, 0.2))

    assert store.due(APP, 10.0, 10) == [DueRun(run.id, 1, 3.0)]
    woken = store.run(run.id)
    assert woken is not None
    assert woken.quiet_seconds == 0.2


async def test_running_run_is_not_woken(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run))

    with pytest.raises(FencedError):
        await store.write(WakeRun(run.id, 1, 3.0, 0.1))
    assert store.run(run.id) == run


async def test_recovered_run_is_due_and_counted(store: Store, samples: Samples) -> None:
    run = samples.run(recoveries=1)
    await store.write(Insert(run), samples.save(run))
    await store.write(RecoverRun(run.id, 1, 7.0))

    assert store.run(run.id) == replace(run, status=RunStatus.WAITING, owner="", wake_at=7.0, recoveries=2)
    assert store.due(APP, 7.0, 10) == [DueRun(run.id, 1, 7.0, recoveries=2)]
    with pytest.raises(FencedError):
        await store.write(RecoverRun(run.id, 1, 8.0))


async def test_claimed_run_runs_in_a_new_epoch(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 2)))
    await store.write(ClaimRun(run.id, 1, OTHER_WORKER))

    assert store.run(run.id) == replace(run, epoch=2, owner=OTHER_WORKER, attempt=2)
    assert store.due(APP, 10.0, 10) == []
    assert store.orphans([OTHER_WORKER]) == [DueRun(run.id, 2, 0.0)]


async def test_one_of_two_claims_wins(store: Store, samples: Samples) -> None:
    run = samples.run()
    await store.write(Insert(run), ParkRun(run.id, 1, Park(5.0, 1)))

    result = await outcomes(store.write(ClaimRun(run.id, 1, "01JC")), store.write(ClaimRun(run.id, 1, OTHER_WORKER)))

    assert result == [None, FencedError]
    claimed = store.run(run.id)
    assert claimed is not None
    assert (claimed.owner, claimed.epoch) == ("01JC", 2)


@pytest.mark.parametrize(
    "finish",
    [
        Finish(RunStatus.COMPLETED, RecordedResponse(201, ((b"set-cookie", b"a=\xff"),), b"\x00done")),
        Finish(RunStatus.FAILED, RecordedResponse(500, (), b""), Failure("ValueError", "no", "Traceback\n")),
        Finish(RunStatus.CANCELLED, None),
    ],
)
async def test_finished_run_keeps_how_it_ended(store: Store, samples: Samples, finish: Finish) -> None:
    run = samples.run()
    await store.write(Insert(run), FinishRun(run.id, 1, finish, 1002.25))

    assert store.run(run.id) == replace(
        run, status=finish.status, owner="", response=finish.response, failure=finish.failure, ended_at=1002.25
    )


async def test_due_runs_come_earliest_first_up_to_the_limit(store: Store, samples: Samples) -> None:
    runs = [samples.run() for _ in range(4)]
    for run, wake_at in zip(runs, (30.0, 10.0, 20.0, 40.0), strict=True):
        await store.write(Insert(run), ParkRun(run.id, 1, Park(wake_at, 1)))

    assert [due.wake_at for due in store.due(APP, 30.0, 10)] == [10.0, 20.0, 30.0]
    assert [due.run_id for due in store.due(APP, float("inf"), 2)] == [runs[1].id, runs[2].id]


async def test_orphans_are_the_running_runs_of_the_given_owners(store: Store, samples: Samples) -> None:
    mine, dead, dead_too = samples.run(), samples.run(owner="01JC"), samples.run(owner="01JD")
    parked = samples.run(owner="01JC")
    await store.write(Insert(mine), Insert(dead), Insert(dead_too), Insert(parked), ParkRun(parked.id, 1, Park(1.0, 1)))

    assert store.orphans([]) == []
    assert store.orphans(["01JC"]) == [DueRun(dead.id, 1, 0.0)]
    assert {orphan.run_id for orphan in store.orphans(["01JC", "01JD", "01JE"])} == {dead.id, dead_too.id}


async def test_suspects_are_due_one_at_a_time(store: Store, samples: Samples) -> None:
    suspects = [samples.run(recoveries=2), samples.run(recoveries=3)]
    innocent = samples.run(recoveries=1)
    for run in (*suspects, innocent):
        await store.write(Insert(run), ParkRun(run.id, 1, Park(1.0, 1)))
    await store.write(ClaimRun(suspects[0].id, 1, OTHER_WORKER))

    assert [due.run_id for due in store.due(APP, 1.0, 10)] == [innocent.id]
    with pytest.raises(FencedError):
        await store.write(ClaimRun(suspects[1].id, 1, OTHER_WORKER))

    await store.write(SaveMemo(suspects[0].id, 2, samples.memo(), progress=True))

    assert [due.run_id for due in store.due(APP, 1.0, 10)] == [suspects[1].id, innocent.id]


async def test_suspects_of_other_applications_are_not_waited_for(store: Store, samples: Samples) -> None:
    """Their workers die by themselves: what killed one of them is not among the runs of another application."""
    elsewhere, here = replace(samples.run(recoveries=2), app_id="elsewhere"), samples.run(recoveries=2)
    for run in (elsewhere, here):
        await store.write(Insert(run), ParkRun(run.id, 1, Park(1.0, 1)))
    await store.write(ClaimRun(elsewhere.id, 1, OTHER_WORKER))

    assert [due.run_id for due in store.due(APP, 1.0, 10)] == [here.id]
    await store.write(ClaimRun(here.id, 1, WORKER))


async def test_second_run_with_an_idempotency_key_is_fenced_and_leaves_nothing(store: Store, samples: Samples) -> None:
    same = Idempotency("scope", "key", "digest")
    first, second = samples.run(idempotency=same), samples.run(idempotency=same)
    elsewhere = samples.run(idempotency=Idempotency("other scope", "key", "digest"))

    result = await outcomes(
        store.write(Insert(first)),
        store.write(Insert(second), samples.save(second)),
        store.write(Insert(elsewhere)),
    )

    assert result == [None, FencedError, None]
    assert store.find("scope", "key") == store.run(first.id) == first
    assert store.find("other scope", "key") == elsewhere
    assert store.find("scope", "other key") is None
    assert store.run(second.id) is None
    assert store.memos(second.id) == []


async def test_workers_come_and_go(store: Store) -> None:
    await store.write(AddWorker("01JC", 17, "host", 1000.0), AddWorker("01JD", 18, "host", 1000.0))

    assert store.workers() == ["01JC", "01JD"]

    await store.write(DropWorker("01JC"), DropWorker("01JX"))

    assert store.workers() == ["01JD"]


async def test_owner_of_a_running_run_is_a_worker_although_it_is_not_recorded(store: Store, samples: Samples) -> None:
    """Else nobody would ever look whether it lives, and the run would never end."""
    run, waiting = samples.run(owner="01JC"), samples.run(owner="01JX")
    await store.write(AddWorker("01JD", 18, "host", 1000.0), Insert(run), Insert(waiting))
    await store.write(ParkRun(waiting.id, 1, Park(5.0, 1)))

    assert store.workers() == ["01JC", "01JD"]
