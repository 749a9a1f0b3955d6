"""An encoder whose image tower OpenVINO computes in int8, calibrated on photographs.

    scenesearch models export lite --name lite-int8 --precision openvino --data FOLDER

Weights and activations are int8, with ranges measured beforehand on pictures (NNCF's
post-training quantisation), so that a picture's embedding does not depend on its neighbours. The
text tower stays as it is: a query is one short text, and quantising it gains nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scenesearch.encoder.folder import read_encoder_info
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.pictures.opening import open_image
from training.export import signature, write_manifest
from training.gate import FEWEST, ExportError, Validation, check_recall

CALIBRATED_ON = 300  # pictures; NNCF's own default

Log = Callable[[str], None]


def export_openvino(
    source: Path, folder: Path, *, name: str, validation: Validation | None, log: Log
) -> None:
    """An encoder folder from that of another; the first half of `validation` calibrates.

    The second half has to keep Recall@10 within half a point; raises ExportError otherwise, and
    without the packages, and nothing is left behind.
    """
    try:
        import nncf
        import openvino
    except ModuleNotFoundError as error:
        raise ExportError(f"{error.name} is missing: pip install -e '.[openvino]'") from None
    info = read_encoder_info(source)
    if "image.onnx" not in info.parts:
        raise ExportError(f"encoder {info.name} is one for OpenVINO already")
    count = 0 if validation is None else len(validation.paths)
    if validation is None or count < 2 * FEWEST:
        raise ExportError(
            f"OpenVINO's int8 is calibrated on one half of captioned pictures and accepted by the "
            f"other: {2 * FEWEST} are needed, {count} are given"
        )
    half = min(count // 2, CALIBRATED_ON)
    calibrating = validation.paths[:half]
    judging = Validation(validation.paths[half:], validation.captions[half:])
    encoder = OnnxEncoder(source)
    model = openvino.convert_model(source / "image.onnx")
    transformer = any(op.get_type_name() == "Softmax" for op in model.get_ops())
    nncf.set_log_level(40)
    log(f"measuring ranges on {half} pictures")
    quantised = nncf.quantize(
        model,
        nncf.Dataset(calibrating, lambda path: encoder.preprocess(open_image(path).image)[None]),
        subset_size=half,
        preset=nncf.QuantizationPreset.MIXED,  # activations of both signs, as SiLU and GELU give
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        fast_bias_correction=False,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        made = Path(place) / "made"
        made.mkdir()
        openvino.save_model(quantised, made / "image.xml", compress_to_fp16=False)
        parts = [part for part in info.parts if not part.startswith("image.")]
        for part in parts:
            shutil.copyfile(source / part, made / part)
        manifest: dict[str, Any] = json.loads((source / "encoder.json").read_text("utf-8"))
        manifest = {key: value for key, value in manifest.items() if key not in _OUTDATED} | {
            "name": name,
            "precision": "openvino int8 image tower",
            "parent": {
                **manifest.get("parent", {}),
                "base": info.name,
                "fingerprint": info.fingerprint,
            },
            "files": {part: signature(made / part) for part in ("image.xml", "image.bin", *parts)},
        }
        # Fitted on the parent's vectors, which these follow closely: better than a guess.
        if "calibration" in manifest:
            fitted = manifest["calibration"].get("fitted_on", "votes")
            manifest["calibration"]["fitted_on"] = f"{fitted}, with the vectors of {info.name}"
        write_manifest(made, manifest)
        log(f"Recall@10 on {len(judging.paths)} further pictures")
        found = check_recall(OnnxEncoder(made), encoder, judging, f"OpenVINO int8 for {name}")
        write_manifest(made, manifest | {"int8_accepted_by": found})
        if folder.exists():
            folder.replace(Path(place) / "before")
        made.replace(folder)


_OUTDATED = {"scores", "parity", "verified", "int8_accepted_by"}
