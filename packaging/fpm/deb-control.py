"""Prints a Debian package's control file from packaging/debian/control, as dpkg-gencontrol(1) does.

fpm's own template always has a homepage, which we have not, and a field that Debian does not know.

usage: python3 packaging/fpm/deb-control.py VERSION STAGE
"""

import pathlib
import re
import sys

root, stage = pathlib.Path(__file__).parents[2], pathlib.Path(sys.argv[2])
# What debhelper fills in for a package of Python that is not rebuilt for each version of it.
filled = {"${misc:Depends}": "", "${python3:Depends}": "python3:any"}
# Kibibytes, and one for each directory.
size = sum(-(-path.stat().st_size // 1024) if path.is_file() else 1 for path in stage.rglob("*"))

text = (root / "packaging/debian/control").read_text(encoding="utf-8")
source, package, _collection = (
    dict(re.findall(r"(?ms)^(\S+): (.*?)\n(?=\S|\Z)", f"{part}\n"))
    for part in text.strip().split("\n\n")
)
description = package.pop("Description")
for name, value in package.items():
    parts = [part.strip() for part in value.split(",")]
    package[name] = ", ".join(filter(None, (filled.get(part, part) for part in parts)))
shared = {name: source[name] for name in ("Maintainer", "Section", "Priority")}
fields = package | {"Version": sys.argv[1], "Installed-Size": str(size)} | shared
fields["Description"] = description
for variable in re.findall(r"\$\{.*?\}", "".join(fields.values())):
    sys.exit(f"{sys.argv[0]} has no value for {variable}")
sys.stdout.write("".join(f"{name}: {value}\n" for name, value in fields.items()))
