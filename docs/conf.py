# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx builds the site; script/docs calls it. https://www.sphinx-doc.org/en/master/usage/configuration.html"""

project = "Greenlight"
author = "Greenlight's contributors"
copyright = "Greenlight's contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext", "sphinx_copybutton"]
# The first page is README.md, which GitHub shows for this directory; index.rst adds the order of all pages.
exclude_patterns = ["README.md"]
# Each heading can be linked to, as on GitHub.
myst_heading_anchors = 4
# Commands have quotes and dashes of their own.
smartquotes = False
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "Greenlight"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
# Only what is typed is copied.
copybutton_selector = "div.highlight-sh pre, div.highlight-yaml pre, div.highlight-python pre, div.highlight-ini pre"
# The modules' pages link to Ansible's own documentation, which is not here.
nitpicky = False
# Ansible's own pages answer to browsers only now and then; each of these was read by hand.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
