"""What training and asking a model read, by keys of assets: the same for production, control and experiments."""

import dagster as dg

BACKBONE = dg.AssetKey(["models", "backbone"])
ENCODERS = [dg.AssetKey(["models", name]) for name in ("clip", "minilm")]
INDICES = [dg.AssetKey(["index", name]) for name in ("text", "image")]
NEIGHBOURS = dg.AssetKey(["index", "neighbours"])  # of train rows, so that only training reads them
TRAINED_ON = [dg.AssetKey(["merged", name]) for name in ("train", "val")]
ASKED_OF = [dg.AssetKey(["merged", name]) for name in ("val", "test")]
