"""What is planned follows from the seed, and makes sense."""

from __future__ import annotations

import itertools
from typing import get_args

from chaos.exercise import worker_names
from chaos.kinds import KINDS
from chaos.plan import RECOVER_SECONDS, What, make_plan
from chaos.requests import requests_of

WORKERS = worker_names()
ALL = frozenset(("blackout", "kill", "term", "stop", "stop, kill"))


def test_plan_is_made_from_the_seed_alone() -> None:
    plans = [make_plan(seed, 300, WORKERS) for seed in (1, 1, 2)]

    assert plans[0] == plans[1]
    assert plans[0].digest == plans[1].digest != plans[2].digest


def test_plan_holds_every_kind_of_disturbance_within_its_time() -> None:
    plan = make_plan(3, 60, WORKERS)
    times = [disturbance.at for disturbance in plan.disturbances]

    assert {disturbance.what for disturbance in plan.disturbances} == set(get_args(What))
    assert times == sorted(times)
    assert times[-1] < 60


def test_worker_is_left_alone_until_it_has_recovered() -> None:
    for seed, worker in itertools.product(range(20), WORKERS):
        mine = [
            disturbance
            for disturbance in make_plan(seed, 120, WORKERS).disturbances
            if disturbance.what in ALL and disturbance.worker in ("", worker)
        ]
        for before, after in itertools.pairwise(mine):
            assert after.at >= before.at + before.seconds + RECOVER_SECONDS - 1e-6


def test_clock_is_never_further_ahead_than_in_the_end() -> None:
    plan = make_plan(4, 600, WORKERS)
    offsets = [disturbance.seconds for disturbance in plan.disturbances if disturbance.what == "clock"]

    assert min(offsets) < 0 < max(offsets) == plan.furthest_clock


def test_requests_of_a_client_follow_from_seed_and_client() -> None:
    first, same, other = (list(itertools.islice(requests_of(1, client, WORKERS), 200)) for client in ("a", "a", "b"))

    assert first == same
    assert [request.path for request in first] != [request.path for request in other]
    assert {request.kind_name for request in first} == set(KINDS)
