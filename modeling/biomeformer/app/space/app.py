"""The page of `biomeformer app` as a Space; give `Analyses.load` other checkpoints to show those."""

from biomeformer.app import Analyses, serve

serve(Analyses.load(device="cpu"), host=None)
