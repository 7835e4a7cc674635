"""Which tasks are unfinished, whose they are, and when two do the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.task import StepSpec, Task, TaskOptions
from bot.transfers.books import Books, mark_of


def task(number: int = 1, source: str = "http://host/file", **more: Any) -> Task:
    """A task that fetches ``source``."""
    return Task(
        **{
            "id": f"t{number}",
            "user": "me",
            "source": source,
            "destination": "/d",
            "created_at": float(number),
            **more,
        }
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://host/file", "HTTP://HOST/file"),
        ("http://host/file", "http://host/file#part"),
        ("http://host", "http://host/"),
        ("http://Me:Secret@host/", "http://Me:Secret@HOST/"),
    ],
)
def test_two_spellings_of_one_source_are_the_same(one: str, other: str) -> None:
    assert mark_of(task(1, one)) == mark_of(task(2, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://host/file", "http://host/File"),
        ("http://host/file", "https://host/file"),
        ("http://host/file?a=1", "http://host/file?a=2"),
        ("http://host:80/", "http://host:81/"),
        ("http://Me:Secret@host/", "http://me:secret@host/"),
        ("http://host/#/watch/1", "http://host/#/watch/2"),
        ("http://host/#!one!key", "http://host/#!two!key"),
        ("remote:Path", "remote:path"),
        ("magnet:?xt=urn:btih:AA", "magnet:?xt=urn:btih:BB"),
        ("http://[broken", "http://[broken/"),
    ],
)
def test_different_sources_are_different(one: str, other: str) -> None:
    assert mark_of(task(1, one)) != mark_of(task(2, other))


@pytest.mark.parametrize(
    "more",
    [
        {"user": "another"},
        {"destination": "/e"},
        {"steps": [StepSpec("extract")]},
        {"steps": [StepSpec("extract", {"password": "x"})]},
        {"options": TaskOptions(select=[1])},
        {"options": TaskOptions(quality="audio")},
    ],
)
def test_who_does_something_else_with_it_is_different(more: dict[str, Any]) -> None:
    assert mark_of(task(1)) != mark_of(task(2, **more))


def test_when_and_how_urgently_does_not_matter() -> None:
    assert mark_of(task(1)) == mark_of(task(2, priority=9, start_at=5.0, force=True, key="k"))


def test_the_same_is_noticed_until_the_last_of_them_is_final() -> None:
    books = Books()
    assert books.same(task(9)) is None
    for number in (1, 2, 3):
        books.enter(task(number))
    assert books.same(task(9)) == "t1"
    books.strike("t1")
    assert books.same(task(9)) == "t2"
    books.strike("t3")
    assert books.same(task(9)) == "t2"
    books.strike("t2")
    assert books.same(task(9)) is None


def test_a_task_is_entered_once_and_struck_once() -> None:
    books = Books()
    books.enter(task(1))
    books.enter(task(1))
    assert books.of_user("me") == 1
    books.strike("t1")
    books.strike("t1")
    books.strike("never")
    assert books.of_user("me") == 0


def test_a_task_whose_options_changed_meanwhile_is_struck_whole() -> None:
    books, changed = Books(), task(1)
    books.enter(changed)
    changed.options = TaskOptions(select=[1])
    books.strike("t1")
    assert books.same(task(9)) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from("ab"))))
def test_the_books_agree_with_a_list(orders: list[tuple[bool, int, str]]) -> None:
    books = Books()
    known: dict[str, Task] = {}
    for enter, number, user in orders:
        subject = task(number, f"http://host/{number % 2}", user=user)
        if enter:
            books.enter(subject)
            known.setdefault(subject.id, subject)
        else:
            books.strike(subject.id)
            known.pop(subject.id, None)
        same = [each.id for each in known.values() if mark_of(each) == mark_of(subject)]
        assert books.same(subject) == (same[0] if same else None)
        assert books.of_user(user) == sum(each.user == user for each in known.values())
    for task_id in list(known):
        books.strike(task_id)
    assert not books._by_mark
    assert not books._of_user
