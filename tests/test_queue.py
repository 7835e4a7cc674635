"""Who runs next: checked against a plain model in every order of calls, and rule by rule."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from bot.domain.places import between
from bot.domain.queue import Entry, Queue, QueuePolicy
from bot.errors import Conflict

USERS = ("ann", "ben", "cem")
entries = st.builds(
    Entry,
    id=st.integers(0, 15).map(str),
    user=st.sampled_from(USERS),
    priority=st.integers(-1, 1),
    order=st.text("ab", max_size=2),
    not_before=st.integers(0, 9).map(float),
    force=st.booleans(),
)


def entry(
    task: str, user: str = "ann", priority: int = 0, not_before: float = 0.0, *, force: bool = False
) -> Entry:
    """A waiting task whose order is its id."""
    return Entry(task, user, priority, task, not_before, force)


def queue(*waiting: Entry, most: int = 100, per_user: int | None = None) -> Queue:
    """A queue with those tasks."""
    made = Queue(QueuePolicy(most, per_user))
    for each in waiting:
        made.put(each)
    return made


def taken(made: Queue, now: float = 0.0) -> str:
    """Everything that may start, in order."""
    found = []
    while (given := made.take(now)) is not None:
        found.append(given.id)
    return "".join(found)


def ready(made: Queue) -> tuple[int, float | None]:
    """How many could run, and since when."""
    return made.ready, made.ready_since


class Model(RuleBasedStateMachine):
    """The queue beside lists that are searched from end to end."""

    @initialize(most=st.integers(1, 4), per_user=st.none() | st.integers(1, 2))
    def start(self, most: int, per_user: int | None) -> None:
        self.policy = QueuePolicy(most, per_user)
        self.queue = Queue(self.policy)
        self.waiting: dict[str, Entry] = {}
        self.running: dict[str, Entry] = {}
        self.served: list[str] = []
        self.now = 0.0

    @rule(entry=entries)
    def put(self, entry: Entry) -> None:
        """A new task, another version of a waiting one, or the next try of a running one."""
        self.queue.put(entry)
        self.waiting[entry.id] = entry

    @rule(task=st.integers(0, 15).map(str))
    def discard(self, task: str) -> None:
        assert self.queue.discard(task) is (task in self.waiting)
        self.waiting.pop(task, None)

    @rule(seconds=st.integers(0, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(sorted(self.running)))
        self.queue.release(task)
        self.queue.release(task)  # a second time changes nothing
        del self.running[task]

    @rule()
    def release_what_does_not_run(self) -> None:
        self.queue.release("nobody")

    @rule()
    def take(self) -> None:
        ready = [
            each
            for each in self.waiting.values()
            if each.not_before <= self.now and each.id not in self.running
        ]
        found = self.queue.take(self.now)
        forced = [each for each in ready if each.force]
        if forced:
            assert found in forced
            assert found.order == min(each.order for each in forced)
        else:
            self._is_fair(found, ready)
        assert self.queue.ready == len(ready) - (found is not None)
        if found is not None:
            assert self.waiting.pop(found.id) == found
            self.running[found.id] = found
            self.served.append(found.user)

    def _is_fair(self, found: Entry | None, ready: list[Entry]) -> None:
        of_user = Counter(each.user for each in self.running.values())
        most = self.policy.max_active_per_user
        free = [each for each in ready if most is None or of_user[each.user] < most]
        if not free or len(self.running) >= self.policy.max_active:
            assert found is None
            return
        assert found in free
        assert found.priority == max(each.priority for each in free)
        equals = [each for each in free if each.priority == found.priority]
        assert of_user[found.user] == min(of_user[each.user] for each in equals)
        assert found.order == min(each.order for each in equals if each.user == found.user)

    @invariant()
    def it_counts_right(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.active == len(self.running)
        assert all(task in self.queue for task in self.waiting)

    @invariant()
    def it_knows_when_to_look_again(self) -> None:
        due = self.queue.due()
        later = [
            each.not_before
            for each in self.waiting.values()
            if each.not_before > self.now and each.id not in self.running
        ]
        if later:
            assert due is not None
            assert due <= min(later)
        if due is not None and due > self.now:
            assert due in later


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_one_user_is_served_first_come_first_served() -> None:
    assert taken(queue(entry("c"), entry("a"), entry("b"))) == "abc"


def test_it_knows_since_when_the_first_could_have_run() -> None:
    made = queue(entry("a"), entry("b"), entry("c", not_before=9), entry("d"), most=1)
    assert made.ready_since is None
    assert taken(made, now=5) == "a"
    assert ready(made) == (2, 5)
    made.put(entry("b", priority=1))  # It has waited all the same.
    assert taken(made, now=10) == ""
    assert ready(made) == (3, 5)
    made.put(entry("b", not_before=20))
    made.discard("d")
    assert ready(made) == (1, 10)
    made.release("a")
    assert taken(made, now=11) == "c"
    assert ready(made) == (0, None)


def test_a_higher_priority_goes_first_whoever_it_is() -> None:
    made = queue(entry("a"), entry("b", priority=5), entry("c", "ben", priority=-1))
    assert taken(made) == "bac"


def test_the_limits_hold_until_a_task_is_released() -> None:
    made = queue(*map(entry, "abcdef"), most=2)
    assert taken(made) == "ab"
    made.release("a")
    assert taken(made) == "c"
    assert made.active == 2


def test_the_limit_of_a_user_leaves_room_for_others() -> None:
    made = queue(*map(entry, "abcd"), entry("x", "ben"), per_user=2)
    assert taken(made) == "axb"
    made.release("x")
    assert taken(made) == ""
    made.release("a")
    assert taken(made) == "c"


def test_the_user_with_the_fewest_running_tasks_goes_first() -> None:
    made = queue(*map(entry, "abcdef"), most=4)
    assert taken(made) == "abcd"
    for task in "xyz":
        made.put(entry(task, "ben"))
    for task in "abcd":
        made.release(task)
    assert taken(made) == "xeyf"


def test_users_take_turns_however_much_each_of_them_submits() -> None:
    made = queue(*(entry(f"a{n}") for n in range(50)), most=1)
    for number in range(4):
        made.put(entry(f"b{number}", "ben"))
    order = []
    for _ in range(8):
        given = made.take(0)
        assert given is not None
        order.append(given.user)
        made.release(given.id)
    assert order == ["ann", "ben"] * 4


@given(st.lists(st.sampled_from(USERS), min_size=1, max_size=60), st.integers(1, 6))
def test_no_user_waits_while_another_is_served_twice(users: list[str], most: int) -> None:
    made = queue(*(entry(f"{n:03}", user) for n, user in enumerate(users)), most=most)
    waiting = Counter(users)
    running: list[Entry] = []
    for _ in users:
        found = made.take(0)
        if found is None:
            made.release(running.pop(0).id)
            found = made.take(0)
        assert found is not None
        of_user = Counter(each.user for each in running)
        assert all(of_user[found.user] <= of_user[user] for user in waiting if waiting[user])
        running.append(found)
        waiting[found.user] -= 1
    assert len(made) == 0


def test_a_start_time_is_kept_and_told() -> None:
    made = queue(entry("a", not_before=10), entry("b", not_before=5), entry("c"))
    assert taken(made, 4.9) == "c"
    assert made.due() == 5
    assert taken(made, 5) == "b"
    assert made.due() == 10
    assert made.discard("a")
    assert made.due() is None


def test_force_passes_every_limit_but_not_the_time() -> None:
    made = queue(*map(entry, "ab"), most=1, per_user=1)
    assert taken(made) == "a"
    made.put(entry("z", force=True, not_before=3))
    made.put(entry("y", force=True))
    assert taken(made, 2) == "y"
    assert taken(made, 3) == "z"
    assert made.active == 3
    made.release("a")
    assert taken(made, 3) == ""
    made.release("y")
    made.release("z")
    assert taken(made, 3) == "b"


def test_forcing_a_waiting_task_starts_it() -> None:
    made = queue(*map(entry, "abc"), most=1)
    assert taken(made) == "a"
    made.put(entry("c", force=True))
    assert len(made) == 2
    assert taken(made) == "c"


def test_what_is_known_of_a_task_can_change_and_only_the_last_counts() -> None:
    made = queue(entry("a", priority=9), entry("b"), entry("c"))
    made.put(entry("a", priority=-9))
    made.put(entry("b", not_before=7))
    assert taken(made, 0) == "ca"
    assert made.due() == 7
    assert taken(made, 7) == "b"


def test_a_task_that_was_taken_out_does_not_start() -> None:
    made = queue(*map(entry, "abc"))
    assert made.discard("b")
    assert not made.discard("b")
    assert "b" not in made
    assert taken(made) == "ac"


def test_the_next_try_of_a_task_waits_for_the_end_of_this_one() -> None:
    made = queue(entry("a"), most=5)
    assert taken(made) == "a"
    made.put(entry("a"))
    assert taken(made) == ""
    assert made.due() is None
    made.release("a")
    assert taken(made) == "a"
    assert made.active == 1


def test_users_who_left_are_forgotten() -> None:
    made = Queue(QueuePolicy(2))
    for number in range(1000):
        made.put(entry(f"x{number}", f"user {number}"))
        made.put(entry(f"y{number}", f"user {number}"))
        made.put(entry(f"z{number}", f"user {number}"))
        assert taken(made) == f"x{number}y{number}"
        made.discard(f"z{number}")
        for letter in "xy":
            made.release(f"{letter}{number}")
    assert taken(made) == ""
    assert not made._served
    assert not made._heaps
    assert not made._active_by_user
    assert not made._later


def _order(queue: Queue) -> str:
    taken = ""
    while (entry := queue.take(0.0)) is not None:
        taken += entry.id
        queue.release(entry.id)
    return taken


def test_there_is_a_place_between_any_two() -> None:
    low, high = "06h148f9kkaj4pxe", "06h148f9kkaj4pxf"
    for turn in range(100):
        middle = between(low, high)
        assert low < middle < high
        low, high = (low, middle) if turn % 3 else (middle, high)
    assert between("", "1") < "1"
    assert between("z", None) > "z"
    for wrong in (("b", "a"), ("a", "a"), ("a", "a00")):
        with pytest.raises(Conflict):
            between(*wrong)


def test_an_order_between_others_holds() -> None:
    queue = Queue(QueuePolicy(1))
    for name in "abcd":
        queue.put(Entry(name, "u", 0, name))
    queue.put(Entry("d", "u", 0, between(queue.before(0, "b", besides="d"), "b")))
    queue.put(Entry("a", "u", 0, between(queue.before(0, None, besides="a"), None)))
    assert _order(queue) == "dbca"
    with pytest.raises(Conflict):
        queue.entry("a")
