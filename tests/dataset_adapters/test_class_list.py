"""The user's own list of classes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from dataset_adapters import DatasetError
from dataset_adapters.user_data.classes import (
    MAX_BYTES,
    labels_of_values,
    read_class_list,
)


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
        ("# made by hand\nbackground\n# animals\ncat\n", "c.txt", [(0, "background"), (1, "cat")]),
        ("background\rcat\r", "c.txt", [(0, "background"), (1, "cat")]),
        ("0 background\n1 traffic light; lamp\n", "c.txt", [(0, "background"), (1, "traffic light", "lamp")]),
        ("0\tbackground\n7\tcat\n", "c.txt", [(0, "background"), (7, "cat")]),
        ("0,background\n1, cat\n", "c.csv", [(0, "background"), (1, "cat")]),
        ("0;background\n1;cat\n", "c.txt", [(0, "background"), (1, "cat")]),
        ("1\twall, brick\n2\tdoor; double door\n", "c.txt", [(1, "wall, brick"), (2, "door", "double door")]),
        ("0. background\n1. cat\n", "c.txt", [(0, "background"), (1, "cat")]),
        ("background: 0\ncat: 3\n", "c.txt", [(0, "background"), (3, "cat")]),
        ("Pixel Value, Class\r\n0, background\r\n2, cat\r\n", "_classes.csv", [(0, "background"), (2, "cat")]),
        ("id;name;supercategory\n3;cat;animal\n", "c.csv", [(3, "cat")]),
        ('name,id,trainId,category\n"cat, big",7,0,animal\n', "c.csv", [(7, "cat, big")]),
        ("Idx\tRatio\tName\n1\t0.2\twall;brick wall\n", "c.txt", [(1, "wall", "brick wall")]),
        ("name\nbackground\ncat\n", "c.csv", [(0, "background"), (1, "cat")]),
        ("__ignore__\n_background_\ncat\n", "labels.txt", [(0, "background"), (1, "cat")]),
        ("__background__\ncat\n", "c.txt", [(0, "background"), (1, "cat")]),
        ('["background", "cat"]', "c.json", [(0, "background"), (1, "cat")]),
        ('["background", "cat"]', "c.txt", [(0, "background"), (1, "cat")]),
        ('{"background": 0, "cat": 4}', "c.json", [(0, "background"), (4, "cat")]),
        ('[{"id": 4, "name": "cat", "supercategory": "x"}]', "c.json", [(4, "cat")]),
        ('[{"name": "background", "color": "#000000"}, {"name": "cat"}]', "c.json", [(0, "background"), (1, "cat")]),
        ('{"images": [], "categories": [{"id": 18, "name": "dog"}]}', "c.json", [(18, "dog")]),
        ('{"id2label": {"0": "wall", "5": "cat"}, "label2id": {"wall": 0}}', "config.json", [(0, "wall"), (5, "cat")]),
        ("- background\n- cat\n", "c.yaml", [(0, "background"), (1, "cat")]),
        ("0: background\n3: cat # small\n", "c.yml", [(0, "background"), (3, "cat")]),
        ("path: x\nnc: 2\nnames:\n  0: person\n  1: cat\n", "data.yaml", [(0, "person"), (1, "cat")]),
        ("names: ['person', 'cat']\nnc: 2\n", "data.yaml", [(0, "person"), (1, "cat")]),
        ("names:\n- person\n- cat\n", "c.txt", [(0, "person"), (1, "cat")]),
        ("class,train_id\nperson,3\ncat,0\n", "c.csv", [(0, "cat"), (3, "person")]),
        ("name,id,trainId\nperson,24,11\ncat,25,12\n", "c.csv", [(24, "person"), (25, "cat")]),
    ],
)
def test_classes_come_in_the_order_of_their_values(
    tmp_path: Path, text: str, name: str, expected: list[tuple[int, str]]
) -> None:
    found = read_class_list(write(tmp_path, text, name))
    assert [(listed.value, *listed.names) for listed in found.classes] == expected


CVAT = "background:0,0,0::\ncat:40,216,168:head,tail:run\ndog:188,68,124::\n"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (CVAT, "a label map of CVAT"),
        ("# label:color_rgb:parts:actions\n" + CVAT, "a label map of CVAT"),
        ("name,r,g,b\nbackground,0,0,0\ncat,40,216,168\ndog,188,68,124\n", "a table with the columns name, r, g, b"),
        ("background,0,0,0\ncat,40,216,168\ndog,188,68,124\n", "`name r g b`"),
        ("0 0 0\tbackground\n40 216 168\tcat\n188 68 124\tdog\n", "`r g b name`"),
        ("0 background 0 0 0 0\n1 cat 40 216 168 255\n2 dog 188 68 124 255\n", "`value name r g b`"),
        ("hex,name\n#000000,background\n#28d8a8,cat\n#bc447c,dog\n", "a table with the columns hex, name"),
        ("id,name,color\n0,background,#000000\n1,cat,#28d8a8\n2,dog,#BC447C\n", "a table with the columns id"),
        ('name,color\nbackground,"0,0,0"\ncat,"40,216,168"\ndog,"(188, 68, 124)"\n', "a table with the columns name"),
        ('{"background": [0, 0, 0], "cat": [40, 216, 168], "dog": [188, 68, 124]}', "JSON"),
    ],
)
def test_a_list_with_colors_is_recognized_and_gives_them(tmp_path: Path, text: str, form: str) -> None:
    found = read_class_list(write(tmp_path, text))
    assert [(listed.value, *listed.names) for listed in found.classes] == [(0, "background"), (1, "cat"), (2, "dog")]
    assert found.form.startswith(form)
    assert found.columns == {"values": "0 1 2", "colors": "0:0,0,0 1:40,216,168 2:188,68,124"}


def test_names_alone_say_that_the_first_has_value_0(tmp_path: Path) -> None:
    assert read_class_list(write(tmp_path, "cat\ndog\n")).form == "names, numbered from 0"
    commented = read_class_list(write(tmp_path, "cat\n# dog\nbird\n"))
    assert commented.form == "names (1 line with # left out), numbered from 0"
    assert read_class_list(write(tmp_path, "cat\ndog\n")).columns == {"values": "- 0 1"}


def test_colors_that_repeat_are_decoration(tmp_path: Path) -> None:
    assert read_class_list(write(tmp_path, "cat,0,0,0\ndog,0,0,0\n")).columns == {"values": "- 0 1"}


def test_utf_16_with_its_mark_is_read(tmp_path: Path) -> None:
    found = read_class_list(write(tmp_path, "background\r\ncafé\r\n".encode("utf-16")))
    assert [listed.names for listed in found.classes] == [("background",), ("café",)]


@pytest.mark.parametrize(
    ("text", "option", "kept", "ignored", "notice"),
    [
        ("cat\ndog\n", "", [0, 1], 255, None),
        ("cat\ndog\n", "none", [0, 1], None, None),
        ("cat\ndog\n", "7", [0, 1], 7, None),
        ("0: background\n255: boat\n", "", [0, 255], None, "255 is the class boat, so no mask value is ignored"),
        ("0: background\n255: boat\n", "none", [0, 255], None, None),
        ("0: background\n1: cat\n255: boat\n", "255", [0, 1], 255, "boat has the ignored value 255"),
        ("0: background\n1: cat\n255: Void\n", "", [0, 1], 255, "Void has the ignored value 255"),
        ("0: background\n1: cat\n", "0", [1], 0, "background has the ignored value 0"),
        ("background\ncat\nvoid\n", "", [0, 1, 2], 255, "void is a query like any other; --ignore-value 2"),
    ],
)
def test_ignored_value_is_the_option_or_255_unless_a_class(
    tmp_path: Path, text: str, option: str, kept: list[int], ignored: int | None, notice: str | None
) -> None:
    found = read_class_list(write(tmp_path, text), option)
    assert [listed.value for listed in found.classes] == kept
    assert found.ignored == ignored
    assert [notice in line for line in found.notices] == [True] if notice else not found.notices
    space = found.label_space("own")
    labels = labels_of_values(found.columns, space.ignore_label)
    assert {value for value, label in labels.items() if label == space.ignore_label} == {ignored} - {None}
    assert all(space.labels[labels[listed.value]] == listed.names[0] for listed in found.classes)
    assert ("ignored" in found.columns) == (ignored != 255)


def test_nothing_is_saved_as_a_value_that_no_class_has(tmp_path: Path) -> None:
    found = read_class_list(write(tmp_path, "254: cat\n255: dog\n"))
    assert found.label_space("own").mask_values == (253, 254, 255)


@pytest.mark.parametrize("text", ["256", "-1", "x", "", "1.0", "9" * 5000, "²"])
def test_another_ignored_value_is_refused(tmp_path: Path, text: str) -> None:
    if not text:
        assert read_class_list(write(tmp_path, "cat\n"), text).ignored == 255
        return
    with pytest.raises(DatasetError, match=r"ignore_value: expected a mask value in 0\.\.255, or none, found"):
        read_class_list(write(tmp_path, "cat\n"), text)


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
        ("256: cat\n", r"line 1: expected a value in 0\.\.255, found 256"),
        ("-1: cat\n", r"line 1: expected a value in 0\.\.255, found -1"),
        ("9" * 5000 + ": cat\n", r"line 1: expected a value in 0\.\.255"),
        ("cat\n7 up\ndog\n", "line 2: expected a name, or `value: name` in every line, found '7 up'"),
        ("0 background\ncat\n", "line 2: expected `value name` as in other lines, found 'cat'"),
        ("id name\n0 background\n", "line 1: expected `value name` as in other lines, found 'id name'"),
        (CVAT + "cow\n", "line 4: expected a label map of CVAT as in other lines, found 'cow'"),
        ("0,cat,animal\n1,dog,animal\n", "line 1: expected a name, or `value: name` in every line"),
        ("0 0 0 0 0 0 0 Clear\n1 255 0 0 1 1 1 Bone\n", "line 1: expected a name, or `value: name`"),
        ("0-background\n1-cat\n", "line 1: expected a name, or `value: name` in every line"),
        ("0 - background\n1 - cat\n", "line 1: expected plain text, found markup"),
        ("background 0\ncat 1\n", "line 1: expected `value: name`, found a number behind the name in every line"),
        ("0\n1\n", "line 1: expected a name, or `value: name` in every line, found '0'"),
        ('"background",\n"cat",\n', "line 1: expected plain text, found markup"),
        ("background # the rest\ncat\n", "line 1: expected plain text, found markup or .* a comment"),
        ("cat\ttabby\ndog\thound\n", "line 1: expected plain text, found markup"),
        ("// the animals\ncat\n", "line 1: expected plain text, found markup or .* a comment"),
        ("'cat'\n'dog'\n", "line 1: expected plain text, found markup"),
        ("('cat', 'dog')\n", "line 1: expected one class a line, found commas"),
        ("background, cat, dog\n", "line 1: expected one class a line, found commas"),
        ("0: background\n255: void\n", "besides background, found 1 class and void, which is ignored"),
        ("item {\n id: 1\n}\n", "line 1: expected plain text, found markup"),
        ("# nothing\n#\n", "expected at least one class, found only comments"),
        ("cat\n__ignore__\n", "line 2: expected __ignore__ in the first of lines"),
        ("id,name\n0,cat\n1\n", "line 3: expected 2 cells as in the header, found 1"),
        ("id,value,name\n0,0,cat\n", "line 2: expected one column or field of names and at most one of values"),
        ("name,number,r,g,b\ncat,3,9,9,9\n", "line 2: expected values in a column or field `value`, found .* 'number'"),
        ("cat\n" + "1 " * 6000, "line 2: expected at most 10000 characters, found 11999"),
        ("cat,0,0,300\n", r"line 1: expected a color r,g,b of 0\.\.255, found '0,0,300'"),
        ("background\ncaf\xe9\n".encode("latin-1"), "line 2: expected a UTF-8 text file"),
        ("cat;\n", "line 1: expected a class name.*found 'cat;'"),
        ("1:\n", "line 1: expected a class name"),
        ("<html>\n", "line 1: expected plain text, found markup"),
        ("cat\n[red]dog[/red]\n", "line 2: expected plain text, found markup"),
        ("cat\n\x1b31mdog\n", "line 2: expected plain text, found markup or control characters"),
        ("\n".join(f"c{i}" for i in range(256)), "at most 255 classes, found 256"),
        (b"\xff\xfe\x00", "UTF-8 text file"),
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
    "text",
    [
        "[1]", "[]", "{}", '{"a": "cat"}', '{"0": "cat", "1": 3}', "{", '{"0": {"x": "y"}}', '{"0": "cat", "0": "dog"}',
        "3", '["cat", {"id": 1, "name": "dog"}]', '[["cat"]]', "[" * 100_000, '{"names": {"names": ["cat"]}}x',
        '{"names": ["cat"], "classes": ["dog"]}', '[{"id": 1}]', '[{"id": 1, "value": 2, "name": "cat"}]',
    ],
)  # fmt: skip
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match="expected") as caught:
        read_class_list(write(tmp_path, text, "c.json"))
    assert "\n" not in str(caught.value)


LAUGHS = "".join(
    ["a: &a [x, x]\n", *(f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in pairwise("abcdefghi")), "names: *i\n"]
)
"""A list whose text has 2 * 9 ** 8 entries."""


@pytest.mark.parametrize(
    "text",
    [
        "0: cat\n0: dog\n",
        "names: [yes, cat]\n",
        "a: [1,\n",
        "&a {names: *a}",
        "!!python/object:os.system x",
        LAUGHS,
        "3",
    ],
)
def test_other_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match="expected") as caught:
        read_class_list(write(tmp_path, text, "c.yaml"))
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.txt: expected a file of class names, found nothing"):
        read_class_list(tmp_path / "gone.txt")


def test_background_is_label_0_with_synonyms_and_no_query(tmp_path: Path) -> None:
    classes = read_class_list(write(tmp_path, "cat; kitten\nbackground; sky\ndog\n"))
    space = classes.label_space("own")
    assert space.labels == ("background", "cat", "dog")
    assert list(zip(space.queries, space.query_labels, strict=True)) == [
        ("sky", 0), ("cat", 1), ("kitten", 1), ("dog", 2),
    ]  # fmt: skip
    assert space.scored_labels == (0, 1, 2)
    assert space.mask_values == (1, 0, 2)
    assert labels_of_values(classes.columns, space.ignore_label) == {1: 0, 0: 1, 2: 2, 255: 255}


def test_class_list_without_background_has_no_class_for_nothing(tmp_path: Path) -> None:
    """The first class is not what nothing means."""
    classes = read_class_list(write(tmp_path, "road\ncar\n"))
    space = classes.label_space("own")
    assert space.labels == ("background", "road", "car")
    assert space.scored_labels == (1, 2)
    assert space.mask_values == (255, 0, 1)
    assert labels_of_values(classes.columns, space.ignore_label) == {0: 1, 1: 2, 255: 255}


def test_255_classes_leave_room_for_the_ignore_label(tmp_path: Path) -> None:
    lines = [f"class {i}" for i in range(255)]
    classes = read_class_list(write(tmp_path, "\n".join([*lines, "void"])))
    assert classes.classes == read_class_list(write(tmp_path, "\n".join(lines))).classes
    space = classes.label_space("own")
    assert labels_of_values(classes.columns, space.ignore_label) == {**{i: i + 1 for i in range(255)}, 255: 65535}
