"""An installation that an earlier version left is continued by this one."""
