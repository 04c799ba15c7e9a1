"""What the files of a model on disk have in common, whoever wrote them."""
