"""Writes FILES.json and MANIFEST.json into a collection, by its galaxy.yml, which goes.

ansible-galaxy lists and verifies an installed collection by these. `ansible-galaxy collection
build` writes the same; this needs no Ansible, and sorts.

usage: python3 packaging/manifest.py DIRECTORY
"""

import hashlib
import json
import pathlib
import re
import sys

# Those that galaxy.yml may have and ours lacks.
ABSENT = dict.fromkeys(("documentation", "homepage", "issues"))


def fields(text):
    """Return galaxy.yml's: a value or a list of words for each name, the only YAML in it."""
    found, name = {}, ""
    for line in text.splitlines():
        if item := re.fullmatch(r"  - (.*)", line):
            found[name].append(item[1])
        else:
            name, value = re.fullmatch(r"(\w+): *(.*)", line).groups()
            found[name] = value or []
    return found


def described(path, name):
    """Return the entry of a file or directory in FILES.json."""
    digest = None if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "name": name,
        "ftype": "file" if digest else "dir",
        "chksum_type": "sha256" if digest else None,
        "chksum_sha256": digest,
        "format": 1,
    }


def write(path, content):
    """Write a file as ansible-galaxy does."""
    path.write_text(json.dumps(content, indent=True), encoding="utf-8")


root = pathlib.Path(sys.argv[1])
galaxy = fields((root / "galaxy.yml").read_text(encoding="utf-8"))
(root / "galaxy.yml").unlink()
for ignored in galaxy.pop("build_ignore"):
    (root / ignored).unlink(missing_ok=True)
entries = [described(path, str(path.relative_to(root))) for path in sorted(root.rglob("*"))]
write(root / "FILES.json", {"files": [described(root, "."), *entries], "format": 1})
info = {**galaxy, "license": [], "dependencies": {}, **ABSENT}
files = described(root / "FILES.json", "FILES.json")
write(root / "MANIFEST.json", {"collection_info": info, "file_manifest_file": files, "format": 1})
