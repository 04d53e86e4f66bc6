"""Studies: many training runs of one task, compared fairly.

A study file (TOML) names a task, the arms that are compared and a search for their settings
(`Study`). Its cells, one run each, wait in a queue that any number of workers share (`queue`,
`worker`); their results are kept in results.json (`Results`), compared (`StudyResults`) and
reported in HTML and Markdown (`report`). The queue needs Optuna, the report needs matplotlib and
Jinja2: these modules are not imported here, and `pip install 'tinykan[study]'` installs all three.
"""

from tinykan.studies.cell import Cell
from tinykan.studies.results import CellResult, Results, read_results, write_results
from tinykan.studies.statistics import Condition, Group, StudyResults
from tinykan.studies.study import Study

__all__ = [
    "Cell",
    "CellResult",
    "Condition",
    "Group",
    "Results",
    "Study",
    "StudyResults",
    "read_results",
    "write_results",
]
