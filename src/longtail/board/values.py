"""Text and numbers that strangers typed: parsed tolerantly, kept as they were, never trusted as markup or as a link."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_SPREAD = re.compile(r"\s*(?:±|\+/-|\+-|\\pm)\s*(\d+(?:\.\d+)?)\s*")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)


@dataclass(frozen=True)
class Value:
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
        The number (``None`` where there is none), the spread after a plus-minus sign, and flags out of
        ``stray-whitespace``, ``percent-sign``, ``spread-in-value``, ``decimal-comma``, ``decoration`` and
        ``not-a-number``.

    Example:
        >>> parse_value("46.84\t").number, parse_value("46.84\t").flags
        (46.84, ('stray-whitespace',))
        >>> parse_value("87.4%").flags
        ('percent-sign',)
        >>> parse_value("n/a").number is None
        True
    """
    if isinstance(raw, bool):
        return Value(str(raw), None, None, ("not-a-number",))
    if isinstance(raw, int | float):
        number = float(raw)
        finite = number == number and abs(number) != float("inf")
        return Value(repr(raw), number if finite else None, None, () if finite else ("not-a-number",))
    flags: list[str] = []
    text = unicodedata.normalize("NFKC", raw)
    if text != text.strip() or raw != raw.strip() or "\t" in raw or "\n" in raw:
        flags.append("stray-whitespace")
        text = text.strip()
    if "%" in text:
        flags.append("percent-sign")
        text = text.replace("%", "").strip()
    spread = None
    if found := _SPREAD.search(text):
        flags.append("spread-in-value")
        spread = float(found[1])
        text = (text[: found.start()] + text[found.end() :]).strip()
    if re.fullmatch(r"\d+,\d{1,2}", text):
        flags.append("decimal-comma")
        text = text.replace(",", ".")
    if _NUMBER.fullmatch(text):
        return Value(raw, float(text), spread, tuple(flags))
    numbers = _NUMBER.findall(text)
    if len(numbers) == 1:
        return Value(raw, float(numbers[0]), spread, (*flags, "decoration"))
    return Value(raw, None, spread, (*flags, "not-a-number"))


def clean(text: str, limit: int = 4000) -> str:
    r"""Text fit for a page or a feed: without control and direction-override characters, cut at ``limit``.

    Example:
        >>> clean("a\x00b")
        'ab'
    """
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
        out = f"{out[:80]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".strip("-")
    return out
