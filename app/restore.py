"""`python -m app.restore <LINES`: a backup's lines, not packed, into MySQL as root. `scripts/provenance restore` gives them."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from app.provenance import DatabaseError, SecretError, mysql_url, read_secret
from app.provenance.archive import Archive
from app.provenance.backup import BackupError, OtherHistoryError, from_lines, restore
from app.settings import MigrateSettings, settings_problem

REFUSED = 3


def main() -> int:
    """The command; 0, 1 failed, 2 settings that cannot be used, 3 for the backup of another installation."""
    try:
        told = MigrateSettings()
        password = read_secret(told.mysql_root_password_file)
    except (SecretError, ValidationError) as error:
        sys.stderr.write(f"restore: {settings_problem(error) if isinstance(error, ValidationError) else error}\n")
        return 2
    archive = Archive(mysql_url(told.mysql_host, told.mysql_port, told.mysql_database, "root", password))
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
    sys.stdout.write(f"{done.added:,} answers added, {done.known:,} were there, {done.different:,} are others here and stay\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
