"""The rehearsal's stack, for the tests."""

from scripts.rehearse.stack import ROOT, SERVICES, UP_SECONDS, Stack, StackError, copy_of_project, wait_until

__all__ = ["ROOT", "SERVICES", "UP_SECONDS", "Stack", "StackError", "copy_of_project", "wait_until"]
