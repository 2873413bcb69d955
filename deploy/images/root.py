#!/opt/venv/bin/python
"""Gathers what Python programs need of a system, and nothing else: ``root.py FOLDER``.

That is the interpreter, its library, the shared objects that it and /opt/venv are linked with, certificates, and names
for the numbers of users. No shell, no package manager, nothing to install or to attack anything with.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VENV = Path("/opt/venv")
#: Folders of the standard library that no service needs.
UNUSED = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "site-packages",
          "dist-packages", "__pycache__", "config-*")  # fmt: skip
KEPT = ("/etc/ssl/certs/ca-certificates.crt", "/usr/share/zoneinfo/UTC", "/etc/debian_version", "/etc/os-release")
FILES = {
    "etc/passwd": "root:x:0:0::/:/sbin/nologin\nservice:x:10001:10001::/app:/sbin/nologin\n",
    "etc/group": "root:x:0:\nservice:x:10001:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def linked(file: Path) -> set[Path]:
    """The shared objects that a program or library is linked with, the loader included."""
    listed = subprocess.run(["ldd", str(file)], check=False, capture_output=True, text=True).stdout
    return {Path(found) for found in re.findall(r"(/\S+) \(0x", listed)}


def copy(path: Path, root: Path) -> None:
    """Copy a file to its place in the root, with the links that lead to it."""
    target = root / path.resolve().relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path.resolve(), target)
    named = root / (path.parent.resolve() / path.name).relative_to("/")
    if named != target and not named.is_symlink():
        named.parent.mkdir(parents=True, exist_ok=True)
        named.symlink_to(path.resolve())


def main() -> None:
    """Gather into the folder given on the command line."""
    root = Path(sys.argv[1])
    for name in ("bin", "lib", "lib64", "sbin"):  # links in merged systems, which loaders are named by
        if (path := Path("/", name)).is_symlink():
            root.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(path.readlink())
            (root / path.readlink()).mkdir(parents=True, exist_ok=True)
    interpreter = (VENV / "bin/python3").resolve()
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / library.relative_to("/"), symlinks=True, ignore=shutil.ignore_patterns(*UNUSED))
    objects = {interpreter, *library.rglob("*.so*"), *VENV.rglob("*.so*")}
    for path in sorted({interpreter, *(needed for each in objects for needed in linked(each))}):
        copy(path, root)
    for link in (VENV / "bin").iterdir():
        if link.is_symlink() and not (named := link.readlink()).is_relative_to(VENV) and named.is_absolute():
            copy(named, root)
    for kept in filter(Path.exists, map(Path, KEPT)):
        copy(kept, root)
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    (root / "tmp").mkdir(mode=0o1777)
    (root / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main()
