"""Numbers of things in sentences, and the fields in which two things differ."""

import pytest

from longtail.wording import counted, differences


def test_one_thing_is_singular_and_none_is_plural():
    assert counted(1, "image") == "1 image"
    assert counted(0, "image") == "0 images"
    assert counted(1_234, "class") == "1,234 classes"
    assert counted(1, "picture is a copy", "pictures are copies") == "1 picture is a copy"
    assert counted(3, "picture is a copy", "pictures are copies") == "3 pictures are copies"


def test_a_field_that_one_side_leaves_out_differs_from_one_that_is_null():
    assert list(differences({"a": {"b": None}}, {"a": {}})) == [("a.b", "None", "absent")]
    assert list(differences({}, {"a": None})) == [("a", "absent", "None")]
    assert not list(differences({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}))


@pytest.mark.parametrize(
    "ours", [{}, {"a": None}, {"a": []}, {"a": [1]}, {"a": [2]}, {"a": [1, 2]}, {"a": {}}, [], None]
)
@pytest.mark.parametrize("theirs", [{}, {"a": None}, {"a": [1]}, {"a": {"b": 1}}, [None]])
def test_values_that_are_not_equal_have_a_field_in_which_they_differ(ours, theirs):
    assert bool(list(differences(ours, theirs))) == (ours != theirs)
