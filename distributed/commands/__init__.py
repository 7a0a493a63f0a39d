"""The commands: their options, what they do, and what people see of it.

options.py describes them and loads neither torch nor Ray; `COMMANDS` there names the function that runs each, imported when it runs.
"""
