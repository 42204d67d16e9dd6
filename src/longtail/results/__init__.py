"""Records, their statistics, and the tables and pages that are made of them."""

from longtail.results.comparison import Comparison, Difference, Method, compare_records
from longtail.results.record import Loaded, Record, read, signature, write
from longtail.results.report import report_html
from longtail.results.rescoring import rescore
from longtail.results.statistics import Estimate, Summary, difference, estimate, mcnemar, summarize, verdict
from longtail.results.tables import table, to_json

__all__ = [
    "Comparison",
    "Difference",
    "Estimate",
    "Loaded",
    "Method",
    "Record",
    "Summary",
    "compare_records",
    "difference",
    "estimate",
    "mcnemar",
    "read",
    "report_html",
    "rescore",
    "signature",
    "summarize",
    "table",
    "to_json",
    "verdict",
    "write",
]
