"""Link tasks from the command line: fine-tuning, what people see of it, and predictions."""
