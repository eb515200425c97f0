"""Work that is shared out: everything is done once, a dead worker costs only what it was at."""

from __future__ import annotations

import os
import time

import pytest

from dojo.proofs.workers import share_out


class Squares:
    """Squares numbers; those in `waiting` only once it is alone, and dies at those in `deadly`."""

    def __init__(self, waiting=(), deadly=(), log=None) -> None:
        self.waiting, self.deadly, self.log = waiting, deadly, log
        self.later: list[int] = []

    def do(self, number):
        if number in self.deadly:
            os._exit(7)
        if number in self.waiting:
            self.later.append(number)
            return None
        self._note(f"do {number}")
        time.sleep(0.01)
        return number**2, os.getpid()

    def settle(self):
        answers = []
        for number in self.later:
            self._note(f"settling {number}")
            time.sleep(0.05)
            self._note(f"settled {number}")
            answers.append((number, (number**2, os.getpid())))
        return answers

    def _note(self, text):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(text + "\n")


def in_order(worker):
    return range(20)


def done(news):
    return {one.number: one.answer[0] for one in news if one.what == "done"}


def test_each_is_done_once_by_several_workers():
    news = list(share_out(20, 3, in_order, Squares()))
    assert done(news) == {number: number**2 for number in range(20)}
    assert [one.what for one in news].count("done") == [one.what for one in news].count("begun") == 20
    assert len({one.answer[1] for one in news if one.what == "done"} - {os.getpid()}) == 3


def test_a_worker_takes_them_in_its_own_order():
    news = share_out(20, 1, lambda worker: [3, 1, *range(20)], Squares())
    assert [one.number for one in news if one.what == "begun"][:4] == [3, 1, 0, 2]


def test_what_waits_is_settled_one_worker_at_a_time(tmp_path):
    log = tmp_path / "log"
    waiting = range(0, 20, 3)
    assert done(share_out(20, 3, in_order, Squares(waiting, log=log))) == {number: number**2 for number in range(20)}
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["do"] * 13 + ["settling", "settled"] * 7


@pytest.mark.parametrize("width", [1, 3])
def test_a_worker_that_dies_loses_only_what_it_was_at(width):
    news = list(share_out(20, width, lambda worker: range(20), Squares(deadly=[5])))
    lost = {one.number for one in news if one.what == "lost"}
    assert lost == ({5} if width == 3 else set(range(5, 20)))
    assert done(news).keys() == set(range(20)) - lost


def test_no_worker_is_left_where_the_caller_stops(tmp_path):
    log = tmp_path / "log"
    news = share_out(20, 2, in_order, Squares(log=log))
    next(news)
    news.close()
    lines = log.read_text() if log.exists() else ""
    time.sleep(0.3)
    assert (log.read_text() if log.exists() else "") == lines
