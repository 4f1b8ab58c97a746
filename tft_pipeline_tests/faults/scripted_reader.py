"""A process that reads the live version again and again, for the test that deploys meanwhile: `... MODELS READS`.

Each read resolves the link once, verifies every file, and holds gate file, card and weights against each other. It ends with
a line of JSON: reads, the releases it saw with their number, and the first failures in words.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from tft_pipeline.storage.artifacts import read_artifact


def read_once(models: Path) -> str:
    """The release that was read; raises where it is none, or mixed."""
    version = read_artifact(models / "versions")
    gates = json.loads(version.path("gate.json").read_bytes())
    card = json.loads(version.path("model_card.json").read_bytes())
    said = {version.version, gates["release_id"], card["release_id"]}
    if len(said) != 1 or gates["weights_sha256"] != version.files["weights.safetensors"]:
        raise ValueError(f"mixed: {said}")
    return version.version


if __name__ == "__main__":
    folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
    seen: Counter[str] = Counter()
    failures = []
    print("reads", flush=True)
    for _ in range(wanted):
        try:
            seen[read_once(folder)] += 1
        except Exception as error:  # whatever a reader meets is what the test is about
            failures.append(repr(error))
    print(json.dumps({"reads": wanted, "seen": seen, "failed": len(failures), "first": failures[:5]}), flush=True)
