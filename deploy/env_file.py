"""Writes .env from .env.example, once: every empty variable gets a random value of its own.

What is there stays. API_KEY_HASHES becomes the digest of API_KEY. Nobody but the owner may read the file.
"""

import hashlib
import os
import secrets
from pathlib import Path

PROJECT = Path(__file__).parents[1]
RANDOM_BYTES = 20
KEY, KEY_HASHES = "API_KEY", "API_KEY_HASHES"


def filled(example: str) -> str:
    """Give each variable without a value a random one."""
    values: dict[str, str] = {}
    lines = []
    for line in example.splitlines():
        name, is_pair, value = line.partition("=")
        if is_pair and not value and not name.startswith("#"):
            value = secrets.token_hex(RANDOM_BYTES)
            if name == KEY_HASHES:
                value = hashlib.sha256(values[KEY].encode()).hexdigest()
            line = f"{name}={value}"  # noqa: PLW2901 - the same line, filled
        values[name] = value
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the file, unless there is one."""
    content = filled((PROJECT / ".env.example").read_text(encoding="utf-8"))
    try:
        descriptor = os.open(PROJECT / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    print(".env made, with random passwords; Git ignores it")


if __name__ == "__main__":
    main()
