"""Settings of the site: ``make docs``. `docs.site` prepares the pages that Sphinx reads."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import kdlab  # noqa: E402  # found by the line above

project, author, copyright = "kdlab", "the kdlab contributors", "the kdlab contributors"
version = release = kdlab.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "docs.mathml",
    "docs.references",
]
exclude_patterns = ["jupyter_execute"]
suppress_warnings = ["config.cache", "myst-nb.mime_type"]  # outputs of progress bars

# Markdown, as GitHub reads it
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "colon_fence"]
nb_execution_mode = "off"  # the tests run the notebooks

# docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the declared texts say them
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Differences from the reference code", "Differences from the paper"]
add_module_names = False
python_use_unqualified_type_names = True
default_role = "py:obj"
nitpicky = True
html_math_renderer = "mathml"

html_theme = "pydata_sphinx_theme"
html_title = "kdlab"
html_static_path = [str(Path(__file__).with_name("static"))]
html_css_files = ["kdlab.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "icon_links": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
