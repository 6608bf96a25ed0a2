"""The full-screen view of runs in a terminal, `anabranch watch`.

    record --Source.look--> Facts --panels--> Tables --changes--> cells that are drawn again
                             ^ tally: the items of a map that have ended, counted as they come

All but `app.py`, `grid.py` and `pages.py` is pure; these three are the ones that import Textual.
"""
