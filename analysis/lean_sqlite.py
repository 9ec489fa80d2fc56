"""sqlite-utils without what it imports only because it is there.

Wherever pandas and numpy are installed it loads both, to know their column types, which no record of ours has: a third
of a second and 80 MB in every process that opens the store, the evaluator beside an editor among them.
"""

import sys

__all__ = ["Database", "Migrations"]

_absent = [name for name in ("pandas", "numpy") if name not in sys.modules]
for _name in _absent:
    sys.modules[_name] = None  # type: ignore[assignment]  # How Python itself notes that a module cannot be imported.
try:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations
finally:
    for _name in _absent:
        del sys.modules[_name]
