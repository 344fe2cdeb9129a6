"""MySQL's schema as data for `app.migrate`: numbered migrations, the accounts and their rights.

DDL commits by itself. So a migration that was killed runs again from its start, and each statement can be repeated.
"""

from __future__ import annotations

from typing import NamedTuple

SERVICE, HOST, CONSOLE, UPKEEP = "movierec_service", "movierec_host", "movierec_console", "movierec_upkeep"

# The day has its own column, because a partition's column must be in every unique key. Times are UTC. Compression halves the
# size to 185 bytes a row with its two indexes. A shipper still inserts 5,000 rows a second.
_RECCOM = """
CREATE TABLE IF NOT EXISTS reccom (
  answer_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  day DATE NOT NULL,
  request_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id BIGINT NOT NULL,
  version_number INT NOT NULL,
  track VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  served_at DATETIME(6) NOT NULL,
  step VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  digest VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  inputs VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (answer_id, day),
  KEY ix_reccom_request_id (request_id),
  KEY ix_reccom_user_id (user_id)
) ENGINE = InnoDB ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8
PARTITION BY RANGE COLUMNS (day) (PARTITION future VALUES LESS THAN (MAXVALUE))
"""
# The text of a list is ASCII: a few hundred bytes, 5 kB at most for the films of a large catalogue.
_SERVED_LISTS = """
CREATE TABLE IF NOT EXISTS served_lists (
  list_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id BIGINT NOT NULL,
  version_number INT NOT NULL,
  day DATE NOT NULL,
  served_at DATETIME(6) NOT NULL,
  source TEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (list_id, user_id, version_number, day)
) ENGINE = InnoDB ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8
PARTITION BY RANGE COLUMNS (day) (PARTITION future VALUES LESS THAN (MAXVALUE))
"""
_TRACKING = """
CREATE TABLE IF NOT EXISTS tracking (
  version_number INT NOT NULL PRIMARY KEY,
  data_creation TIMESTAMP NULL,
  trained_on TIMESTAMP NULL,
  model_rmse FLOAT NULL,
  git_commit VARCHAR(40) CHARACTER SET ascii NULL,
  data_md5 VARCHAR(32) CHARACTER SET ascii NULL,
  model_md5 VARCHAR(32) CHARACTER SET ascii NULL
)
"""
_MARKS = """
CREATE TABLE IF NOT EXISTS journal_marks (
  journal VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  bytes_taken BIGINT NOT NULL
)
"""
_RETENTION = """
CREATE TABLE IF NOT EXISTS retention (
  id TINYINT NOT NULL PRIMARY KEY CHECK (id = 1),
  keep_days INT NOT NULL,
  max_bytes BIGINT NOT NULL
)
"""
# Adds partitions for the next days to both tables of answers. Then drops the oldest while it is too old or all are too large,
# but never today's. The first partition also takes rows of earlier days, and `future` takes later ones. So every late journal
# finds a partition. A list is not kept longer than the answers that served it.
_UPKEEP = """
CREATE DEFINER = 'movierec_upkeep'@'localhost' PROCEDURE IF NOT EXISTS upkeep() SQL SECURITY DEFINER MODIFIES SQL DATA
BEGIN
  DECLARE today DATE DEFAULT UTC_DATE();
  DECLARE keep INT;
  DECLARE most, used BIGINT;
  DECLARE first_day, next_day DATE;
  DECLARE parts LONGTEXT;
  DECLARE part VARCHAR(64) CHARACTER SET ascii;
  DECLARE answers VARCHAR(64) CHARACTER SET ascii DEFAULT 'reccom';
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
    DO RELEASE_LOCK('movierec.upkeep');
    RESIGNAL;
  END;
  SET SESSION lock_wait_timeout = 3;
  IF GET_LOCK('movierec.upkeep', 10) = 1 THEN
    SELECT keep_days, max_bytes INTO keep, most FROM retention;
    both_tables: LOOP
      SET parts = '';
      SELECT MAX(STR_TO_DATE(SUBSTR(partition_name, 2), '%Y%m%d')) + INTERVAL 1 DAY INTO next_day
        FROM information_schema.partitions
        WHERE table_schema = DATABASE() AND table_name = answers AND partition_name <> 'future';
      SET first_day = today - INTERVAL LEAST(keep, 90) DAY;
      SET next_day = GREATEST(COALESCE(next_day, first_day), first_day);
      WHILE next_day <= today + INTERVAL 7 DAY DO
        SET parts = CONCAT(parts, 'PARTITION p', DATE_FORMAT(next_day, '%Y%m%d'));
        SET next_day = next_day + INTERVAL 1 DAY;
        SET parts = CONCAT(parts, ' VALUES LESS THAN (''', next_day, '''), ');
      END WHILE;
      IF parts <> '' THEN
        SET @upkeep = CONCAT('ALTER TABLE ', answers, ' REORGANIZE PARTITION future INTO (', parts,
          'PARTITION future VALUES LESS THAN (MAXVALUE))');
        PREPARE upkeep FROM @upkeep;
        EXECUTE upkeep;
      END IF;
      IF answers = 'served_lists' THEN
        LEAVE both_tables;
      END IF;
      SET answers = 'served_lists';
    END LOOP;
    old_days: LOOP
      SELECT MIN(STR_TO_DATE(SUBSTR(partition_name, 2), '%Y%m%d')) INTO first_day FROM information_schema.partitions
        WHERE table_schema = DATABASE() AND table_name = 'reccom' AND partition_name <> 'future';
      SELECT MIN(partition_name) INTO part FROM information_schema.partitions
        WHERE table_schema = DATABASE() AND table_name = 'served_lists' AND partition_name <> 'future'
          AND STR_TO_DATE(SUBSTR(partition_name, 2), '%Y%m%d') < first_day;
      IF part IS NOT NULL THEN
        SET @upkeep = CONCAT('ALTER TABLE served_lists DROP PARTITION ', part);
        PREPARE upkeep FROM @upkeep;
        EXECUTE upkeep;
        ITERATE old_days;
      END IF;
      SELECT SUM(file_size) INTO used FROM information_schema.innodb_tablespaces
        WHERE name LIKE CONCAT(DATABASE(), '/reccom#p#%') OR name LIKE CONCAT(DATABASE(), '/served_lists#p#%');
      IF first_day >= today OR (first_day >= today - INTERVAL keep DAY AND used <= most) THEN
        LEAVE old_days;
      END IF;
      SET @upkeep = CONCAT('ALTER TABLE reccom DROP PARTITION p', DATE_FORMAT(first_day, '%Y%m%d'));
      PREPARE upkeep FROM @upkeep;
      EXECUTE upkeep;
    END LOOP;
    DO RELEASE_LOCK('movierec.upkeep');
  END IF;
END
"""


