"""Work that is shared out: everything is done once, a process that dies costs only what it was at."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from dojo.proofs.workers import share_out


class Squares:
    """Squares numbers; those in `waiting` only once nothing else goes on, and dies at those in `deadly`."""

    def __init__(self, waiting=(), deadly=(), log=None) -> None:
        self.waiting, self.deadly, self.log = waiting, deadly, log

    def do(self, number):
        if number in self.deadly:
            os._exit(7)
        if number in self.waiting:
            return None
        self._note(f"do {number}")
        return number**2, os.getpid()

    def settle(self, number):
        self._note(f"settling {number}")
        time.sleep(0.02)  # time for another one to begin, if it may
        self._note(f"settled {number}")
        return number**2, os.getpid()

    def _note(self, text):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(text + "\n")


def in_order(place):
    return range(20)


def done(news):
    return {one.number: one.answer[0] for one in news if one.what == "done"}


def test_each_is_done_once():
    news = list(share_out(20, 3, in_order, Squares()))
    assert done(news) == {number: number**2 for number in range(20)}
    assert [one.what for one in news].count("done") == [one.what for one in news].count("begun") == 20
    assert len({one.answer[1] for one in news if one.what == "done"} - {os.getpid()}) == 20  # a process each


def test_as_many_at_a_time_as_there_are_places():
    """Of the three that have begun, one must be done before the next begins."""
    at_work = most = 0
    for news in share_out(20, 3, in_order, Squares()):
        at_work += 1 if news.what == "begun" else -1
        most = max(most, at_work)
    assert (at_work, most) == (0, 3)


def test_a_place_takes_them_in_its_own_order():
    news = share_out(20, 1, lambda place: [3, 1, *range(20)], Squares())
    assert [one.number for one in news if one.what == "begun"][:4] == [3, 1, 0, 2]


def test_what_waits_is_settled_one_at_a_time(tmp_path):
    log = tmp_path / "log"
    waiting = range(0, 20, 3)
    assert done(share_out(20, 3, in_order, Squares(waiting, log=log))) == {number: number**2 for number in range(20)}
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["do"] * 13 + ["settling", "settled"] * 7


@pytest.mark.parametrize("width", [1, 3])
def test_a_process_that_dies_loses_only_what_it_was_at(width):
    news = list(share_out(20, width, lambda place: range(20), Squares(waiting=[7], deadly=[5])))
    assert {one.number for one in news if one.what == "lost"} == {5}
    assert done(news).keys() == set(range(20)) - {5}


def test_no_process_is_left_where_the_caller_stops(tmp_path):
    """The caller ends, and with it those that are at work and those that wait."""
    pids = []
    news = share_out(20, 2, in_order, Squares(waiting=[0, 1, 2, 3], log=tmp_path / "log"))
    for one in news:
        pids += [one.answer[1]] if one.what == "done" else []
        if len(pids) == 2:
            break
    news.close()
    log = tmp_path / "log"
    lines = log.read_text()
    assert not multiprocessing.active_children()
    assert log.read_text() == lines
