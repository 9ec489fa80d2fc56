"""The full dress rehearsal: a small team's fortnight, with faults, held against the script's own account of it.

    python -m bench.rehearsal            # ten days, five developers; about half an hour on two cores
    python -m bench.rehearsal --quick    # one day of the same; some minutes

docs/rehearsal.md says what is real in it and what it cannot show.
"""
