"""Reports: a verification as one self-contained HTML page, the scoreboard as HTML and Markdown."""

from shoestring.evidence.report.html import write_report, write_scoreboard
from shoestring.evidence.report.markdown import card_evidence, readme_table

__all__ = ["card_evidence", "readme_table", "write_report", "write_scoreboard"]
