"""Numbers of things in sentences."""

from longtail.wording import counted


def test_one_thing_is_singular_and_none_is_plural():
    assert counted(1, "image") == "1 image"
    assert counted(0, "image") == "0 images"
    assert counted(1_234, "class") == "1,234 classes"
    assert counted(1, "picture is a copy", "pictures are copies") == "1 picture is a copy"
    assert counted(3, "picture is a copy", "pictures are copies") == "3 pictures are copies"
