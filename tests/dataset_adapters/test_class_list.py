"""The user's own list of classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_adapters import DatasetError
from dataset_adapters.user_data.classes import MAX_BYTES, format_values, own_label_space, parse_values, read_class_list


def write(tmp_path: Path, text: str | bytes, name: str = "classes.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("background\ncat\ndog\n", "c.txt", [(0, "background"), (1, "cat"), (2, "dog")]),
        ("\ufeffbackground\r\ncat; kitten\r\n\r\n\n", "c.txt", [(0, "background"), (1, "cat", "kitten")]),
        ("7: dog\n\n2 :  traffic  light;lamp \n", "c.txt", [(2, "traffic light", "lamp"), (7, "dog")]),
        ("person: an adult\n", "c.txt", [(0, "person: an adult")]),
        ('{"1": "cat", "0": "wall; brick wall"}', "c.json", [(0, "wall", "brick wall"), (1, "cat")]),
        ("254: last\n", "c.txt", [(254, "last")]),
    ],
)
def test_classes_come_in_the_order_of_their_values(
    tmp_path: Path, text: str, name: str, expected: list[tuple[int, str]]
) -> None:
    found = read_class_list(write(tmp_path, text, name))
    assert [(listed.value, *listed.names) for listed in found] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one class, found none"),
        (" \n\n", "at least one class, found none"),
        ("background\n", "besides background"),
        ("cat\n\ndog\n", "line 2: expected a class name.*found a blank line"),
        ("cat\ndog\nCat\n", "each name once, found 'cat' twice"),
        ("cat; tabby\ndog; tabby\n", "each name once, found 'tabby' twice"),
        ("1: cat\n1: dog\n", "each value once, found '1' twice"),
        ("1: cat\ndog\n", "line 2: expected `value: name` as in other lines"),
        ("255: cat\n", r"line 1: expected a value in 0\.\.254 .*found 255"),
        ("9" * 5000 + ": cat\n", r"line 1: expected a value in 0\.\.254"),
        ("cat;\n", "line 1: expected a class name.*found 'cat;'"),
        ("1:\n", "line 1: expected a class name"),
        ("<html>\n", "line 1: expected plain text, found markup"),
        ("cat\n[red]dog[/red]\n", "line 2: expected plain text, found markup"),
        ("cat\n\x1b31mdog\n", "line 2: expected plain text, found markup or control characters"),
        ("\n".join(f"c{i}" for i in range(256)), "at most 255 classes, found 256"),
        (b"\xff\xfe\x00cat", "UTF-8 text file"),
        (b"a" * (MAX_BYTES + 1), "at most 1048576 bytes"),
    ],
)
def test_a_bad_list_is_one_line_that_names_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_class_list(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[1]", '["cat"]', '{"a": "cat"}', '{"0": 3}', "{", '{"0": {"x": "y"}}', '{"0": "cat", "0": "dog"}', "3"]
)
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match="expected"):
        read_class_list(write(tmp_path, text, "c.json"))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.txt: expected a file of class names, found: No such file"):
        read_class_list(tmp_path / "gone.txt")


def test_background_is_label_0_without_a_query_but_with_its_synonyms(tmp_path: Path) -> None:
    classes = read_class_list(write(tmp_path, "cat; kitten\nbackground; sky\ndog\n"))
    space = own_label_space("own", classes)
    assert space.labels == ("background", "cat", "dog")
    assert list(zip(space.queries, space.query_labels, strict=True)) == [
        ("sky", 0), ("cat", 1), ("kitten", 1), ("dog", 2),
    ]  # fmt: skip
    assert space.scored_labels == (0, 1, 2)
    assert space.mask_values == (1, 0, 2)
    assert parse_values(format_values(classes), space.ignore_label) == {1: 0, 0: 1, 2: 2, 255: 255}


def test_without_background_the_first_class_is_not_what_nothing_means(tmp_path: Path) -> None:
    classes = read_class_list(write(tmp_path, "road\ncar\n"))
    space = own_label_space("own", classes)
    assert space.labels == ("background", "road", "car")
    assert space.scored_labels == (1, 2)
    assert space.mask_values == (255, 0, 1)
    assert parse_values(format_values(classes), space.ignore_label) == {0: 1, 1: 2, 255: 255}


def test_255_classes_leave_room_for_the_ignore_label(tmp_path: Path) -> None:
    classes = read_class_list(write(tmp_path, "\n".join(f"class {i}" for i in range(255))))
    space = own_label_space("own", classes)
    assert parse_values(format_values(classes), space.ignore_label) == {**{i: i + 1 for i in range(255)}, 255: 65535}
