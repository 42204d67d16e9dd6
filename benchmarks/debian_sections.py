"""A long-tailed data set that is no images: the sections of Debian's packages, from their one-line descriptions.

Debian's index of packages names a section for each: `libs` has thousands of packages, `zope` a dozen. The text to read
is the one line of `Description:`. It becomes TF-IDF of words and pairs of words, then 256 numbers by a truncated
singular value decomposition; both are fitted on the training rows. Packages made from one source share words, so a
source is in the training split or in the test split, whole: in the test split if the SHA-256 of its name says so, a
fifth of them. A description that comes again is left out, and so is one whose known words were all met before.

    python benchmarks/debian_sections.py Packages.xz sections.npz      # then --data features:sections.npz

`Packages.xz` is `dists/bookworm/main/binary-amd64/Packages.xz` of a Debian mirror; a plain `Packages` is read as well.
The program prints the SHA-256 of the index as it read it, uncompressed, and what it left out.
"""

from __future__ import annotations

import collections
import hashlib
import lzma
import pathlib
import sys

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

WIDTH = 256


def packages(text: str) -> list[tuple[str, str, str]]:
    """Source, section and description of each package, in the order of the index."""
    found = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.split("\n") if ": " in line and not line.startswith(" "))
        if {"Package", "Section", "Description"} <= fields.keys():
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            found.append((source, fields["Section"], fields["Description"].strip().lower()))
    return found


def in_test(source: str) -> bool:
    """Whether a source's packages are in the test split."""
    return int(hashlib.sha256(source.encode()).hexdigest(), 16) % 5 == 0


def once(rows: list[tuple[str, str, str]], texts: list[str]) -> list[tuple[str, str, str]]:
    """The rows whose text did not come before."""
    first: dict[str, int] = {}
    for number, text in enumerate(texts):
        first.setdefault(text, number)
    return [rows[number] for number in sorted(first.values())]


def main(index: pathlib.Path, out: pathlib.Path) -> None:
    """Write the data set."""
    content = lzma.decompress(index.read_bytes()) if index.suffix == ".xz" else index.read_bytes()
    rows = packages(content.decode())
    print(f"index: SHA-256 {hashlib.sha256(content).hexdigest()}, {len(rows)} packages with a section and a line")
    rows.sort(key=lambda row: in_test(row[0]))  # training rows first, so that what comes again is left out of the test
    kept = once(rows, [row[2] for row in rows])
    print(f"left out: {len(rows) - len(kept)} lines that came before")
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    words.fit([row[2] for row in kept if not in_test(row[0])])
    analyse, known = words.build_analyzer(), words.vocabulary_
    new = once(kept, [" ".join(sorted(word for word in analyse(row[2]) if word in known)) for row in kept])
    print(f"left out: {len(kept) - len(new)} lines whose known words came before, or that have none")
    counts = collections.Counter((section, in_test(source)) for source, section, _ in new)
    names = sorted({row[1] for row in new}, key=lambda name: (-counts[name, False], name))
    whole = [name for name in names if counts[name, False] and counts[name, True]]
    print(f"left out: sections that one split lacks: {', '.join(set(names) - set(whole)) or 'none'}")
    new = [row for row in new if row[1] in whole]
    reduced = TruncatedSVD(WIDTH, random_state=0)
    arrays = {}
    for split, asked in (("train", False), ("test", True)):
        held = [row for row in new if in_test(row[0]) == asked]
        vectors = words.transform([row[2] for row in held])
        arrays[f"{split}_features"] = (reduced.transform if asked else reduced.fit_transform)(vectors).astype("float32")
        arrays[f"{split}_target"] = np.array([whole.index(row[1]) for row in held])
    np.savez(out, class_names=np.array(whole), **arrays)
    sizes = [counts[name, False] for name in whole]
    print(
        f"{len(arrays['train_target'])} to train, {len(arrays['test_target'])} to test, {len(whole)} sections, ", end=""
    )
    print(f"{sizes[0]} down to {sizes[-1]} of them")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:3]))
