"""Candidates for `models bench`: towers run by torch, and their graphs in each precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from scenesearch.encoder.graphs import Graph, open_graph
from scenesearch.encoder.preprocessing import noise_pixels
from scenesearch.encoder.speed import BATCHES, Candidate, sample_queries
from training.batches import pad
from training.export import (
    export_image_tower,
    export_text_tower,
    store_in_half,
    store_in_int8,
)
from training.two_towers import Towers


def eager(towers: Towers, name: str, threads: int) -> Candidate:
    """The towers as torch runs them, in float32."""
    towers = towers.eval()
    pixels = torch.from_numpy(_pixels(towers))
    feeds = {n: _tokens(towers, n) for n in BATCHES}

    @torch.inference_mode()
    def images(n: int) -> object:
        torch.set_num_threads(threads)
        return towers.image_tower(pixels[:n])

    @torch.inference_mode()
    def texts(n: int) -> object:
        torch.set_num_threads(threads)
        ids, mask = feeds[n]
        return towers.text_tower(torch.from_numpy(ids), torch.from_numpy(mask))

    return Candidate(name, images, texts)


def precisions(towers: Towers, name: str, threads: int, folder: Path) -> list[Candidate]:
    """The towers' graphs stored as fp32, fp16 and int8, written to `folder` without a check."""
    pixels, feeds = _pixels(towers), {n: _tokens(towers, n) for n in BATCHES}
    found = []
    for precision in ("fp32", "fp16", "int8"):
        image = export_image_tower(towers.image_tower, towers.image_input.shape)
        text = export_text_tower(towers.text_tower, towers.text_input.context_length)
        sizes = 0
        opened = {}
        for side, graph in (("image", image), ("text", text)):
            if precision == "int8":
                store_in_int8(graph)
            if precision != "fp32":
                store_in_half(graph)
            path = folder / f"{precision}-{side}.onnx"
            onnx.save(graph, path)
            sizes += path.stat().st_size
            opened[side] = open_graph(path, threads=threads)

        def images(n: int, graph: Graph = opened["image"]) -> object:
            return graph.run("image_embeddings", {"pixel_values": pixels[:n]})

        def texts(n: int, graph: Graph = opened["text"]) -> object:
            ids, mask = feeds[n]
            feed = {"input_ids": ids, "attention_mask": mask}
            return graph.run("text_embeddings", {k: feed[k] for k in feed if k in graph.inputs})

        found.append(Candidate(f"{name}, ONNX {precision} ({sizes / 1e6:.0f} MB)", images, texts))
    return found


def _pixels(towers: Towers) -> np.ndarray:
    return noise_pixels(towers.image_input, max(BATCHES))


def _tokens(towers: Towers, n: int) -> tuple[np.ndarray, np.ndarray]:
    rows = [towers.tokenizer.encode(text).ids for text in sample_queries(n)]
    return pad(rows, towers.text_input.pad_token_id)
