#!/bin/sh
# Upstream fills templates in here; this stack has none.
exec "$@"
