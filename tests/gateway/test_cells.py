"""The chunk map has a bounded number of cells, and each tells the truth."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.chunks import Bitfield
from shoal.gateway.page.cells import (
    COLUMNS,
    MAX_CELLS,
    STATES,
    changes,
    draw,
    map_cells,
)


def _have(count: int, *indexes: int) -> Bitfield:
    field = Bitfield(count)
    for index in indexes:
        field.add(index)
    return field


def test_each_chunk_of_a_small_share_has_a_cell_with_its_state() -> None:
    cells = map_cells(6, _have(6, 0, 1, 5), asked=[2, 3], reading=[3])
    assert cells == "332403"


def test_of_an_unknown_share_everything_is_missing() -> None:
    assert map_cells(3, None, (), ()) == "000"
    assert map_cells(0, None, (), ()) == ""


def test_a_cell_of_many_chunks_is_here_only_when_all_of_them_are() -> None:
    count = MAX_CELLS * 2
    cells = map_cells(count, _have(count, 0, 2, 3), asked=[8], reading=[11])
    assert cells[:6] == "130024"
    assert len(cells) == MAX_CELLS


def test_what_is_read_shows_though_it_is_here() -> None:
    assert map_cells(2, _have(2, 0, 1), asked=(), reading=[1]) == "34"


@given(st.integers(1, 1 << 40))
def test_no_share_is_too_large_for_the_map(count: int) -> None:
    if count <= 100_000:
        field: Bitfield | None = Bitfield.full(count)
    else:
        field = None
    cells = map_cells(count, field, (), [count - 1])
    assert 1 <= len(cells) <= MAX_CELLS
    assert cells[-1] == "4"
    assert set(cells[:-1]) <= {"3" if field else "0"}


@given(st.text("01234", min_size=1, max_size=50), st.data())
def test_the_changes_make_the_old_map_the_new_one(
    after: str, data: st.DataObject
) -> None:
    size = len(after)
    before = data.draw(st.text("01234", min_size=size, max_size=size))
    made = before
    for start, text in changes(before, after):
        assert text
        made = made[:start] + text + made[start + len(text) :]
    assert made == after
    assert sum(len(text) for _, text in changes(before, after)) == sum(
        a != b for a, b in zip(before, after, strict=True)
    )


def test_a_map_of_another_length_is_new_as_a_whole() -> None:
    assert changes("", "012") == [(0, "012")]
    assert changes("", "") == []


def test_every_state_has_a_shape_of_its_own() -> None:
    assert len({each.shape for each in STATES}) == len({s.code for s in STATES}) == 5


def test_a_drawing_has_the_cells_of_its_state_row_by_row() -> None:
    cells = "3" + "0" * (COLUMNS - 1) + "03"
    here = next(state for state in STATES if state.label == "here")
    assert draw(cells, here.code) == f"M0 0{here.shape}M10 10{here.shape}"
    assert draw("000", here.code) == ""
