"""Text and numbers that strangers typed: parsed tolerantly, kept as they were, never trusted as markup or as a link."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from longtail.errors import InputError

_DIGITS = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_NUMBER = re.compile(rf"[-+]?{_DIGITS}")
_SPREAD = re.compile(rf"\s*\(?\s*(?:±|\+/-|\+-|\\pm)\s*({_DIGITS})\s*\)?\s*")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+\.\d+")
_SUPERSCRIPTS = re.compile(r"[\u00b2\u00b3\u00b9\u2070-\u209c]+")
_SIGNS = str.maketrans(dict.fromkeys("\u2212\u2012\u2013\u2010\u2011\ufe63", "-"))
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)


class Value(NamedTuple):
    """A number as someone printed it: the raw string, what it means, its spread if one was printed, and its defects."""

    raw: str
    number: float | None
    spread: float | None
    flags: tuple[str, ...]


def parse_value(raw: str | int | float) -> Value:
    r"""Read a printed value, whatever surrounds the digits, and say what was wrong with it.

    Args:
        raw: the value as it stands in the source, text or number.

    Returns:
        The number (``None`` where there is none, or where it could be read in more than one way), the spread after a
        plus-minus sign, and flags out of ``stray-whitespace``, ``percent-sign``, ``spread-in-value``,
        ``decimal-comma``, ``thousands-comma``, ``odd-sign``, ``decoration`` and ``not-a-number``.

    Example:
        >>> parse_value("46.84\t").number, parse_value("46.84\t").flags
        (46.84, ('stray-whitespace',))
        >>> parse_value("44.1 ± 0.3").number, parse_value("44.1 ± 0.3").spread
        (44.1, 0.3)
        >>> [parse_value(raw).number for raw in ("n/a", "1e999", "40.2 / 41.3", "< 0.1", "12M")]
        [None, None, None, None, None]
    """
    if isinstance(raw, bool):
        return Value(str(raw), None, None, ("not-a-number",))
    if isinstance(raw, int | float):
        number = _finite(raw)
        return Value(_shown(raw), number, None, () if number is not None else ("not-a-number",))
    if _PLAIN.fullmatch(raw):
        return Value(raw, float(raw), None, ())
    flags: list[str] = []
    text = raw
    if _SUPERSCRIPTS.search(text):
        # A footnote's mark, which must not become a digit; after a 10 it is an exponent, which is not read.
        text = _SUPERSCRIPTS.sub(lambda found: "" if not text[: found.start()].endswith("10") else " 0 ", text)
        flags.append("decoration")
    text = unicodedata.normalize("NFKC", text)
    if raw != raw.strip() or "\t" in raw or "\n" in raw:
        flags.append("stray-whitespace")
    text = text.strip()
    if "%" in text:
        flags.append("percent-sign")
        text = text.replace("%", "").strip()
    spread = None
    if found := _SPREAD.search(text):
        flags.append("spread-in-value")
        spread = _finite(found[1])
        text = (text[: found.start()] + text[found.end() :]).strip()
    if (plain := text.translate(_SIGNS)) != text or text.startswith("+"):
        flags.append("odd-sign")
        text = plain
    if re.fullmatch(r"[-+]?\d+,\d{1,2}", text):
        flags.append("decimal-comma")
        text = text.replace(",", ".")
    elif _THOUSANDS.fullmatch(text):
        flags.append("thousands-comma")
        text = text.replace(",", "")
    numbers = _NUMBER.findall(text)
    number = _finite(numbers[0]) if len(numbers) == 1 else None
    rest = _NUMBER.sub("", text)
    if number is None or _READ_OTHERWISE.search(rest):
        return Value(raw, None, spread, (*dict.fromkeys(flags), "not-a-number"))
    if rest:
        flags.append("decoration")
    return Value(raw, number, spread, tuple(dict.fromkeys(flags)))


_READ_OTHERWISE = re.compile(r"(?!\b(?:pts?|points?|pct|percent)\b)\b\w|[-+<>≤≥≪≫=/^$€£‰‱]")
"""Beside a number, these make it another one: a bound, a unit, a fraction, a power, or part of a word."""


def _finite(text: str | int | float) -> float | None:
    try:
        number = float(text)
    except (OverflowError, ValueError):
        return None
    return number + 0.0 if math.isfinite(number) else None


def _shown(raw: int | float) -> str:
    try:
        return repr(raw)
    except ValueError:  # Python refuses to print whole numbers of many thousand digits.
        return f"a whole number of {raw.bit_length() if isinstance(raw, int) else 0} bits"


def parse_json(content: str | bytes, where: str) -> Any:
    """JSON from a stranger: no constants that are no numbers, no endless nesting, no key twice, no half of a character.

    Raises:
        InputError: if it is no such JSON.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}, which is no number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the key {twice[:60]!r} stands twice")
        return found

    try:
        found = json.loads(content, parse_constant=refuse, object_pairs_hook=once)
        if _HALF.search(content if isinstance(content, str) else content.decode("latin-1")):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise InputError(f"{where}: a text holds half of a character that takes two") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON: {str(error)[:120]}") from None


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_table(text: str, name: str) -> Any:
    """What a file says, TOML or, by its name, JSON.

    Raises:
        InputError: if it is neither.
    """
    if name.endswith(".json"):
        return parse_json(text, name)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from None


_LATIN_TWINS = set("АВЕЅІЈКМНОРСТУХаеѕіјорсухӏԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοϲν")


def look_alike(text: str) -> bool:
    """Whether a text holds letters that pass for Latin ones, mixed with Latin letters or alone, or signs unseen.

    Example:
        >>> look_alike("DRО-LT"), look_alike("DRO-LT"), look_alike("τ-norm")  # the first O is a Cyrillic letter
        (True, False, False)
    """
    if text.isascii():
        return False
    if any(unicodedata.category(sign) == "Cf" for sign in text):  # Joiners, marks of direction, soft hyphens.
        return True
    for word in re.findall(r"[^\W\d_]+", text):
        twins = sum(letter in _LATIN_TWINS for letter in word)
        if twins and (twins == len(word) or any("a" <= letter.lower() <= "z" for letter in word)):
            return True
    return False


def clean(text: str, limit: int = 4000) -> str:
    r"""Text fit for a page or a feed: without control and direction-override characters, cut at ``limit``.

    Example:
        >>> clean("a\x00b")
        'ab'
    """
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub("", text)[:limit]


def safe_url(url: object) -> str | None:
    """The address if a page may link to it (absolute http or https), else ``None``.

    Example:
        >>> safe_url("https://arxiv.org/abs/2104.03066")
        'https://arxiv.org/abs/2104.03066'
        >>> safe_url("javascript:alert(1)") is None
        True
    """
    if not isinstance(url, str) or len(url) > 2000 or _CONTROL.search(url) or re.search(r"[\s<>\"'`\\]", url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and host and parts.username is None else None


@lru_cache(maxsize=1 << 16)
def slug(text: str) -> str:
    """A name as a file name and an address: lower case, ASCII letters, digits and hyphens, never empty, never long.

    Names that differ only in what a slug cannot show (another script, punctuation alone) get a hash, not one address.

    Example:
        >>> slug("CIFAR-100-LT (ρ=100)")
        'cifar-100-lt-r-100'
    """
    plain = unicodedata.normalize("NFKD", text.replace("ρ", "r")).encode("ascii", "ignore").decode()
    out = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    lost = sum(character.isalnum() for character in text) > sum(character.isalnum() for character in plain)
    if not out or lost or len(out) > 90:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        out = f"{out[:80].rstrip('-')}-{digest}".lstrip("-")
    return out
