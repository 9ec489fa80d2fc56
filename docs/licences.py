"""The licences of everything that is installed with codetrial, as its packages state them.

    python docs/licences.py            write docs/licences.md
    python docs/licences.py --check    end with 1 if the page is out of date, or a licence does not go with Apache-2.0

Nothing of these packages is copied into codetrial: they are installed beside it.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licences.md")

EXTRAS = ("local", "keyring", "parquet", "clickhouse", "explore")
"""Not `spark` (pyspark and py4j: Apache-2.0 and BSD-3-Clause), and not `pascal`, whose only package is AGPL-3.0-only."""

FREE = {
    "0BSD", "AFL-2.1", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU",
    "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "CC0-1.0", "LicenseRef-Public-Domain",
}  # fmt: skip
"""They ask for their notice to be kept, and no more."""

BESIDE = {"LGPL-2.1-or-later", "LGPL-3.0-or-later", "MPL-2.0", "GPL-2.0-or-later WITH Universal-FOSS-exception-1.0"}
"""They ask for more of whoever changes the package itself. Used as it is, as a package that anybody can exchange, it
asks nothing of codetrial: https://www.apache.org/legal/resolved.html and section 4 of the LGPL say how."""

STATED = {
    "3-clause bsd": "BSD-3-Clause", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "apache": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0", "bsd": "BSD-3-Clause", "bsd license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause", "bsd-3-clause license": "BSD-3-Clause", "bsd-2-clause license": "BSD-2-Clause",
    "isc license (iscl)": "ISC", "mit license": "MIT", "the mit license": "MIT", "mit": "MIT", "zpl 2.1": "ZPL-2.1",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "python software foundation license": "PSF-2.0", "psf": "PSF-2.0",
    "gnu library or lesser general public license (lgpl)": "LGPL-2.1-or-later", "lgpl": "LGPL-2.1-or-later",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-or-later",
    "apache-2.0 license": "Apache-2.0", "the unlicense (unlicense)": "Unlicense", "lgpl-2.1+": "LGPL-2.1-or-later", "public domain": "LicenseRef-Public-Domain",
}  # fmt: skip
"""Words of before there were SPDX expressions."""


class Licensed(NamedTuple):
    name: str
    version: str
    licence: str
    """An SPDX expression, or what the package says that is none."""


def closure(wanted: str, extras: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """What an installation brings, as far as it is installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [(wanted, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # For another platform or another Python.
        if all(other != name or not known for other, known in seen - {(name, extra)}):
            yield found
        for line in found.requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting.extend((canonicalize_name(need.name), one) for one in ("", *need.extras))


def licence_of(package: metadata.Distribution) -> str:
    about = package.metadata
    if about["License-Expression"]:
        return str(about["License-Expression"])
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    stated = [*(c for c in classified if c != "OSI Approved"), (about["License"] or "").strip()]
    for words in stated:
        if words and len(words) < 80:
            return STATED.get(words.lower(), words)
    return from_text(package)


def from_text(package: metadata.Distribution) -> str:
    """For packages that only bring the text."""
    for file in package.files or ():
        if re.search(r"licen[cs]e|copying", file.name, re.IGNORECASE) and ".dist-info" in str(file):
            text = " ".join(str(file.locate().read_text(encoding="utf-8", errors="replace")).split())
            for beginning, name in (
                ("Permission is hereby granted, free of charge", "MIT"),
                ("Apache License", "Apache-2.0"),
            ):
                if beginning in text:
                    return name
    return "not stated"


def is_fine(licence: str) -> bool:
    """Every part of an `AND`, or one of an `OR`, goes with Apache-2.0."""
    if licence in FREE | BESIDE:
        return True
    licence = licence.strip().removeprefix("(").removesuffix(")") if licence.startswith("(") else licence
    for word, together in ((" OR ", any), (" AND ", all), (" and ", all)):
        if word in licence:
            return together(is_fine(part) for part in licence.split(word))
    return licence in FREE | BESIDE


def page(packages: list[Licensed]) -> str:
    rows = [f"| {p.name} | {p.licence}{'' if p.licence in FREE or ' ' in p.licence else ' *'} |" for p in packages]
    return "\n".join(
        [
            "# Licences",
            "",
            "codetrial is under Apache-2.0. What is installed with it and its extras states:",
            "",
            "| package | licence |",
            "|---|---|",
            *rows,
            "",
            "*: asks something of whoever changes that package itself, and nothing of who uses it as it is.",
            "",
            "Two extras are not in the table. `spark` brings pyspark and py4j (Apache-2.0, BSD-3-Clause). `pascal` brings a grammar under",
            "**AGPL-3.0-only**, which is why it is an extra: with it, passing codetrial on, or offering it over a network, falls under that",
            "licence. Without it Pascal is a language without a grammar, as COBOL is.",
            "",
            "The stand-in for GitHub reads GitHub's own API description (MIT) and GraphQL schema. The weights of the local models are fetched",
            "by `codetrial arms fetch`, which says their licence before it does. `python docs/licences.py` writes this page.",
        ]
    ) + "\n"  # fmt: skip


def main() -> None:
    found = {
        canonicalize_name(p.name): Licensed(canonicalize_name(p.name), p.version, licence_of(p))
        for p in closure("codetrial", EXTRAS)
    }
    del found["codetrial"]
    packages = [found[name] for name in sorted(found)]
    wrong = [p for p in packages if not is_fine(p.licence)]
    for p in wrong:
        print(f"{p.name} {p.version}: {p.licence} is not known to go with Apache-2.0.", file=sys.stderr)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(packages), encoding="utf-8")
    elif page(packages) != PAGE.read_text(encoding="utf-8"):
        sys.exit(f"{PAGE} is out of date: run python docs/licences.py")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
