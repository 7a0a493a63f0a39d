"""`rdl predict`: predictions of a fine-tuned model as a file, as a submission to RelBench, or as a table of the source database."""
