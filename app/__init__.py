"""What runs in a serving container."""

# The version of the software, see CHANGELOG.md. Versions of models count apart from it.
__version__ = "1.1.0"
