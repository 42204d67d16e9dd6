from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtail.board.measures import canonical, find_measure, measures
from longtail.board.values import clean, parse_value, safe_url, slug


@pytest.mark.parametrize(
    ("raw", "number", "flags"),
    [
        ("46.84\t", 46.84, {"stray-whitespace"}),
        ("87.4%", 87.4, {"percent-sign"}),
        (" 53.5 % ", 53.5, {"percent-sign", "stray-whitespace"}),
        ("44.1 ± 0.3", 44.1, {"spread-in-value"}),
        ("44.1+/-0.3", 44.1, {"spread-in-value"}),
        ("44,25", 44.25, {"decimal-comma"}),
        ("43.9*", 43.9, {"decoration"}),
        ("~43.9", 43.9, {"decoration"}),
        ("1e-3", 0.001, set()),
        ("12.90", 12.9, set()),
        (17, 17.0, set()),
        ("see paper", None, {"not-a-number"}),
        ("", None, {"not-a-number"}),
        ("40.2 / 41.3", None, {"not-a-number"}),
        (float("nan"), None, {"not-a-number"}),
        (True, None, {"not-a-number"}),
        ("４６.8", 46.8, set()),
    ],
)
def test_a_printed_value_is_read_and_its_defects_are_named(raw: object, number: float | None, flags: set[str]) -> None:
    value = parse_value(raw)  # type: ignore[arg-type]
    assert value.number == number
    assert set(value.flags) == flags
    assert value.raw == (raw if isinstance(raw, str) else repr(raw))


def test_a_spread_is_kept() -> None:
    assert parse_value("44.1 ± 0.3").spread == 0.3


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser_or_the_slug(text: str) -> None:
    value = parse_value(text)
    assert value.raw == text
    assert (value.number is None) == ("not-a-number" in value.flags)
    address = slug(text)
    assert address
    assert len(address) <= 100
    assert set(address) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert "\x00" not in clean(text)


def test_different_names_do_not_share_an_address() -> None:
    assert slug("数据集") != slug("数据表")
    assert slug("x" * 200) != slug("x" * 201)
    assert slug("CIFAR-100-LT (ρ=100)") == "cifar-100-lt-r-100"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " https://example.org",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "//example.org/x",
        "/etc/passwd",
        "https://",
        "https://user:secret@example.org/",
        'https://example.org/"onload=',
        "https://example.org/<script>",
        "https://[broken",
        "file:///etc/passwd",
        None,
        3,
    ],
)
def test_an_address_that_is_no_plain_http_link_is_not_linked(url: object) -> None:
    assert safe_url(url) is None


def test_ordinary_addresses_are_linked() -> None:
    for url in ("https://arxiv.org/abs/2104.03066v2", "http://example.org/a?b=c#d"):
        assert safe_url(url) == url


def test_every_alias_has_one_measure_and_every_measure_a_direction() -> None:
    for measure in measures().values():
        assert measure.higher_is_better is not None
        for alias in (measure.name, *measure.aliases):
            assert find_measure(alias) == measure
        if measure.complement:
            other = measures()[measure.complement]
            assert other.higher_is_better != measure.higher_is_better
    assert find_measure("Top 1 Accuracy") == find_measure("top-1 accuracy")


def test_an_error_rate_ranks_as_the_accuracy_that_it_leaves() -> None:
    board, value = canonical(find_measure("Error Rate"), 36.59)
    assert (board.id, value) == ("accuracy", 63.41)
