"""
The diagram of a run's statuses, drawn from the table that the stores are held to: `nox -s docs -- --write` renews it.

A status or a change that is in the table and not here has no place and no words, and one that is here and not in the
table has no arrow: both end the build.
"""

from __future__ import annotations

from html import escape

from inngest_durable._core.model import RUN_TRANSITIONS, RunStatus

WIDTH, HEIGHT = 126, 42
# The middle of each box.
PLACES = {
    RunStatus.RUNNING: (300, 96),
    RunStatus.WAITING: (300, 262),
    RunStatus.COMPLETED: (724, 36),
    RunStatus.FAILED: (724, 156),
    RunStatus.CANCELLED: (724, 262),
}
Point = tuple[float, float]
# Each change: where its arrow begins and ends, where its words are, how they are aligned there, and the words.
CHANGES: dict[tuple[RunStatus, RunStatus], tuple[Point, Point, Point, str, tuple[str, ...]]] = {
    (RunStatus.RUNNING, RunStatus.WAITING): (
        *((280, 117), (280, 240), (268, 164)),
        "end",
        ("a step waits or is retried,", "the client went away, or", "the process stops or died"),
    ),
    (RunStatus.WAITING, RunStatus.RUNNING): (
        *((320, 241), (320, 118), (332, 214)),
        "start",
        ("due: the next pass",),
    ),
    (RunStatus.RUNNING, RunStatus.COMPLETED): ((363, 86), (660, 40), (490, 48), "middle", ("the handler answered",)),
    (RunStatus.RUNNING, RunStatus.FAILED): (
        *((363, 104), (660, 152), (524, 98)),
        "middle",
        ("no attempt is left, or the deadline passed",),
    ),
    (RunStatus.RUNNING, RunStatus.CANCELLED): ((352, 117), (672, 240), (590, 200), "start", ("cancelled",)),
    (RunStatus.WAITING, RunStatus.CANCELLED): ((363, 262), (660, 262), (510, 254), "middle", ("cancelled",)),
}
STARTS: tuple[tuple[Point, Point, str], ...] = (
    ((118, 96), (236, 96), "a request"),
    ((118, 262), (236, 262), "invoked by a run"),
)
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #333 }
  .status { font: 600 14px ui-monospace, monospace }
  .box { stroke: #4c6a92; stroke-width: 1.5; fill: #eaf1fb }
  .end { stroke: #7a7a7a; fill: #f2f2f2 }
  .arrow { stroke: #555; stroke-width: 1.4; marker-end: url(#tip) }
"""


def states() -> str:
    """Return what the SVG file shows. Raises `LookupError` where this file and the table disagree."""
    changes = {(before, after) for before, all_after in RUN_TRANSITIONS.items() for after in all_after}
    if changes != set(CHANGES) or set(RUN_TRANSITIONS) != set(PLACES):
        raise LookupError(f"the diagram and the table disagree: {changes ^ set(CHANGES)}")
    boxes = [_box(status) for status in RunStatus]
    arrows = [_arrow(*CHANGES[change]) for change in sorted(changes)]
    starts = [_start(*start) for start in STARTS]
    return "\n".join([f"<style>{STYLE}</style>", *starts, *arrows, *boxes])


def _box(status: RunStatus) -> str:
    x, y = PLACES[status]
    kind = "box end" if status.is_final else "box"
    frame = (
        f'<rect class="{kind}" x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    )
    return f'{frame}\n<text class="status" x="{x}" y="{y + 5}" text-anchor="middle">{status.value}</text>'


def _arrow(begin: Point, end: Point, words_at: Point, anchor: str, words: tuple[str, ...]) -> str:
    (x, y), line = words_at, _line(begin, end)
    lines = [
        f'<text x="{x}" y="{y + 17 * number}" text-anchor="{anchor}">{escape(text)}</text>'
        for number, text in enumerate(words)
    ]
    return "\n".join([line, *lines])


def _start(begin: Point, end: Point, words: str) -> str:
    x, y = begin
    text = f'<text x="{x + 52}" y="{y - 9}" text-anchor="middle">{escape(words)}</text>'
    return f'<circle cx="{x - 5}" cy="{y}" r="5" fill="#555"/>\n{_line(begin, end)}\n{text}'


def _line(begin: Point, end: Point) -> str:
    return f'<line class="arrow" x1="{begin[0]}" y1="{begin[1]}" x2="{end[0]}" y2="{end[1]}"/>'
