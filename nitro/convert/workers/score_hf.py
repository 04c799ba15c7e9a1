"""Token ids, rendered chats and logits of a Hugging Face folder from transformers, computed in float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast


def run(request: dict[str, Any]) -> dict[str, Any]:
    """As in score_gguf. `chats`: [messages, tools or null] each, rendered by transformers itself."""
    folder = Path(request["model"])
    # tokenizer.json as it is: the classes of some models replace its rules
    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    tokenizer = kind.from_pretrained(folder)
    strings = [tokenizer.encode(text, add_special_tokens=False) for text in request["strings"]]
    ids = request["ids"] or [tokenizer.encode(text)[: request["limit"]] for text in request["texts"]]
    chats = [render(tokenizer, *chat) for chat in request["chats"]] if tokenizer.chat_template else None
    kind, rows = (AutoModel, "last_hidden_state") if request["encoder"] else (AutoModelForCausalLM, "logits")
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        arrays = {f"text_{i}": getattr(model(torch.tensor([row])), rows)[0].numpy() for i, row in enumerate(ids)}
    arrays["strings"] = np.array([id for row in strings for id in row], np.int64)
    np.savez(request["out"], allow_pickle=False, **arrays)
    settings = json.loads(json.dumps(model.config.get_text_config().to_dict(), default=str))
    more = {"chats": chats, "vocabulary": vocabulary(tokenizer), "settings": settings}
    return {"lengths": [len(row) for row in strings], "ids": ids, **more}


def vocabulary(tokenizer: Any) -> list[str | None]:
    """The tokens' texts by id; None where an id has none. WordPiece marks tokens that continue a word; all other
    tokenizers mark those that begin one, and so does llama.cpp."""
    texts = {id: text for text, id in tokenizer.get_vocab().items()}
    if json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] == "WordPiece":
        special = set(tokenizer.all_special_ids)
        marked = ((id, text.removeprefix("##") if text.startswith("##") else "▁" + text) for id, text in texts.items())
        texts = {id: texts[id] if id in special else text for id, text in marked}
    return [texts.get(id) for id in range(max(texts) + 1)]


def render(tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str | None:
    """The prompt; None where the template refuses."""
    try:
        return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True))
    except Exception:  # a template may raise anything
        return None
