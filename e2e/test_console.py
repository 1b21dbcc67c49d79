"""What the README tests accept as the output that a README shows, and what they do not."""

from __future__ import annotations

import pytest

from testkit.console import Command, commands

README = """\
Type this:

```console
$ curl one \\
    --json '{}'
$ curl two
process  action
11       charge
11       confirm
22       confirm
```

```sh
$ not shown
```

```console
$ date
...
```
"""

TWO = "process  action\n1        charge\n1        confirm\n333      confirm\n"


def test_commands_come_with_their_output() -> None:
    """A command reaches over lines that end with a backslash; other blocks are not for the console."""
    first, second, third = commands(README)

    assert (first.line, first.output) == ("curl one \\\n    --json '{}'", "")
    assert (second.line, second.output.splitlines()[-1]) == ("curl two", "22       confirm")
    assert (third.line, third.output) == ("date", "...\n")


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("", ""),
        ("200, 1 redirects\n", "200, 1 redirects\n"),
        ("...\nend\n", "end\n"),
        ("begin\n...\nend\n", "begin\nmiddle\nmiddle\nend\n"),
        (commands(README)[1].output, TWO),
    ],
)
def test_expected_output_is_accepted(output: str, text: str) -> None:
    assert Command("command", output).prints(text)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("", "surprise\n"),
        ("200, 1 redirects\n", "200, 2 redirects\n"),
        ("200, 1 redirects\n", "200, 1 redirects\nsurprise\n"),
        ("begin\n...\nend\n", "begin\nmiddle\n"),
        ("a.c\n", "abc\n"),
        (commands(README)[1].output, TWO.replace("333", "1  ")),
        (commands(README)[1].output, TWO.replace("1        confirm", "2        confirm")),
        (commands(README)[1].output, TWO.replace("charge", "refund")),
    ],
)
def test_other_output_is_refused(output: str, text: str) -> None:
    assert not Command("command", output).prints(text)
