"""How Sphinx makes a site of this folder. `scripts/dev lint` builds it, and each warning is an error."""

project = "movierec"
extensions = ["myst_parser"]
html_theme = "furo"  # brings its fonts and scripts: the site needs no network
html_title = "movierec"
html_copy_source = False
myst_heading_anchors = 3
nitpicky = True
