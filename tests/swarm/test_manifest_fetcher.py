"""Manifest pages come from every peer that has them, and a liar wastes one."""

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.pages import PageKey
from shoal.swarm.manifest_fetcher import (
    COPY_TIME,
    MAX_PAGES_REQUESTED,
    PAGE_TIME,
    ManifestFetcher,
)
from tests.helpers.pages import hash_page

PAGES = 13
CHUNK = 16_384
WHOLE = build_manifest(
    "x", (PAGES * 2048 - 7) * CHUNK, CHUNK, chunk_digest(b"") * (PAGES * 2048 - 7)
)


class Giver:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def request_page(self, key: PageKey) -> None:
        self.asked.append(key.number)


class Fetch:
    """A fetcher, what it reports, and the time."""

    def __init__(self, *givers: Giver) -> None:
        self.lies: list[tuple[Giver, int]] = []
        self.came = 0
        self.now = 100.0
        self.pages: ManifestFetcher[Giver] = ManifestFetcher(
            WHOLE.id,
            on_wrong_page=lambda giver, key: self.lies.append((giver, key.number)),
            on_page=self.count,
        )
        self.manifest = self.pages.on_root(WHOLE.root_record)
        self.came = 0  # pages, without the root record
        for giver in givers:
            self.pages.add(giver, self.now)

    def count(self) -> None:
        self.came += 1

    def want(self, *numbers: int) -> None:
        self.pages.want(map(hash_page, numbers or range(PAGES)), self.now)

    def give(self, giver: Giver, number: int, data: bytes | None = None) -> None:
        if data is None:
            data = WHOLE.page(hash_page(number)) or b""
        self.pages.on_page(giver, hash_page(number), data, self.now)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.pages.on_tick(self.now)

    def answer(self, *givers: Giver, until: int = PAGES) -> None:
        """Have givers answer all they are asked for until so many pages came."""
        answered = {giver: 0 for giver in givers}
        while self.came < until:
            before = self.came
            for giver in givers:
                for number in giver.asked[answered[giver] :]:
                    answered[giver] += 1
                    self.give(giver, number)
            assert self.came > before, "nothing more is asked for"


def test_each_page_is_asked_for_once_and_of_several() -> None:
    one, two = Giver(), Giver()
    fetch = Fetch(one, two)
    fetch.want()
    assert (len(one.asked), len(two.asked)) == (1, 1)
    for giver in one, two:
        fetch.give(giver, giver.asked[0])
        assert len(giver.asked) == 1 + MAX_PAGES_REQUESTED
    fetch.want()  # nothing is asked for twice
    fetch.answer(one, two)
    assert sorted(one.asked + two.asked) == list(range(PAGES))
    assert fetch.manifest.is_complete
    assert not fetch.lies


def test_only_what_is_wanted_is_asked_for() -> None:
    giver = Giver()
    fetch = Fetch(giver)
    assert not giver.asked
    fetch.want(5, 9)
    fetch.answer(giver, until=2)
    assert giver.asked == [5, 9]
    fetch.want(5, 9, 2)
    assert giver.asked == [5, 9, 2]


def test_who_comes_later_is_asked_for_what_is_left() -> None:
    fetch = Fetch()
    fetch.want(3)
    late = Giver()
    fetch.pages.add(late, fetch.now)
    fetch.pages.add(late, fetch.now)
    assert late.asked == [3]


def test_a_liar_wastes_one_page_and_is_reported() -> None:
    liar, honest = Giver(), Giver()
    fetch = Fetch(liar, honest)
    fetch.want()
    (number,) = liar.asked
    fetch.give(liar, number, bytes(65_536))
    assert fetch.lies == [(liar, number)]
    assert fetch.came == 0
    assert fetch.manifest.page(hash_page(number)) is None
    fetch.pages.remove(liar, fetch.now)
    fetch.answer(honest)
    assert set(honest.asked) == set(range(PAGES))
    assert len(fetch.lies) == 1


def test_a_page_for_another_number_is_a_lie() -> None:
    giver = Giver()
    fetch = Fetch(giver)
    fetch.want(12)  # the last one is shorter than the others
    fetch.give(giver, 12, WHOLE.page(hash_page(3)))
    assert fetch.lies == [(giver, 12)]


