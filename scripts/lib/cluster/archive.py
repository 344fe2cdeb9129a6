"""`archive.py NAME:TAG PROGRAM FILE [USER]`: writes an image of one static program, as `docker save` would."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def image(name: str, program: Path, user: str) -> bytes:
    """An image archive. The image has one file, `/PROGRAM`, and runs it as `user`. Raises OSError."""
    layer = _tar({program.name: program.read_bytes()})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": user},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {"config.json": json.dumps(config).encode(), "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    )


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def main() -> int:
    """Run the command. Returns 0, or 2 for wrong arguments."""
    if len(sys.argv) not in {4, 5}:
        sys.stderr.write("use: archive.py NAME:TAG PROGRAM FILE [USER]\n")
        return 2
    name, program, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    aside = file.with_name(f".{file.name}.new")
    aside.write_bytes(image(name, program, sys.argv[4] if len(sys.argv) == 5 else ""))
    aside.rename(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
