"""What the command prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from chaos.exercise import Outcome
from chaos.kinds import KINDS
from chaos.plan import Plan

# Of the faults, so many are shown; all are in the folder that is kept.
SHOWN = 30


def report(plan: Plan, outcome: Outcome) -> Iterator[str]:
    """Yield the tables and the verdict, line by line."""
    yield from _table(("disturbance", "times"), _disturbances(outcome))
    yield ""
    columns = ("request", "sent", "in place", "redirected", "left", "unanswered", "runs", "effects", "repeated")
    yield from _table(columns, _requests(outcome))
    yield ""
    rows = [(error, why or "NOTHING", str(times)) for (error, why), times in sorted(outcome.books.errors.items())]
    yield from _table(("error at a client", "explained by", "times"), rows)
    yield ""
    yield from _cuts(outcome)
    yield f"settled in {outcome.settle_seconds:.1f} s; database on {outcome.disk}; plan {plan.digest}"
    yield from _verdict([str(fault) for fault in outcome.faults])


def _disturbances(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    times = Counter(trouble.what for trouble in outcome.diary.troubles)
    yield from ((what, str(number)) for what, number in sorted(times.items()))
    if outcome.diary.skipped:
        yield "(skipped: the worker was down)", str(outcome.diary.skipped)


def _requests(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    total: Counter[str] = Counter()
    for kind in KINDS:
        row: Counter[str] = Counter()
        for sent in outcome.sent:
            if sent.request.kind_name != kind:
                continue
            first = [answer for answer in sent.answers if answer.what == "request"]
            row["sent"] += 1
            row["in place"] += any(answer.is_final for answer in first)
            row["redirected"] += any(answer.location for answer in first)
            row["left"] += sent.left
            row["unanswered"] += not sent.left and all(answer.error for answer in first)
            row["runs"] += len(outcome.books.runs_of(sent))
            row["effects"] += outcome.books.effects_of(sent.request.name)
            row["repeated"] += outcome.books.repeated[sent.request.name]
        total += row
        yield kind, *_figures(row)
    yield "all", *_figures(total)


def _figures(row: Counter[str]) -> Iterator[str]:
    columns = ("sent", "in place", "redirected", "left", "unanswered", "runs", "effects", "repeated")
    return (str(row[column]) for column in columns)


def _cuts(outcome: Outcome) -> Iterator[str]:
    done = outcome.cuts.done
    tails = Counter(cut.tail for cut in done)
    kinds = ", ".join(f"{number} {tail}" for tail, number in sorted(tails.items())) or "none"
    skipped = f", {outcome.cuts.skipped} could not be taken" if outcome.cuts.skipped else ""
    yield f"power cuts: {len(done)} copies ({kinds}{skipped})"
    if done:
        shown, unfinished = sum(cut.shown for cut in done), sum(cut.unfinished for cut in done)
        tail_bytes = sum(cut.tail_bytes for cut in done)
        yield f"  {shown} runs and memos that clients had been shown, {tail_bytes} bytes of unsynced log,"
        yield f"  {unfinished} unfinished runs that went on"


def _verdict(faults: Sequence[str]) -> Iterator[str]:
    if not faults:
        yield "accounting: clean"
        return
    kinds = Counter(fault.partition(":")[0] for fault in faults)
    yield f"accounting: NOT CLEAN, {', '.join(f'{number} {kind}' for kind, number in kinds.items())}"
    yield from (f"  {fault}" for fault in faults[:SHOWN])
    if len(faults) > SHOWN:
        yield f"  … and {len(faults) - SHOWN} more, see faults.txt"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield lines in columns: texts to the left, numbers to the right."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = zip(line, widths, strict=True)
        yield "  ".join(cell.rjust(width) if cell.isdecimal() else cell.ljust(width) for cell, width in cells).rstrip()
