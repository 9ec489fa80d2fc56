"""How Sphinx makes these pages: offline, and any warning (a link or anchor that leads nowhere) ends the build."""

project = "codetrial"
copyright = "codetrial maintainers, Apache-2.0"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "alabaster"  # Comes with Sphinx and asks for nothing from the network.
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px", "font_size": "16px"}
html_show_sourcelink = False
html_copy_source = False
myst_heading_anchors = 4  # As GitHub makes them, so that a link holds in both places.
suppress_warnings = ["misc.highlighting_failure"]  # Excerpts of TOML end where the reader has seen enough.
