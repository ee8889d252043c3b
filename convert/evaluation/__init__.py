"""How good a bundle is on people nobody trained on: metrics, baselines, one report."""
