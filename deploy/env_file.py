"""Fills .env from .env.example: every variable that is empty there gets a random value of its own, once.

What .env says already stays, also what it says in a comment. If it lacks a variable of the example, it gets it, but for
those that say where servers are and who asks them (AWS_…, MLFLOW_…): to leave them out has a meaning. API_KEY_HASHES
becomes the digest of API_KEY. Nobody but the owner may read the file.
"""

import hashlib
import os
import re
import secrets
from pathlib import Path

PROJECT = Path(__file__).parents[1]
RANDOM_BYTES = 20
KEY, KEY_HASHES = "API_KEY", "API_KEY_HASHES"
OF_CLIENTS = ("AWS_", "MLFLOW_")
_VARIABLE = re.compile(r"^(# ?)?(?:export )?(\w+)=(.*)$", re.MULTILINE)


def filled(example: str, present: str = "") -> str:
    """Return ``present``, or the example if it is empty, with a value for each variable that the example sets.

    Args:
        example: lines ``NAME=value``, of which those without a value get a random one, and comments.
        present: what .env holds.
    """
    known = {name: value for comment, name, value in _VARIABLE.findall(present) if not comment}
    mentioned = {name for _, name, _ in _VARIABLE.findall(present)}
    made: dict[str, str] = {}
    for comment, name, value in _VARIABLE.findall(example):
        if not comment and name not in mentioned and not (present and name.startswith(OF_CLIENTS)):
            made[name] = value or secrets.token_hex(RANDOM_BYTES)
    if KEY_HASHES in made and (key := {**known, **made}.get(KEY)):
        made[KEY_HASHES] = hashlib.sha256(key.encode()).hexdigest()
    if not present:
        return _VARIABLE.sub(lambda line: line[0] if line[1] else f"{line[2]}={made[line[2]]}", example)
    added = "".join(f"{name}={value}\n" for name, value in made.items())
    return present + ("" if present.endswith("\n") or not added else "\n") + added


def main() -> None:
    """Write the file; one that is there is replaced at once, and only if something is added."""
    file, new = PROJECT / ".env", PROJECT / ".env.new"
    present = file.read_text(encoding="utf-8") if file.exists() else ""
    content = filled((PROJECT / ".env.example").read_text(encoding="utf-8"), present)
    if content != present:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            opened.write(content)
        new.rename(file)
        print(f".env {'has new variables' if present else 'made'}, with random passwords; Git ignores it")
    file.touch()


if __name__ == "__main__":
    main()
