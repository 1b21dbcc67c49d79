"""What third parties do, and write down."""

from __future__ import annotations

from pathlib import Path

from chaos.world import World


def test_third_party_fails_as_often_as_was_planned(tmp_path: Path) -> None:
    world = World(tmp_path)
    failed = [world.refuses("trip", "pay", "key", 2) for _ in range(3)]

    assert failed == [True, True, False]


def test_failure_that_has_taken_its_number_is_written_down(tmp_path: Path) -> None:
    """In one move, or a kill in between would leave one that the ledger does not know."""
    World(tmp_path).refuses("trip", "pay", "key", 2)
    world = World(tmp_path)
    world.perform("trip", "pay", "key")
    refused, performed = world.effects()

    assert (refused.name, refused.step, refused.key, refused.refused) == ("trip", "pay", "key", True)
    assert not performed.refused


def test_ledger_knows_no_failure_that_has_taken_no_number(tmp_path: Path) -> None:
    """As a process leaves it that dies just before."""
    world = World(tmp_path)
    world.refuses("trip", "pay", "key", 1)
    (taken,) = (tmp_path / "refusals").iterdir()
    taken.rename(taken.with_suffix(""))

    assert world.effects() == []
