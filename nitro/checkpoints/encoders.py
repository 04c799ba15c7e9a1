"""The model_types of encoders in transformers' layout that MLX opens: the keys of the table in
engines/backends/mlx/encoders/families.py, which a test compares, for those who may not import it."""

MODEL_TYPES = frozenset(
    {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "nomic_bert", "modernbert"}
)
