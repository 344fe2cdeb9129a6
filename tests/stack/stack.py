"""The rehearsal's stack, for the tests."""

from scripts.rehearse.compose_stack import (
    ROOT,
    SERVICES,
    UP_SECONDS,
    ComposeStack,
    ComposeStackError,
    copy_of_project,
    wait_until,
)

__all__ = ["ROOT", "SERVICES", "UP_SECONDS", "ComposeStack", "ComposeStackError", "copy_of_project", "wait_until"]
