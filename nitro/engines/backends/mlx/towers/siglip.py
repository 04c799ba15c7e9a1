"""What families with a tower of SigLIP's or CLIP's layers have in common."""

# the Hub's names, those of transformers 4.52 and later, and of transformers 5, which leave out a level of the tower
NAMES = (
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.", ""),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model."),
)
