"""Encoders on MLX, for embeddings and rerankings: BERT and its kin, from folders in transformers' layout."""
