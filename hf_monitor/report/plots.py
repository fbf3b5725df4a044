"""Pictures of a page: SVG in the page itself, coloured by its style sheet (light, dark, printed), with their data.

No matplotlib: the page is written at the end of each training, and its colours are those of its reader's screen.
"""

from hf_monitor.report.bars import bar_plot, histogram, sparkline
from hf_monitor.report.line_plot import line_plot
from hf_monitor.report.picture import Level, Mark, Picture, Series, Table

__all__ = ["Level", "Mark", "Picture", "Series", "Table", "bar_plot", "histogram", "line_plot", "sparkline"]
