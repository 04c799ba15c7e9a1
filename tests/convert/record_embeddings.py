"""Writes tests/data/minilm_vectors.json: what transformers computes of all-MiniLM-L6-v2, in float32.

The mean of the tokens' vectors, made of length 1, as sentence-transformers' configuration of the model says.

    python tests/convert/record_embeddings.py FOLDER

FOLDER holds the model as it is published. It runs in the environment "transformers" of nitro/convert/environments.py.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

FILE = Path(__file__).parents[1] / "data" / "minilm_vectors.json"
TEXTS = [
    "Hello",
    "A man is eating food.",
    "The girl is carrying a baby, and the baby is asleep; nobody in the street makes any noise at all.",
    "def add(a, b):\n    return a + b",
    "Wie spät ist es? – Zwölf Uhr.",
    "12,345.67 USD (approx.)",
    "x",
    "The quick brown fox jumps over the lazy dog. " * 30,
]


def main(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = []
    lengths = []
    with torch.no_grad():
        for text in TEXTS:
            inputs = tokenizer(text, return_tensors="pt")
            hidden = model(**inputs).last_hidden_state[0].double().mean(dim=0)
            vector = (hidden / hidden.norm()).float().numpy().astype("<f4")
            vectors.append(base64.b64encode(np.ascontiguousarray(vector).tobytes()).decode())
            lengths.append(inputs["input_ids"].shape[1])
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
    found = {"made_with": made_with, "texts": TEXTS, "tokens": lengths, "vectors": vectors}
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
