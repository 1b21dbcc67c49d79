"""
The crash matrix: every moment in which the application may die, with every kind of endpoint.

`nox -s crash_matrix` plays all cells and writes `docs/crash-matrix.md`; the tests beside this module play some of them
in every plain `nox`. One cell is one play: real server processes on one database, one of which dies by SIGKILL at the
named moment, an account of effects in a file of its own, and a judgement of all that can be seen afterwards.

    patterns      what the run under test does
    points        when its process dies, and which patterns know that moment
    cells         the combinations
    app, traps, newer
                  the application in the server processes, and how it comes to die
    crew, clients, bystanders
                  those processes; who asks them; the runs that nothing may happen to
    play, judge   one cell: what is done, and what is demanded
    page          the document
"""
