"""Tables of pages that are filled in from run directories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from results import RunDirectory, RunHeader, StoreError, SuiteIndex, write_suite
from results.tables.render import to_markdown
from results.tables.suite import read_suite_table
from tools.docs_tables import fill_page

TEXT = "# Page\n\nBefore.\n\n<!-- table of suite-a -->\n{}<!-- end of table -->\n\nAfter.\n"


def make_suite(folder: Path, header: RunHeader) -> None:
    with RunDirectory(folder / "x") as store:
        store.create(header)
    index = SuiteIndex(suite="a", title="A", runs={"x": "x"}, points={"x": {"eta": 0.5}}, paper={"x": 60.0})
    write_suite(folder, index)


def test_the_table_and_what_it_was_made_with_stand_in_place(
    make_header: Callable[..., RunHeader], tmp_path: Path
) -> None:
    make_suite(tmp_path / "suite-a", make_header(metrics={"miou": 0.25}))
    page = tmp_path / "page.md"
    page.write_text(TEXT.format("\nold\n\n"))
    assert fill_page(page, tmp_path) == 1
    filled = page.read_text()
    rows = to_markdown(read_suite_table(tmp_path / "suite-a")).splitlines()[2:]
    assert filled.startswith("# Page\n\nBefore.\n\n<!-- table of suite-a -->\n\n" + rows[0])
    assert filled.endswith("<!-- end of table -->\n\nAfter.\n")
    assert all(row in filled for row in rows)
    assert "| 25.0 |" in filled
    assert "- 1 row, 1 run of 11 images each, 22 s of run time in total" in filled
    assert "old" not in filled
    fill_page(page, tmp_path)
    assert page.read_text() == filled


def test_what_cannot_be_filled_in_leaves_the_page_as_it_was(
    make_header: Callable[..., RunHeader], tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(StoreError, match="<!-- table of NAME -->"):
        fill_page(page, tmp_path)
    page.write_text(TEXT.format(""))
    with pytest.raises(StoreError, match="suite-a"):
        fill_page(page, tmp_path)
    make_suite(tmp_path / "suite-a", make_header(status="running"))
    with pytest.raises(StoreError, match="expected finished runs"):
        fill_page(page, tmp_path)
    assert page.read_text() == TEXT.format("")
