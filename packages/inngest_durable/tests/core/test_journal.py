"""Keys: which step finds which memo."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from inngest_durable import ReplayMismatchError
from inngest_durable._core.journal import Branch, Journal, StepIdentity
from inngest_durable._core.model import Memo, StepOp, StepState


def journal_of(memos: Sequence[Memo] = ()) -> Journal:
    """Return the journal of a run that has recorded *memos*."""
    return Journal("run", memos, now=lambda: 0.0, jitter=lambda: 0.0)


def take(journal: Journal, branch: Branch, step_id: str, made_by: str = "f") -> StepIdentity:
    """Take the next key of *step_id*, for a call that *made_by* identifies."""
    return journal.identify(step_id, branch, lambda: made_by)


def keys(journal: Journal, branch: Branch, *step_ids: str) -> list[str]:
    """Take the keys of *step_ids* one after the other."""
    return [take(journal, branch, step_id).key for step_id in step_ids]


def memo(key: str, made_by: str = "") -> Memo:
    """Return the memo of a completed step."""
    return Memo(key, key, StepOp.RUN, StepState.COMPLETED, 1, b'"x"', fingerprint=made_by)


def test_key_is_the_step_id() -> None:
    """A step whose ID is used once has it as its key."""
    assert keys(journal_of(), Branch(), "reserve", "pay") == ["reserve", "pay"]


def test_key_numbers_equal_ids_in_call_order() -> None:
    """The second step of an ID gets :1, and other IDs do not count."""
    assert keys(journal_of(), Branch(), "pay", "mail", "pay", "pay") == ["pay", "mail", "pay:1", "pay:2"]


def test_key_steps_over_a_literal_id_that_looks_numbered() -> None:
    """A step named "pay:1" keeps its name, and the second "pay" takes the next number."""
    assert keys(journal_of(), Branch(), "pay:1", "pay", "pay", "pay") == ["pay:1", "pay", "pay:2", "pay:3"]


def test_key_of_a_literal_id_that_is_taken_gets_a_number() -> None:
    """A step named "pay:1" behind two of "pay" does not share the second one's key."""
    assert keys(journal_of(), Branch(), "pay", "pay", "pay:1") == ["pay", "pay:1", "pay:1:1"]


def test_key_of_a_branch_starts_with_its_first_step() -> None:
    """Later steps of a branch are put under the key of its first one."""
    journal, root = journal_of(), Branch()
    alice, bob = Branch(root), Branch(root)

    assert keys(journal, alice, "reserve") == ["reserve"]
    assert keys(journal, bob, "reserve", "pay", "pay") == ["reserve:1", "reserve:1/pay", "reserve:1/pay:1"]
    assert keys(journal, alice, "pay", "reserve") == ["reserve/pay", "reserve/reserve"]


def test_key_of_a_branch_of_a_branch_starts_with_both() -> None:
    """A branch that was started inside a branch is named under it."""
    journal, root = journal_of(), Branch()
    trip = Branch(root)
    keys(journal, trip, "trip")
    meal = Branch(trip, inherited=trip.prefix)

    assert keys(journal, meal, "price", "add") == ["trip/price", "trip/price/add"]


def test_key_of_a_branch_started_before_the_first_step_is_not_nested() -> None:
    """What a branch does later does not rename the branches it started before."""
    journal, root = journal_of(), Branch()
    trip = Branch(root)
    early = Branch(trip, inherited=trip.prefix)
    keys(journal, trip, "trip")

    assert keys(journal, early, "price", "add") == ["price", "price/add"]


def test_key_of_the_handlers_own_steps_has_no_prefix() -> None:
    """The handler's own steps are numbered in one line with the first steps of branches."""
    journal, root = journal_of(), Branch()

    assert keys(journal, root, "pay") == ["pay"]
    assert keys(journal, Branch(root), "pay", "mail") == ["pay:1", "pay:1/mail"]
    assert keys(journal, root, "pay", "mail") == ["pay:2", "mail"]


def test_fingerprint_is_taken_only_where_keys_can_be_mixed_up() -> None:
    """A plain key needs none; a numbered key and every key of a branch has one."""
    journal, root = journal_of(), Branch()
    branch = Branch(root)

    assert take(journal, root, "pay", "f(1)").fingerprint == ""
    assert take(journal, root, "pay", "f(2)").fingerprint == "f(2)"
    assert take(journal, branch, "mail", "g(1)").fingerprint == "g(1)"
    assert take(journal, branch, "mail", "g(2)").fingerprint == "g(2)"


def test_plain_key_is_guarded_if_it_is_taken_beside_steps_in_flight() -> None:
    """By what it was recorded with, whatever is in flight at the replay; no branch takes it for its own."""
    taken = journal_of().identify("store", Branch(), lambda: "f(1)", in_flight=True)
    recorded = [memo("store", taken.fingerprint), memo("mail")]

    for in_flight in (False, True):
        journal = journal_of(recorded)
        assert journal.lookup(journal.identify("store", Branch(), lambda: "f(1)", in_flight)) is recorded[0]
        assert journal.lookup(journal.identify("mail", Branch(), lambda: "f(1)", in_flight)) is recorded[1]
        journal = journal_of(recorded)
        with pytest.raises(ReplayMismatchError, match="store"):
            journal.lookup(journal.identify("store", Branch(), lambda: "f(2)", in_flight))
    assert take(journal_of(recorded), Branch(Branch()), "store", "f(1)").key == "store:1"


