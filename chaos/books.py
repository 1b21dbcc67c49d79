"""
The accounting: every request that was sent, against what the file, the ledger and the diary say.

Called when all is quiet and every run had time to end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chaos.clients import Sent
from chaos.diary import Diary
from chaos.file import Run
from chaos.kinds import CHILD, Kind, right_response
from chaos.world import Effect


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not be: *what* it is in a word, where, and in which run if there is one."""

    what: str
    name: str
    run_id: str
    text: str

    def __str__(self) -> str:
        run = f" [run={self.run_id}]" if self.run_id else ""
        return f"{self.what}: {self.name}: {self.text}{run}"


class Books:
    """
    The accounting of one run of the command.

    Args:
        runs: All that is in the file.
        effects: All that is in the ledger, the oldest first.
        diary: What was done to the workers.

    Attributes:
        faults: What is wrong, once `check` was called.
        errors: How often clients saw each error, with what explains it.
        repeated: How often a step was executed once more, by request: its worker had ended in it.
    """

    def __init__(self, runs: Iterable[Run], effects: Iterable[Effect], diary: Diary) -> None:
        self.faults: list[Fault] = [Fault("worker", "", "", text) for text in diary.faults]
        self.errors: Counter[tuple[str, str]] = Counter()
        self.repeated: Counter[str] = Counter()
        self._diary = diary
        self._runs: defaultdict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in runs:
            self._runs[run.route, run.name].append(run)
        self._effects: defaultdict[tuple[str, str], list[Effect]] = defaultdict(list)
        for effect in effects:
            self._effects[effect.name, effect.step].append(effect)

    def runs_of(self, sent: Sent) -> list[Run]:
        """Return the runs that a request has begun: one, or none."""
        return self._runs[sent.request.kind.route, sent.request.name]

    def effects_of(self, name: str) -> int:
        """Return how many effects the run of a request and its child had."""
        return sum(len(found) for (of, _), found in self._effects.items() if of == name)

    def check(self, all_sent: Sequence[Sent]) -> None:
        """Account for everything that was sent."""
        for sent in all_sent:
            self.faults.extend(self._faults_of(sent))
        known = {sent.request.name for sent in all_sent}
        for runs in self._runs.values():
            self.faults.extend(
                Fault("foreign", run.name, run.id, "nobody asked for it") for run in runs if run.name not in known
            )
        self.faults.extend(self._shared_keys())
        if not any(map(self.runs_of, all_sent)):
            # Else what did nothing, or was told to do nothing, would be as clean as what went well.
            self.faults.append(Fault("empty", "all", "", f"{len(all_sent)} requests were sent, and no run accepted"))

    def _faults_of(self, sent: Sent) -> Iterator[Fault]:
        request, runs = sent.request, self.runs_of(sent)
        ids = {run.id for run in runs}
        for run_id in sent.promised - ids:
            yield Fault("lost", request.name, run_id, "its client was told of this run, and it is not in the file")
        if len(runs) > 1:
            yield Fault("twice", request.name, "", f"one request began {len(runs)} runs: {', '.join(sorted(ids))}")
        yield from self._errors(sent)
        if not runs:
            yield from self._of_none(sent)
        for run in runs:
            yield from self._of_run(sent, run)

    def _errors(self, sent: Sent) -> Iterator[Fault]:
        for answer in sent.answers:
            if not answer.error:
                continue
            why = self._diary.explanation(answer.error, answer.worker, answer.began, answer.ended)
            self.errors[answer.error, why] += 1
            if not why:
                run_id = next(iter(sent.promised), "")
                took = f"{answer.ended - answer.began:.2f} s"
                text = f"{answer.error} of {answer.worker} at {answer.began:.2f} after {took} ({answer.what})"
                yield Fault("error", sent.request.name, run_id, f"no disturbance explains {text}")

    def _of_none(self, sent: Sent) -> Iterator[Fault]:
        """Check a request that began no run: the first step's own effect is all that it may have left."""
        request = sent.request
        if any(answer.is_final for answer in sent.answers):
            yield Fault("lost", request.name, "", "its client got a response, and there is no run")
        if not sent.left and not any(answer.error for answer in sent.answers):
            yield Fault("lost", request.name, "", "it began no run, and its client saw no error")
        found = {step: len(self._effects[request.name, step]) for step in request.kind.steps}
        # The row of a keyed run is on disk before its handler is called.
        most = 0 if request.kind.keyed else 1
        if found.pop(request.kind.steps[0]) > most or any(found.values()):
            yield Fault("lost", request.name, "", "its steps had effects, and there is no run")

    def _of_run(self, sent: Sent, run: Run) -> Iterator[Fault]:
        kind = sent.request.kind
        children = self._runs[CHILD.route, run.name] if kind.child is not None else []
        if run.status != "completed":
            what = "failed" if run.is_final else "stuck"
            yield Fault(what, run.name, run.id, f"it is {run.status}: {run.response}")
            return
        if kind.child is not None and len(children) != 1:
            yield Fault("twice" if children else "lost", run.name, run.id, f"it has invoked {len(children)} runs")
        tokens = {step: token for each in (*children, run) for step, token in each.tokens.items()}
        right = right_response(kind, tokens)
        if run.response != right:
            yield Fault("wrong", run.name, run.id, f"its response is {run.response}, not {right}")
        for answer in sent.answers:
            if answer.is_final and (answer.status, answer.body) != run.response:
                shown = f"{answer.status} {answer.body}"
                yield Fault("wrong", run.name, run.id, f"a client was shown {shown}, recorded is {run.response}")
        yield from self._of_steps(sent, kind, run)
        for child in children:
            yield from self._of_steps(sent, CHILD, child)

    def _of_steps(self, sent: Sent, kind: Kind, run: Run) -> Iterator[Fault]:
        for step in kind.steps:
            effects = self._effects[run.name, step]
            if not effects:
                yield Fault("lost", run.name, run.id, f"step {step} never had its effect")
                continue
            if len({effect.key for effect in effects}) > 1:
                yield Fault("key", run.name, run.id, f"executions of step {step} had different idempotency keys")
            if step != kind.refused and run.tokens.get(step) != effects[-1].token:
                yield Fault("twice", run.name, run.id, f"step {step} was executed after it was memoized")
            refused = sum(effect.refused for effect in effects)
            if step == kind.flaky and refused != sent.request.fails:
                yield Fault("lost", run.name, run.id, f"step {step} failed {refused} times of {sent.request.fails}")
            yield from self._repetitions(kind, run, effects)

    def _repetitions(self, kind: Kind, run: Run, effects: Sequence[Effect]) -> Iterator[Fault]:
        for before, after in pairwise(effects):
            if before.refused and before.step == kind.flaky:
                continue
            if self._diary.may_have_lost(before.pid, before.at, after.at):
                self.repeated[run.name] += 1
                continue
            text = f"step {before.step} was executed in process {after.pid} though {before.pid} had not died in it"
            yield Fault("twice", run.name, run.id, text)

    def _shared_keys(self) -> Iterator[Fault]:
        owner: dict[str, tuple[str, str]] = {}
        for place, effects in self._effects.items():
            for effect in effects:
                if owner.setdefault(effect.key, place) != place:
                    yield Fault("key", effect.name, "", f"steps {place} and {owner[effect.key]} have one key")
