"""Ids sort in the order in which they were made."""

import threading

from codetrial.ids import new_id


def test_ids_of_one_millisecond_sort_as_they_were_made() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {26}


def test_threads_never_get_the_same() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        mine += [new_id() for _ in range(2_000)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({each for mine in made for each in mine}) == 8_000