def test_branch_finds_its_own_memo_in_any_order() -> None:
    """Branches with equal IDs that arrive in the reverse order take the memos that their own calls made."""
    journal, root = journal_of([memo("book", "f(alice)"), memo("book:1", "f(bob)")]), Branch()

    assert take(journal, Branch(root), "book", "f(bob)").key == "book:1"
    assert take(journal, Branch(root), "book", "f(alice)").key == "book"
    assert take(journal, Branch(root), "book", "f(carol)").key == "book:2"


def test_branch_finds_its_own_memo_behind_one_that_is_missing() -> None:
    """A branch whose neighbour was cut off before its memo finds its own."""
    journal, root = journal_of([memo("book:1", "f(bob)")]), Branch()

    assert take(journal, Branch(root), "book", "f(bob)").key == "book:1"
    assert take(journal, Branch(root), "book", "f(alice)").key == "book"


def test_branch_without_memo_does_not_take_its_neighbours_place() -> None:
    """A branch that recorded nothing leaves the memo there is to the branch that made it."""
    journal, root = journal_of([memo("book", "f(alice)")]), Branch()
    bob = take(journal, Branch(root), "book", "f(bob)")

    assert journal.lookup(bob) is None
    assert take(journal, Branch(root), "book", "f(alice)").key == "book"


def test_branches_with_equal_calls_share_out_the_memos() -> None:
    """Two branches that make the same call each get one of the two memos."""
    journal, root = journal_of([memo("book", "f"), memo("book:1", "f")]), Branch()

    assert [take(journal, Branch(root), "book").key for _ in range(3)] == ["book", "book:1", "book:2"]


def test_branches_with_equal_calls_keep_their_places_however_they_were_recorded() -> None:
    """The first to arrive has the first place, though the second one's memo was written before."""
    memos = [memo("login:1", "login"), memo("login:1/pay", "pay(bob)"), memo("login", "login")]
    journal, root = journal_of(memos), Branch()

    assert [take(journal, Branch(root), "login", "login").key for _ in range(2)] == ["login", "login:1"]


def test_branch_with_an_equal_call_whose_memo_is_missing_keeps_its_place() -> None:
    """A call without arguments marks no branch: the first does not take the second one's memo for its own."""
    journal, root = journal_of([memo("login:1", "login"), memo("login:1/pay", "pay(bob)")]), Branch()

    assert [take(journal, Branch(root), "login", "login").key for _ in range(2)] == ["login", "login:1"]


def test_lookup_returns_the_memo_of_the_same_call() -> None:
    """A step that was recorded finds its memo."""
    recorded = memo("pay:1", "f(2)")
    journal, root = journal_of([memo("pay"), recorded]), Branch()
    take(journal, root, "pay")

    assert journal.lookup(take(journal, root, "pay", "f(2)")) is recorded


def test_lookup_of_a_new_step_finds_nothing() -> None:
    """A step that was not recorded has no memo."""
    journal = journal_of([memo("pay")])

    assert journal.lookup(take(journal, Branch(), "mail")) is None


def test_lookup_refuses_the_memo_of_another_call() -> None:
    """A replay with other arguments is told what made the memo and what came now, and in which run and step."""
    journal, root = journal_of([memo("pay"), memo("pay:1", "shop.pay(aa)")]), Branch()
    take(journal, root, "pay")
    second = take(journal, root, "pay", "shop.pay(bb)")

    with pytest.raises(ReplayMismatchError) as raised:
        journal.lookup(second)

    assert raised.value.run_id == "run"
    assert raised.value.step_id == "pay:1"
    for part in ("'pay:1'", "shop.pay(aa)", "shop.pay(bb)", "run=run"):
        assert part in str(raised.value)


def test_lookup_refuses_a_branchs_memo_to_the_handlers_own_step() -> None:
    """A handler that runs in its own task what was a branch before does not get the branch's result."""
    journal = journal_of([memo("pay", "shop.pay")])

    with pytest.raises(ReplayMismatchError, match=r"shop\.pay.*outside any branch"):
        journal.lookup(take(journal, Branch(), "pay"))


def test_record_makes_a_memo_known() -> None:
    """A memo that is durable is found, and counts."""
    journal = journal_of()
    new = memo("pay")
    journal.record(new)

    assert journal.lookup(take(journal, Branch(), "pay")) is new
    assert len(journal) == 1


def test_unvisited_names_memos_that_no_step_took() -> None:
    """Memos of steps that are no longer in the handler are listed."""
    journal = journal_of([memo("search"), memo("reserve"), memo("pay")])
    keys(journal, Branch(), "search", "pay", "mail")

    assert journal.unvisited() == ["reserve"]


def test_branch_takes_the_prefix_of_the_first_within_it() -> None:
    """Whichever of two branches comes first to its own step, what is inside tells them apart."""
    journal = Journal("run", (), lambda: 0.0, lambda: 0.0)
    root = Branch()
    alice, bob = Branch(root), Branch(root)
    inner = [Branch(alice), Branch(alice), Branch(bob)]
    assert [journal.identify("quote", branch, lambda: "q").key for branch in inner] == ["quote", "quote:1", "quote:2"]

    assert journal.identify("pay", bob, lambda: "p").key == "quote:2/pay"
    assert journal.identify("pay", alice, lambda: "p").key == "quote/pay"
    assert journal.settle(alice) == "quote"
    assert journal.settle(root) == ""
