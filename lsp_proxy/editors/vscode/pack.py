"""Builds the extension's package, `codetrial.vsix`: the same bytes each time from the same sources.

    python -m lsp_proxy.editors.vscode.pack [--check]

Needs npm; the package itself is kept in the repository, so that installing it needs neither npm nor a network.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import quoteattr

from codetrial import __version__
from lsp_proxy.editors.vscode import EXTENSION, PACKAGE

__all__ = ["build", "contents", "digest", "main", "packed"]

LICENSE = Path(__file__).parents[3] / "LICENSE"
BUILT_FROM = "built-from.txt"
"""In the package: a hash over the sources, which tells without npm whether the package is up to date."""

_TYPES = """\
<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">\
<Default Extension=".json" ContentType="application/json"/>\
<Default Extension=".vsixmanifest" ContentType="text/xml"/>\
<Default Extension=".js" ContentType="application/javascript"/>\
<Default Extension=".md" ContentType="text/markdown"/>\
<Default Extension=".txt" ContentType="text/plain"/>\
</Types>
"""

_MANIFEST = """\
<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
  <Metadata>
    <Identity Language="en-US" Id={name} Version={version} Publisher={publisher}/>
    <DisplayName>codetrial</DisplayName>
    <Description xml:space="preserve"></Description>
    <Categories>Programming Languages,Other</Categories>
    <Properties>
      <Property Id="Microsoft.VisualStudio.Code.Engine" Value={engine}/>
      <Property Id="Microsoft.VisualStudio.Code.ExtensionKind" Value="workspace"/>
    </Properties>
  </Metadata>
  <Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
  <Dependencies/>
  <Assets>
    <Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.Details" Path="extension/README.md" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.License" Path="extension/LICENSE.txt" Addressable="true"/>
  </Assets>
</PackageManifest>
"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="say whether the package is what the sources give")
    parser.add_argument("--to", type=Path, default=PACKAGE, help="where it goes")
    arguments = parser.parse_args(argv)
    content = build()
    if arguments.check:
        is_same = PACKAGE.exists() and contents(PACKAGE.read_bytes()) == contents(content)
        print(f"{PACKAGE} {'is what the sources give' if is_same else 'is out of date: build it again'}")
        return 0 if is_same else 1
    arguments.to.write_bytes(content)
    print(f"{arguments.to}: {len(content) / 1000:.0f} kB")
    return 0


def build() -> bytes:
    """The package, from sources bundled in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "extension"
        shutil.copytree(EXTENSION, folder)
        for command in (["npm", "ci", "--silent"], ["npm", "run", "--silent", "build"]):
            subprocess.run(command, cwd=folder, check=True, env={**os.environ, "NO_UPDATE_NOTIFIER": "1"})
        bundle = {f"dist/{path.name}": path.read_bytes() for path in sorted((folder / "dist").iterdir())}
    return packed(bundle)


def packed(bundle: Mapping[str, bytes]) -> bytes:
    """A .vsix of the bundle and of the files that go along as they are."""
    manifest = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    for key in ("scripts", "dependencies", "devDependencies", "private"):
        manifest.pop(key)  # All of it is in the bundle.
    manifest["version"] = __version__
    files = {
        "[Content_Types].xml": _TYPES.encode(),
        "extension.vsixmanifest": _MANIFEST.format(
            name=quoteattr(manifest["name"]),
            version=quoteattr(manifest["version"]),
            publisher=quoteattr(manifest["publisher"]),
            engine=quoteattr(manifest["engines"]["vscode"]),
        ).encode(),
        "extension/package.json": (json.dumps(manifest, indent=1) + "\n").encode(),
        "extension/README.md": (EXTENSION / "README.md").read_bytes(),
        "extension/LICENSE.txt": LICENSE.read_bytes(),
        f"extension/{BUILT_FROM}": f"{digest()}\n".encode(),
        **{f"extension/{name}": content for name, content in bundle.items()},
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # 1980, no owner, no rights: nothing of this machine.
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return file.getvalue()


def contents(package: bytes) -> dict[str, bytes]:
    """Its files. To be compared instead of the package, whose bytes depend on this machine's zlib."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def digest() -> str:
    """Over all that goes into the package."""
    hashed = hashlib.sha256(__version__.encode())
    for path in sorted([*EXTENSION.rglob("*"), LICENSE, Path(__file__)]):
        if path.is_file():
            hashed.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hashed.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
