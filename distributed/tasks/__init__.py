"""Own tasks: a question in a line to a task with leak-free SQL and labels, and what a task's labels are worth before anything is trained."""
