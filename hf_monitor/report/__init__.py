"""Reports: one page of a run, the comparison of several, the live view in a terminal."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Comparison": "hf_monitor.report.comparison",
        "compare_runs": "hf_monitor.report.comparison",
        "report_html": "hf_monitor.report.one_page",
        "verdict_of": "hf_monitor.report.answers",
        "write_report": "hf_monitor.report.one_page",
    },
)
