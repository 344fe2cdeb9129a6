"""`python -m app.restore <LINES`: writes an unpacked backup to MySQL as root. `scripts/provenance restore` calls it."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from app.provenance import DatabaseError, SecretError, mysql_url, read_secret
from app.provenance.archive import Archive
from app.provenance.backup import BackupError, OtherHistoryError, from_lines, restore
from app.settings import MigrateSettings, settings_problem

REFUSED = 3


def main() -> int:
    """Run the command. Returns 0, 1 if it failed, 2 for unusable settings, 3 for the backup of another installation."""
    try:
        settings = MigrateSettings()
        password = read_secret(settings.mysql_root_password_file)
    except (SecretError, ValidationError) as error:
        sys.stderr.write(f"restore: {settings_problem(error)}\n")
        return 2
    archive = Archive(mysql_url(settings.mysql_host, settings.mysql_port, settings.mysql_database, "root", password))
    try:
        archive.create()
        done = restore(archive, from_lines(sys.stdin.buffer))
        archive.upkeep()
    except (BackupError, DatabaseError) as error:
        sys.stderr.write(f"restore: {str(error).splitlines()[0]}\n")
        return 1
    except OtherHistoryError as error:
        sys.stderr.write(f"restore: {error}\n")
        return REFUSED
    finally:
        archive.close()
    sys.stdout.write(f"{done.added:,} answers added, {done.known:,} were there, {done.different:,} differ here and stay\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
