"""
What tests and tools share: real server processes, a world outside them that counts, and a look into their database.

    waiting, ports, processes, console
                  for whatever is started as a command: conditions with a deadline, process groups, a README's commands
    outside, effects
                  the third parties of an application under test, in files that survive its death
    records       what the database says of runs and steps
    servers, server_process, site_process, forks, zygote
                  servers in a thread, in a process, or forked from one in which everything is imported
    pauses        that are still there when they are on disk
    colourless    test applications that are written once, and run over Quart and Flask
"""