class Migration(NamedTuple):
    """A step of the schema. It runs once: `schema_migrations` keeps its number."""

    number: int
    statements: tuple[str, ...]


SCHEMA_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  number INT NOT NULL PRIMARY KEY,
  applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""
MIGRATIONS = (
    Migration(1, (_RECCOM, _TRACKING, _MARKS, _RETENTION)),
    Migration(2, ()),  # the procedure, before there were served_lists
    Migration(3, (_SERVED_LISTS, "DROP PROCEDURE IF EXISTS upkeep", _UPKEEP)),
)
NEWEST = MIGRATIONS[-1].number

# The rights of the accounts in the chosen database. The procedure runs as the first account, which cannot log in.
UPKEEP_GRANTS = (
    "SELECT, INSERT, CREATE, ALTER, DROP ON reccom",
    "SELECT, INSERT, CREATE, ALTER, DROP ON served_lists",
    "SELECT ON retention",
    "EXECUTE ON PROCEDURE upkeep",
    "PROCESS ON *.*",  # the files' present sizes: those in the statistics are hours old
)
GRANTS = {
    SERVICE: (
        "INSERT, SELECT (answer_id, day) ON reccom",
        "INSERT, SELECT (list_id, user_id, version_number, day) ON served_lists",
        "SELECT, INSERT, DELETE ON journal_marks",
        "SELECT ON schema_migrations",
        "EXECUTE ON PROCEDURE upkeep",
    ),
    HOST: (
        "SELECT ON reccom",
        "SELECT ON served_lists",
        "SELECT, INSERT, DELETE ON tracking",
        "SELECT ON schema_migrations",
    ),
    CONSOLE: ("SELECT ON reccom", "SELECT ON tracking"),
}