def test_what_is_late_is_asked_of_another() -> None:
    late, other = Giver(), Giver()
    fetch = Fetch(late, other)
    fetch.want(0)
    fetch.tick(COPY_TIME - 0.1)
    assert (late.asked, other.asked) == ([0], [])
    fetch.tick(0.2)
    assert other.asked == [0]
    # Late or not, it is the page.
    fetch.give(late, 0)
    assert fetch.manifest.page(hash_page(0)) is not None
    assert fetch.came == 1
    fetch.give(other, 0)
    assert fetch.came == 1
    fetch.tick(2 * PAGE_TIME)
    assert (late.asked, other.asked) == ([0], [0])


def test_however_many_do_not_answer_the_one_who_does_is_soon_asked() -> None:
    silent, honest = [Giver() for _ in range(9)], Giver()
    fetch = Fetch(*silent, honest)
    fetch.want(0)
    asked = []
    while not honest.asked:
        fetch.tick(COPY_TIME + 0.1)
        asked.append(sum(len(giver.asked) for giver in silent))
    assert asked == [2, 4, 8, 9]
    fetch.give(honest, 0)
    assert fetch.came == 1
    fetch.tick(2 * PAGE_TIME)
    assert sum(len(giver.asked) for giver in silent) == 9


def test_who_gives_one_page_after_the_other_is_not_late() -> None:
    slow, other = Giver(), Giver()
    fetch = Fetch(slow)
    fetch.want(0)
    fetch.give(slow, 0)
    fetch.want(*range(1, 1 + MAX_PAGES_REQUESTED))
    fetch.pages.add(other, fetch.now)
    for number in range(1, 1 + MAX_PAGES_REQUESTED):
        fetch.tick(COPY_TIME - 0.1)
        fetch.give(slow, number)
    assert not other.asked


def test_a_page_that_two_were_asked_for_is_missed_only_when_both_have_left() -> None:
    one, two, three = Giver(), Giver(), Giver()
    fetch = Fetch(one, two)
    fetch.want(0)
    fetch.tick(COPY_TIME + 0.1)
    fetch.pages.add(three, fetch.now)
    fetch.pages.remove(one, fetch.now)
    assert not three.asked
    fetch.pages.remove(two, fetch.now)
    assert three.asked == [0]


def test_the_only_one_that_has_it_is_asked_again() -> None:
    late = Giver()
    fetch = Fetch(late)
    fetch.want(0)
    fetch.tick(PAGE_TIME + 0.1)
    assert late.asked == [0, 0]


def test_what_is_owed_by_who_left_is_asked_of_others() -> None:
    one, two = Giver(), Giver()
    fetch = Fetch(one, two)
    fetch.want(0, 1, 2)
    assert (one.asked, two.asked) == ([0], [1])
    fetch.give(two, 1)
    assert two.asked == [1, 2]
    fetch.pages.remove(one, fetch.now)
    assert two.asked == [1, 2, 0]
    fetch.pages.remove(one, fetch.now)
    fetch.pages.remove(two, fetch.now)
    three = Giver()
    fetch.pages.add(three, fetch.now)
    fetch.give(three, three.asked[0])
    assert sorted(three.asked) == [0, 2]


def test_a_page_that_somebody_lacks_is_asked_of_others_and_of_him_later() -> None:
    lacking, other = Giver(), Giver()
    fetch = Fetch(lacking)
    fetch.want(0)
    fetch.give(lacking, 0, b"")
    assert not fetch.lies
    assert lacking.asked == [0]
    fetch.pages.add(other, fetch.now)
    assert other.asked == [0]
    fetch.give(other, 0, b"")
    fetch.want(1)
    # To lack one is no lie, and proves nothing.
    assert (lacking.asked, other.asked) == ([0, 1], [0])
    fetch.give(lacking, 1)
    assert (lacking.asked, other.asked) == ([0, 1], [0])
    fetch.tick(PAGE_TIME)
    assert (lacking.asked, other.asked) == ([0, 1, 0], [0])
    fetch.give(lacking, 0)
    assert fetch.came == 2
