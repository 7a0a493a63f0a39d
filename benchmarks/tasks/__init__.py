"""Entity tasks measured over seeds, arms, heads and shares of the labels: the runs, their files, intervals, tables and a picture."""
