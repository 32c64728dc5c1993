"""A server with OpenAI's completions interface around a real model, with the faults of real ones.

    python -m tests.engine.completions_server RECIPE PORT LOG

Takes a prompt as text or as token ids, as vLLM does, and writes the ids that it generates from to
LOG, one JSON list a line. Every fifth request gets 429, every eleventh a late answer.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from tools.generate import PromptBatch, generate_batch
from tools.models import load_trained


class Completions:
    """One model; one request is generated at a time, so that each is alike whenever it comes."""

    def __init__(self, recipe: Path, log: Path) -> None:
        self.model, self.tokenizer = load_trained(recipe)
        self.log = log
        self.requests = 0
        self.lock = asyncio.Lock()

    async def models(self, _: web.Request) -> web.Response:
        card = {"id": "tiny", "object": "model", "created": 1, "owned_by": "x"}
        limit = self.model.config.max_position_embeddings
        return web.json_response({"object": "list", "data": [card | {"max_model_len": limit}]})

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests += 1
        if self.requests % 5 == 0:
            headers = {"Retry-After": "0.01"}
            return web.json_response({"error": {"message": "busy"}}, status=429, headers=headers)
        if self.requests % 11 == 0:
            await asyncio.sleep(0.5)
        prompt = body["prompt"]
        ids = self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        with self.log.open("a") as file:
            file.write(json.dumps(ids) + "\n")
        async with self.lock:
            [made] = await asyncio.to_thread(self._generate, ids, body)
        choice = {"index": 0, "text": made.text, "logprobs": None,
                  "finish_reason": "stop" if made.ended else "length"}  # fmt: skip
        usage = {"prompt_tokens": len(ids), "completion_tokens": made.tokens,
                 "total_tokens": len(ids) + made.tokens}  # fmt: skip
        answer = {"id": "1", "object": "text_completion", "created": 1, "model": "tiny"}
        return web.json_response(answer | {"choices": [choice], "usage": usage})

    def _generate(self, ids: list[int], body: dict[str, Any]) -> Any:
        limit = self.model.config.max_position_embeddings
        assert len(ids) + body["max_tokens"] <= limit
        batch = PromptBatch(
            [ids], limit, body["temperature"], body["max_tokens"], [body.get("seed", 0)]
        )
        return generate_batch(self.model, self.tokenizer, batch)


def main() -> None:
    recipe, port, log = sys.argv[1:]
    served = Completions(Path(recipe), Path(log))
    app = web.Application()
    app.add_routes(
        [web.get("/v1/models", served.models), web.post("/v1/completions", served.complete)]
    )
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main()
